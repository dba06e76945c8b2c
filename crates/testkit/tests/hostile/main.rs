//! The real daemon, behind the real redirect, between scripted clients and hostile peers.
//!
//! Test names begin with the case of the checklist that they hold: C the handshake and the packets
//! of a scripted responder, D fallback, E detection of what the client speaks. Each has namespaces
//! and a daemon of its own, and ends as [`stage::Stage::run`] says.
//!
//! `cfg(test)` is always set here; it tells clippy that these modules are tests in every line.

#[cfg(test)]
mod detection;
#[cfg(test)]
mod fallback;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod responder;
#[cfg(test)]
mod stage;
