//! What a client's first 16 bytes say: v1, v2 or neither.
//!
//! A v1 client opens with magic + `version` padded with NULs (Bitcoin Core: `V1_PREFIX_LEN`,
//! net.cpp), a v2 client with a key that looks random. Nothing here does I/O.

use bip324_transport::command::{COMMAND_LEN, Command};
use bip324_transport::v1::{KNOWN_MAGICS, Magic};
use thiserror::Error;

/// How a client starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With a v1 VERSION on the network of this magic, whichever it is.
    V1(Magic),
    /// With something that is no v1 message: it speaks v2 itself.
    V2,
}

/// The client speaks v1 but does not start with VERSION: were it spliced through, that message
/// would leave in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client starts with a v1 message other than VERSION")]
pub struct NotVersion;

/// Decides from what has arrived of the prefix: `None` needs more.
///
/// A refusal comes as soon as the bytes allow it, the rest with the 16th byte, so that nothing is
/// dialled for less.
pub fn decide(received: &[u8]) -> Result<Option<Start>, NotVersion> {
    let Some((magic, command)) = received.split_first_chunk() else {
        return Ok(None);
    };
    let magic = Magic::from_bytes(*magic);
    let version = Command::VERSION.to_bytes();
    let Some(command) = command.first_chunk::<COMMAND_LEN>() else {
        let known_other = KNOWN_MAGICS.contains(&magic) && !version.starts_with(command);
        return if known_other { Err(NotVersion) } else { Ok(None) };
    };
    if *command == version {
        Ok(Some(Start::V1(magic)))
    } else if KNOWN_MAGICS.contains(&magic) || is_message_type(*command) {
        Err(NotVersion)
    } else {
        Ok(Some(Start::V2))
    }
}

/// Whether the bytes are a known message type, or look like one that is not: valid, padded, with
/// at least three letters or digits. Of random keys, one in 16 million looks like that by chance
/// (6.2e-8), nearly always one of 11 characters and a NUL; the client's next key does not.
fn is_message_type(bytes: [u8; COMMAND_LEN]) -> bool {
    let command = Command::from_bytes(bytes);
    let letters = bytes.iter().filter(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9')).count();
    let padded = bytes.last() == Some(&0);
    command.is_known() || (command.is_valid() && padded && letters >= 3)
}

#[cfg(test)]
mod tests {
    use bip324_transport::v2::V1_PREFIX_LEN;

    use super::*;

    const VERSION: &[u8; 12] = b"version\0\0\0\0\0";

    fn start(magic: [u8; 4], command: &[u8; 12]) -> Vec<u8> {
        [&magic[..], command].concat()
    }

    #[test]
    fn e1_a_v1_prefix_needs_all_its_bytes() {
        for magic in KNOWN_MAGICS {
            let prefix = start(magic.to_bytes(), VERSION);
            for len in 0..prefix.len() {
                assert_eq!(decide(&prefix[..len]), Ok(None), "{len}");
            }
            assert_eq!(decide(&prefix), Ok(Some(Start::V1(magic))));
        }
    }

    #[test]
    fn e6_any_magic_will_do() {
        for magic in [[0; 4], [0xff; 4], *b"vers"] {
            let decision = decide(&start(magic, VERSION));
            assert_eq!(decision, Ok(Some(Start::V1(Magic::from_bytes(magic)))));
        }
    }

    #[test]
    fn e2_random_bytes_are_v2_at_the_16th() {
        let key: Vec<u8> = (0..64).map(|i| 0x80 | i).collect();
        for len in 0..V1_PREFIX_LEN {
            assert_eq!(decide(&key[..len]), Ok(None), "{len}");
        }
        assert_eq!(decide(&key[..V1_PREFIX_LEN]), Ok(Some(Start::V2)));
        assert_eq!(decide(&key), Ok(Some(Start::V2)));
    }

    #[test]
    fn e4_a_known_v1_message_other_than_version_is_refused() {
        for command in [
            b"verack\0\0\0\0\0\0",
            b"ping\0\0\0\0\0\0\0\0",
            b"getheaders\0\0",
            b"inv\0\0\0\0\0\0\0\0\0",
            b"sendtxrcncl\0",
            b"reject\0\0\0\0\0\0",
            b"alert\0\0\0\0\0\0\0",
        ] {
            assert_eq!(decide(&start([1, 2, 3, 4], command)), Err(NotVersion));
        }
    }

    #[test]
    fn e4_a_v1_message_type_that_nobody_knows_is_refused() {
        for command in [b"abc\0\0\0\0\0\0\0\0\0", b"mnauth2\0\0\0\0\0", b"new_message\0"] {
            assert_eq!(decide(&start([1, 2, 3, 4], command)), Err(NotVersion));
        }
        for command in [
            b"twelve_chars",             // no padding
            b"ab\0\0\0\0\0\0\0\0\0\0",   // too short
            b"ABC-DEF ab\0\0",           // too few letters as types have them
            b"abc\0def\0\0\0\0\0",       // more behind the first NUL
            b"abcdef\x7f\0\0\0\0\0",     // not printable
            b"\0\0\0\0\0\0\0\0\0\0\0\0", // no letter at all
        ] {
            assert_eq!(decide(&start([1, 2, 3, 4], command)), Ok(Some(Start::V2)));
        }
    }

    #[test]
    fn a_known_magic_with_anything_but_version_is_refused_at_the_first_wrong_byte() {
        let magic = Magic::BITCOIN.to_bytes();
        assert_eq!(decide(&start(magic, b"random bytes")), Err(NotVersion));
        assert_eq!(decide(&[&magic[..], b"x"].concat()), Err(NotVersion));
        assert_eq!(decide(&[&magic[..], b"ver"].concat()), Ok(None));
        assert_eq!(decide(&[&magic[..], b"vera"].concat()), Err(NotVersion));
    }

    #[test]
    fn version_without_its_padding_is_not_v1() {
        assert_eq!(decide(&start([1, 2, 3, 4], b"version\0\0\0\0\x01")), Ok(Some(Start::V2)));
    }
}
