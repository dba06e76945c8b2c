//! The whole daemon, unprivileged and on loopback: only the kernel's answer about the original
//! destination and the dialling are doubles. Clients and peers are scripted down to the byte.
//!
//! Test names begin with the case of the checklist that they hold: C the handshake against a
//! scripted responder, D fallback, E detection of what the client speaks, F faults, H loops, I
//! what leaves the host and what a stranger may do.

mod destination;
mod detection;
mod established;
mod fallback;
mod faults;
mod first_flight;
mod flow;
mod handshake;
mod harness;
mod process;
mod shutdown;
