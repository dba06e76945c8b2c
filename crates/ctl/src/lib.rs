//! What a person or a script asks of a running daemon, over its control socket (docs/CONTROL.md). The
//! program `bip324ctl` is [`cli`] and one module per command, each of which asks through [`client`].
//!
//! Everything that came from a peer, or was named by another user, passes [`printable`] before it
//! reaches a terminal.

#![forbid(unsafe_code)]

pub mod check;
pub mod cli;
pub mod client;
pub mod exit;
pub mod id;
pub mod printable;
pub mod process;
pub mod rules;
#[cfg(test)]
mod sample;
pub mod saved;
pub mod session;
pub mod sessions;
pub mod status;
pub mod table;
pub mod terminal;
pub mod top;
pub mod units;
pub mod verify;
pub mod web;
pub mod words;
