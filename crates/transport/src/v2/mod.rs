//! BIP324: key exchange, key schedule, ciphers and packets.

mod cipher;
mod handshake;
mod keys;
mod packet;

pub use cipher::{AuthenticationFailed, LengthCipher, PacketCipher, TAG_LEN};
pub(crate) use handshake::GarbageScan;
pub use handshake::{Detection, KeyExchange, Session, V1_PREFIX_LEN, detect};
pub use keys::{EntropyError, KEY_LEN, KeyPair, Role, SessionId, SessionKeys};
pub(crate) use packet::{Decoded, PacketReader, PacketWriter};
pub use packet::{LENGTH_LEN, PACKET_OVERHEAD};

/// Why a v2 session cannot go on. Nothing after the fault is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 4111 bytes came without the terminator: not a v2 peer, another network's, or somebody in
    /// between.
    #[error("no garbage terminator in {0} bytes after the peer's key")]
    GarbageTerminatorMissing(usize),
    /// The announced contents are longer than any message.
    #[error("v2 packet announces {0} bytes of contents, {max} are allowed", max = crate::limits::MAX_CONTENTS)]
    ContentsTooLong(usize),
    /// The packet was altered, reordered, replayed, or never was one.
    #[error("v2 packet failed authentication")]
    AuthenticationFailed,
}

impl From<AuthenticationFailed> for Error {
    fn from(_: AuthenticationFailed) -> Self {
        Self::AuthenticationFailed
    }
}
