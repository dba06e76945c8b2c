//! The handshake of either role, without I/O. BIP324, "Handshake".
//!
//! ```text
//!  initiator                                responder
//!     │── key ‖ garbage ─────────────────────▶ │   not before a byte differs from a v1 message: `detect`
//!     │ ◀──────────────────── key ‖ garbage ───│
//!     │── terminator ‖ version packet ‖ … ───▶ │   `KeyExchange::complete`, as soon as the key is there
//!     │ ◀──── terminator ‖ version packet ‖ … ─│   `Receiver::translate` scans, authenticates, skips decoys
//! ```
//!
//! Neither side waits for the other's terminator before it sends its own, and application messages
//! may follow our version packet at once: Core's `V2Transport` does so too.

use super::Error;
use super::cipher::{LengthCipher, PacketCipher};
use super::keys::{EntropyError, KEY_LEN, KeyPair, Role, SessionId, fill_random, random};
use super::packet::{PacketReader, PacketWriter};
use crate::command::{COMMAND_LEN, Command};
use crate::limits::{GARBAGE_TERMINATOR_LEN, MAX_GARBAGE};
use crate::translate::{Receiver, Sender};
use crate::v1::Magic;

/// Our side until the peer's key is there.
pub struct KeyExchange {
    role: Role,
    magic: Magic,
    keys: KeyPair,
    garbage: Vec<u8>,
}

impl KeyExchange {
    /// Fresh keys, and garbage of a length uniform in 0..=4095 bytes as Core's.
    ///
    /// # Errors
    ///
    /// The operating system gave no randomness.
    pub fn new(role: Role, magic: Magic) -> Result<Self, EntropyError> {
        // 4096 divides 2^16: the low twelve bits are uniform.
        let length = usize::from(u16::from_le_bytes(*random()?)) & MAX_GARBAGE;
        let mut garbage = vec![0; length];
        fill_random(&mut garbage)?;
        Ok(Self::from_parts(role, magic, KeyPair::generate()?, garbage))
    }

    /// Given keys and garbage, for tests.
    pub const fn from_parts(role: Role, magic: Magic, keys: KeyPair, garbage: Vec<u8>) -> Self {
        Self { role, magic, keys, garbage }
    }

    /// Key and garbage: the first bytes to send, in one write. 64..=4159 bytes.
    pub fn first_flight(&self) -> Vec<u8> {
        [self.keys.public().as_slice(), &self.garbage].concat()
    }

    /// Appends our garbage terminator and version packet, 36 bytes, to `out` and opens the session.
    /// An initiator that has a message to send appends it with `session.sender` before it writes
    /// `out`, all at once: that is what Core's second flight looks like.
    ///
    /// Any 64 bytes are a key, so nothing can fail yet.
    pub fn complete(self, their_key: &[u8; KEY_LEN], out: &mut Vec<u8>) -> Session {
        let keys = self.keys.derive(their_key, self.role, self.magic);
        let mut writer = PacketWriter::new(
            LengthCipher::new(&keys.send_length),
            PacketCipher::new(&keys.send_packet),
            self.garbage,
        );
        let reader = PacketReader::new(
            LengthCipher::new(&keys.receive_length),
            PacketCipher::new(&keys.receive_packet),
        );
        out.extend_from_slice(&keys.send_terminator);
        writer.write(&[], &[], out);
        Session {
            id: keys.id,
            sender: Sender::new(self.magic, writer),
            receiver: Receiver::new(self.magic, reader, GarbageScan::new(keys.receive_terminator)),
        }
    }
}

/// An open session. Both halves work independently of each other.
pub struct Session {
    /// Equal on both sides unless somebody stands in between.
    pub id: SessionId,
    /// v1 messages in, v2 packets out.
    pub sender: Sender,
    /// v2 bytes in, from the first one after the peer's key; v1 messages out.
    pub receiver: Receiver,
}

/// Looks for the peer's garbage terminator without looking anywhere twice.
pub(crate) struct GarbageScan {
    terminator: [u8; GARBAGE_TERMINATOR_LEN],
    /// The terminator does not start before this position.
    position: usize,
}

impl GarbageScan {
    const fn new(terminator: [u8; GARBAGE_TERMINATOR_LEN]) -> Self {
        Self { terminator, position: 0 }
    }

    /// Length of the garbage in front of the terminator, if that has arrived. `received` is
    /// everything since the peer's key.
    pub(crate) fn find(&mut self, received: &[u8]) -> Result<Option<usize>, Error> {
        let scanned = received.get(..received.len().min(SCAN_LIMIT)).unwrap_or_default();
        let rest = scanned.get(self.position..).unwrap_or_default();
        let mut windows = rest.windows(GARBAGE_TERMINATOR_LEN);
        if let Some(offset) = windows.position(|window| window == self.terminator) {
            return Ok(Some(self.position + offset));
        }
        if scanned.len() == SCAN_LIMIT {
            return Err(Error::GarbageTerminatorMissing(SCAN_LIMIT));
        }
        self.position = (scanned.len() + 1).saturating_sub(GARBAGE_TERMINATOR_LEN);
        Ok(None)
    }
}

/// Length of what tells a v1 peer: magic and the message type `version`.
pub const V1_PREFIX_LEN: usize = 4 + COMMAND_LEN;

/// What the first bytes from an initiator say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detection {
    /// So far a v1 peer's. Send nothing, read on, but never past [`V1_PREFIX_LEN`] bytes.
    Undecided,
    /// A v1 peer of our network: hand it all bytes read so far.
    V1,
    /// A v1 peer of another network: disconnect.
    WrongNetwork,
    /// A v2 peer, or noise: the bytes are the beginning of its key. Send ours. Ask again once
    /// there are [`V1_PREFIX_LEN`] bytes: only then can `WrongNetwork` be told.
    V2,
}

/// A responder's decision about the bytes received so far. Core:
/// `ProcessReceivedMaybeV1Bytes` and `ProcessReceivedKeyBytes` (net.cpp).
pub fn detect(magic: Magic, received: &[u8]) -> Detection {
    let mut prefix = [0; V1_PREFIX_LEN];
    prefix
        .iter_mut()
        .zip(magic.to_bytes().into_iter().chain(Command::VERSION.to_bytes()))
        .for_each(|(place, byte)| *place = byte);
    let received = received.get(..V1_PREFIX_LEN).unwrap_or(received);
    if received == prefix {
        Detection::V1
    } else if prefix.starts_with(received) {
        Detection::Undecided
    } else if received.get(4..) == prefix.get(4..) {
        Detection::WrongNetwork
    } else {
        Detection::V2
    }
}

/// Most bytes between a key and the end of the terminator.
const SCAN_LIMIT: usize = MAX_GARBAGE + GARBAGE_TERMINATOR_LEN;
