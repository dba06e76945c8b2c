//! One packet: encrypted length, then header byte and contents sealed together. BIP324, "Packet
//! encryption".

use super::Error;
use super::cipher::{LengthCipher, PacketCipher, TAG_LEN};
use crate::limits::MAX_CONTENTS;

/// Length of the encrypted length. It counts the contents alone.
pub const LENGTH_LEN: usize = 3;

/// What a packet takes beyond its contents: length, header byte and tag.
pub const PACKET_OVERHEAD: usize = LENGTH_LEN + HEADER_LEN + TAG_LEN;

/// The sending direction.
pub(crate) struct PacketWriter {
    lengths: LengthCipher,
    packets: PacketCipher,
    /// Our garbage, until the first packet has authenticated it.
    garbage: Vec<u8>,
}

impl PacketWriter {
    pub(crate) fn new(lengths: LengthCipher, packets: PacketCipher, garbage: Vec<u8>) -> Self {
        Self { lengths, packets, garbage }
    }

    /// Appends a packet to `out` whose contents are `kind` and `payload`, together at most
    /// [`MAX_CONTENTS`] bytes.
    pub(crate) fn write(&mut self, kind: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        let length = kind.len() + payload.len();
        debug_assert!(length <= MAX_CONTENTS, "callers check it against v1's limit");
        let [a, b, c, _] = (length as u32).to_le_bytes();

        out.reserve(PACKET_OVERHEAD + length);
        out.extend_from_slice(&self.lengths.apply([a, b, c]));
        let start = out.len();
        out.push(0);
        out.extend_from_slice(kind);
        out.extend_from_slice(payload);
        let plaintext = out.get_mut(start..).unwrap_or_default();
        let tag = self.packets.seal(&self.garbage, plaintext);
        out.extend_from_slice(&tag);
        self.garbage = Vec::new();
    }
}

/// The receiving direction.
pub(crate) struct PacketReader {
    lengths: LengthCipher,
    packets: PacketCipher,
    /// Their garbage, until their first packet has authenticated it.
    pub(crate) garbage: Vec<u8>,
    /// The next packet's length, once its three bytes are decrypted.
    announced: Option<usize>,
}

/// What stood at the front of the input.
pub(crate) enum Decoded<'a> {
    /// Part of a packet of `wants` bytes, as far as that is known.
    Incomplete { wants: usize },
    /// A packet of `length` bytes in all. `ignore` marks a decoy.
    Packet { length: usize, ignore: bool, contents: &'a [u8] },
}

impl PacketReader {
    pub(crate) fn new(lengths: LengthCipher, packets: PacketCipher) -> Self {
        Self { lengths, packets, garbage: Vec::new(), announced: None }
    }

    /// Opens the packet at the front of `input`, in place. An incomplete packet must be handed in
    /// again with more behind it; its length is decrypted but once, and in a copy.
    pub(crate) fn read<'a>(&mut self, input: &'a mut [u8]) -> Result<Decoded<'a>, Error> {
        let wants = self.wants(input)?;
        let Some(sealed) = input.get_mut(LENGTH_LEN..wants) else {
            return Ok(Decoded::Incomplete { wants });
        };

        let plaintext = self.packets.open(&self.garbage, sealed)?;
        self.garbage = Vec::new();
        self.announced = None;
        let (header, contents) = plaintext.split_first().ok_or(Error::AuthenticationFailed)?;
        Ok(Decoded::Packet { length: wants, ignore: header & IGNORE_BIT != 0, contents })
    }

    /// Length of the packet at the front of `input`, or of its length field while that is not
    /// there.
    pub(crate) fn wants(&mut self, input: &[u8]) -> Result<usize, Error> {
        let announced = match (self.announced, input.first_chunk::<LENGTH_LEN>()) {
            (Some(announced), _) => announced,
            (None, None) => return Ok(LENGTH_LEN),
            (None, Some(&encrypted)) => {
                let [a, b, c] = self.lengths.apply(encrypted);
                u32::from_le_bytes([a, b, c, 0]) as usize
            }
        };
        if announced > MAX_CONTENTS {
            return Err(Error::ContentsTooLong(announced));
        }
        self.announced = Some(announced);
        Ok(PACKET_OVERHEAD + announced)
    }
}

const HEADER_LEN: usize = 1;

/// Marks a decoy; the other bits mean nothing yet and must be ignored.
const IGNORE_BIT: u8 = 0x80;
