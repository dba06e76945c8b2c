//! F, G, H and I of the checklist on the real daemon, behind the real redirect, in network
//! namespaces: faults, bounds, the redirect's edges, and local users.
//!
//! What one process can show as well is in `crates/proxy/tests`, what the rules do by themselves in
//! `crates/setup/tests`, what takes longer in `scripts/soak`.
//!
//! `cfg(test)` is always set here; it tells clippy that these modules are tests in every line.

#[cfg(test)]
mod accept;
#[cfg(test)]
mod bad_wire;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod caps;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod ends;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod local_users;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod network;
#[cfg(test)]
mod original_dst;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod scene;
#[cfg(test)]
mod shim;
#[cfg(test)]
mod signals;
#[cfg(test)]
mod socket_group;
#[cfg(test)]
mod stalls;
