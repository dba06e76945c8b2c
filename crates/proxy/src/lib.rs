//! Gives Bitcoin clients that speak v1 encrypted BIP324 connections, without their knowing.
//!
//! ```text
//!   server    accept ──▶ original_dst ──▶ destination    where was it going, and may it?
//!             admission                                  is there room for one more?
//!   session   client, sniff                              how does it start: v1 or v2?
//!             upstream ──▶ relay                         dial, handshake, translate or splice
//! ```
//!
//! Bytes flow one way through these, each file knows only those after it, and two traits stand
//! where the kernel and the network enter: [`OriginalDst`] and [`Dial`].

#![deny(unsafe_code)]

pub mod activation;
mod admission;
mod agent;
pub mod allocator;
pub mod cli;
mod client;
pub mod config;
pub mod control;
pub mod destination;
mod interfaces;
mod journal;
pub mod listen;
pub mod log;
mod memory;
pub mod metrics;
pub mod notify;
mod original_dst;
mod pins;
pub mod privilege;
mod quota;
mod relay;
pub mod reload;
pub mod sandbox;
mod server;
mod session;
pub mod sniff;
mod socket;
pub mod stats;
mod throttle;
pub mod unix_listener;
mod upstream;
mod watchdog;

pub use config::{Config, Current, Direct, Fallback, Timeouts};
pub use nix::errno::Errno;
pub use original_dst::{Kernel, OriginalDst};
pub use quota::{OwnerOf, owner_of};
pub use server::serve;
pub use socket::{Dial, Tcp};
pub use stats::{Overview, Stats};
