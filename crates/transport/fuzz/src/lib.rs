//! What any input must leave true: the bodies of the fuzz targets, as plain functions of bytes.
//!
//! `cargo fuzz` drives them through `fuzz_targets/` on nightly Rust; `tests/replay.rs` runs the
//! committed corpora through the same functions on stable. Everything is deterministic: keys come
//! from the input or are fixed. A failed assertion is a finding.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a target reports what it found"
)]

pub mod contents;
pub mod handshake;
pub mod noise;
mod peer;
pub mod policy;
pub mod session;
mod stream;
pub mod v1;
pub mod version;

/// A target's body: returns if everything that it asserts holds for these bytes.
pub type Target = fn(&[u8]);

/// Every target under the name of its program and its corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("contents", contents::run),
    ("handshake", handshake::run),
    ("noise", noise::run),
    ("policy", policy::run),
    ("session", session::run),
    ("v1", v1::run),
    ("version", version::run),
];

/// Reads a target's script from the input; `None` if the bytes are no script.
fn script<'a, T: arbitrary::Arbitrary<'a>>(data: &'a [u8]) -> Option<T> {
    T::arbitrary_take_rest(arbitrary::Unstructured::new(data)).ok()
}
