//! The control socket: what bip324ctl and others ask of the daemon. docs/CONTROL.md is the reference.
//!
//! Whoever may open the socket may ask; what is answered goes by the user at its other end, as the
//! kernel tells it. Nothing that is said here can hold up a session: memory, connections, requests and
//! the patience with slow readers are bounded.

mod answer;
mod caller;
mod connection;
mod events;
mod listen;
mod reader;
mod server;
mod writer;

pub use listen::{Error, Opened, open};
pub use server::start;
