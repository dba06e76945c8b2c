//! Bitcoin's v1 framing, the BIP324 v2 transport, and the translation between them.
//!
//! Nothing here does I/O, reads a clock or starts a thread: bytes go in, bytes come out, and the
//! caller owns every buffer. Input is untrusted throughout; no input panics.
//!
//! ```text
//!   KeyExchange::new ── first_flight ──▶ peer        key ‖ garbage
//!        │ complete(peer's 64-byte key)
//!        ▼
//!     Session { id, sender, receiver }               second flight: terminator ‖ version packet ‖ …
//!                    │       └─ translate: v2 bytes from the peer ──▶ v1 messages
//!                    └───────── translate: v1 messages ──▶ v2 packets for the peer
//! ```
//!
//! Byte and packet layouts follow [BIP324]; where the text leaves a choice, Bitcoin Core's
//! `V2Transport` (`src/net.cpp`) decides.
//!
//! [BIP324]: https://github.com/bitcoin/bips/blob/master/bip-0324.mediawiki

#![forbid(unsafe_code)]

pub mod command;
pub mod limits;
pub mod tally;
mod translate;
pub mod v1;
pub mod v2;
pub mod version;

pub use translate::{Progress, ReceivedCounts, Receiver, Sender, SentCounts};
