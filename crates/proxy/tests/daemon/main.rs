//! The whole daemon, unprivileged and on loopback: only the kernel's answer about the original
//! destination and the dialling are doubles. Clients and peers are scripted down to the byte.
//!
//! Test names begin with the case of the checklist that they hold: C the handshake against a
//! scripted responder, D fallback, E detection of what the client speaks, F faults, G bounds, H
//! loops, I what leaves the host and what a stranger may do.
//!
//! `cfg(test)` is always set here; it tells clippy that these modules are tests in every line.

#[cfg(test)]
mod activation;
#[cfg(test)]
mod caps;
#[cfg(test)]
mod control;
#[cfg(test)]
mod destination;
#[cfg(test)]
mod detection;
#[cfg(test)]
mod fallback;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod first_flight;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod forbidden;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod process;
#[cfg(test)]
mod program;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod reload_process;
#[cfg(test)]
mod sandbox;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod translation;
#[cfg(test)]
mod units;
