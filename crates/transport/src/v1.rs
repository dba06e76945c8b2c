//! The v1 message header: magic, message type, length, checksum.

/// The four bytes that name a network and open every v1 message. Any value is legal, as signets
/// derive their own; in v2 it is mixed into the session's keys.
pub use bitcoin::p2p::Magic;
use ring::digest::{SHA256, digest};

use crate::command::{COMMAND_LEN, Command};
use crate::limits::MAX_PAYLOAD;

/// Length of the header in front of every payload.
pub const HEADER_LEN: usize = 24;

/// The networks that have a name. Core: `src/kernel/chainparams.cpp`.
pub const KNOWN_MAGICS: [Magic; 5] =
    [Magic::BITCOIN, Magic::TESTNET3, Magic::TESTNET4, Magic::SIGNET, Magic::REGTEST];

/// The 24 bytes in front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which network.
    pub magic: Magic,
    /// What the payload is.
    pub command: Command,
    /// Bytes of payload that follow.
    pub length: u32,
    /// First four bytes of the payload's double SHA-256.
    pub checksum: [u8; 4],
}

impl Header {
    /// The header that belongs to `payload`, which must not be over 4 GiB.
    pub fn for_payload(magic: Magic, command: Command, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self { magic, command, length, checksum: checksum(payload) }
    }

    /// Reads the fields. Nothing is judged yet: see [`Header::check`].
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let [m0, m1, m2, m3, command @ .., l0, l1, l2, l3, c0, c1, c2, c3] = *bytes;
        let command: [u8; COMMAND_LEN] = command;
        Self {
            magic: Magic::from_bytes([m0, m1, m2, m3]),
            command: Command::from_bytes(command),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            checksum: [c0, c1, c2, c3],
        }
    }

    /// The 24 bytes as they stand on the wire.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [m0, m1, m2, m3] = self.magic.to_bytes();
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, ta, tb] = self.command.to_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [c0, c1, c2, c3] = self.checksum;
        [
            m0, m1, m2, m3, t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, ta, tb, l0, l1, l2, l3, c0, c1,
            c2, c3,
        ]
    }

    /// What Core checks before it reads the payload (`V1Transport::readHeader`, net.cpp); returns
    /// the payload's length.
    ///
    /// # Errors
    ///
    /// Either ends the connection, with the payload unread.
    pub fn check(&self, magic: Magic) -> Result<usize, Error> {
        if self.magic != magic {
            return Err(Error::WrongMagic { expected: magic, received: self.magic });
        }
        match usize::try_from(self.length) {
            Ok(length) if length <= MAX_PAYLOAD => Ok(length),
            _ => Err(Error::PayloadTooLong { length: self.length }),
        }
    }
}

/// First four bytes of the double SHA-256 of `payload`.
pub fn checksum(payload: &[u8]) -> [u8; 4] {
    let twice = digest(&SHA256, digest(&SHA256, payload).as_ref());
    twice.as_ref().first_chunk().copied().unwrap_or_default()
}

/// Why a v1 connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message does not belong to this connection's network.
    #[error("v1 message with magic {received} on a connection of {expected}")]
    WrongMagic {
        /// The magic of the connection's first message.
        expected: Magic,
        /// The magic of this one.
        received: Magic,
    },
    /// The payload is longer than any Bitcoin node accepts.
    #[error("v1 message announces {length} bytes of payload, {MAX_PAYLOAD} are allowed")]
    PayloadTooLong {
        /// The announced length in bytes.
        length: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_an_empty_payload() {
        let header = Header::for_payload(Magic::BITCOIN, Command::new("verack").unwrap(), &[]);
        assert_eq!(
            header.encode(),
            *b"\xf9\xbe\xb4\xd9verack\0\0\0\0\0\0\0\0\0\0\x5d\xf6\xe0\xe2",
            "the checksum of nothing is 5df6e0e2"
        );
        assert_eq!(Header::parse(&header.encode()), header);
    }

    #[test]
    fn limits_are_core_s() {
        let header =
            |length| Header { length, ..Header::for_payload(Magic::SIGNET, Command::VERSION, &[]) };
        assert_eq!(header(4_000_000).check(Magic::SIGNET), Ok(4_000_000));
        assert_eq!(
            header(4_000_001).check(Magic::SIGNET),
            Err(Error::PayloadTooLong { length: 4_000_001 })
        );
        assert!(header(u32::MAX).check(Magic::SIGNET).is_err());
        assert!(header(0).check(Magic::REGTEST).is_err());
    }
}
