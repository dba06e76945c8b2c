//! The wire library against the official vectors, against another implementation, and against peers
//! that misbehave. Names such as `b7_…` are the cases of the project's test checklist.
//!
//! One program, so that it is linked once and everything shares one scripted peer. `cfg(test)` is
//! always set here; it tells clippy that these modules are tests.

#[cfg(test)]
mod allocation;
#[cfg(test)]
mod codec;
#[cfg(test)]
mod detection;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod progress;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod randomness;
#[cfg(test)]
mod tally;
#[cfg(test)]
mod vectors;
