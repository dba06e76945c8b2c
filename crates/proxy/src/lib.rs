//! Gives Bitcoin clients that speak v1 encrypted BIP324 connections, without their knowing.
//!
//! ```text
//!   server    accept ──▶ original_dst ──▶ destination    where was it going, and may it?
//!   session   client, sniff                              how does it start: v1 or v2?
//!             upstream ──▶ relay                         dial, handshake, translate or splice
//! ```
//!
//! Bytes flow one way through these, each file knows only those after it, and two traits stand
//! where the kernel and the network enter: [`OriginalDst`] and [`Dial`].

#![forbid(unsafe_code)]

pub mod cli;
mod client;
pub mod config;
mod destination;
mod interfaces;
pub mod listen;
mod original_dst;
mod pins;
pub mod privilege;
mod relay;
mod server;
mod session;
mod sniff;
mod socket;
pub mod stats;
mod throttle;
mod upstream;

pub use config::{Config, Direct, Fallback, Timeouts};
pub use nix::errno::Errno;
pub use original_dst::{Kernel, OriginalDst};
pub use server::serve;
pub use socket::{Dial, Tcp};
pub use stats::Stats;
