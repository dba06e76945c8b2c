//! Streams of messages of one size, in v1 and encrypted.

use anyhow::Result;
use bip324_testkit::peer::frame;
use bip324_transport::v1::HEADER_LEN;
use bip324_transport::v2::{LENGTH_LEN, TAG_LEN};

use crate::ends::{MAGIC, Session};

/// Messages of one kind.
#[derive(Clone, Copy)]
pub(crate) struct Messages {
    pub(crate) name: &'static str,
    kind: &'static str,
    pub(crate) payload: usize,
    /// Bytes of a round, in v1: at 2 to 10 ns each, a tenth of a second.
    volume: usize,
}

/// The two small sizes are those of whole messages, with the header: an inv that names one
/// transaction, and a transaction with one input.
pub(crate) const KINDS: [Messages; 4] = [
    Messages { name: "1.64 MB blocks", kind: "block", payload: 1_640_000, volume: 82_001_200 },
    Messages { name: "162 KB headers", kind: "headers", payload: 162_003, volume: 64_810_800 },
    Messages { name: "258 B tx", kind: "tx", payload: 234, volume: 25_800_000 },
    Messages { name: "61 B inv", kind: "inv", payload: 37, volume: 9_150_000 },
];

pub(crate) const BLOCKS: Messages = KINDS[0];

impl Messages {
    /// One of them, in v1.
    pub(crate) fn one(&self) -> Result<Vec<u8>> {
        let payload: Vec<u8> = (0..self.payload).map(|place| (place * 31 % 251) as u8).collect();
        frame(MAGIC, self.kind, &payload)
    }

    /// A round of them, in v1.
    pub(crate) fn round(&self) -> Result<Vec<u8>> {
        let message = self.one()?;
        Ok(message.repeat(self.volume / message.len()))
    }

    /// How long a stream is once encrypted. All have a short id: one byte, beside that of the header.
    pub(crate) fn encrypted_len(&self, stream: &[u8]) -> usize {
        let messages = stream.len() / (HEADER_LEN + self.payload);
        messages * (LENGTH_LEN + 1 + 1 + self.payload + TAG_LEN)
    }
}

/// The stream as the session's peer would send it next.
pub(crate) fn encrypt(session: &mut Session, stream: &[u8]) -> Result<Vec<u8>> {
    let mut packets = Vec::with_capacity(stream.len());
    let (mut rest, mut batch) = (stream, Vec::new());
    while !rest.is_empty() {
        let progress = session.sender.translate(rest, &mut batch)?;
        rest = rest.split_at_checked(progress.consumed).map_or(&[][..], |(_, rest)| rest);
        packets.append(&mut batch);
    }
    Ok(packets)
}
