//! Streams of messages of one size, in v1 and encrypted.

use anyhow::Result;
use bip324_testkit::peer::frame;
use bip324_transport::v1::HEADER_LEN;
use bip324_transport::v2::{LENGTH_LEN, TAG_LEN};

use crate::ends::{MAGIC, Session};
use crate::payload::{block, headers, inventory, transaction};

/// Messages of one kind.
pub(crate) struct Messages {
    pub(crate) name: &'static str,
    kind: &'static str,
    payload: Vec<u8>,
    /// Bytes of a round, in v1: at 1 to 6 ns each, some 70 ms.
    volume: usize,
}

impl Messages {
    pub(crate) fn blocks() -> Self {
        let payload = block(1_640_000);
        Self { name: "1.64 MB blocks", kind: "block", payload, volume: 82_001_200 }
    }

    /// From where hashing and encrypting are all there is, to where the messages are. The two small
    /// sizes are those of whole messages, with the header.
    pub(crate) fn all() -> [Self; 4] {
        let kind = |name, kind, payload, volume| Self { name, kind, payload, volume };
        [
            Self::blocks(),
            kind("162 KB headers", "headers", headers(), 64_810_800),
            kind("258 B tx", "tx", transaction(), 25_800_000),
            kind("61 B inv", "inv", inventory(), 9_150_000),
        ]
    }

    /// Whether a message is little more than its payload.
    pub(crate) fn are_large(&self) -> bool {
        self.payload.len() > 10_000
    }

    /// One of them, in v1.
    pub(crate) fn one(&self) -> Result<Vec<u8>> {
        frame(MAGIC, self.kind, &self.payload)
    }

    /// A round of them, in v1.
    pub(crate) fn round(&self) -> Result<Vec<u8>> {
        let message = self.one()?;
        Ok(message.repeat(self.volume / message.len()))
    }

    /// How long a stream is once encrypted. All have a short id: one byte, beside that of the header.
    pub(crate) fn encrypted_len(&self, stream: &[u8]) -> usize {
        let messages = stream.len() / (HEADER_LEN + self.payload.len());
        messages * (LENGTH_LEN + 1 + 1 + self.payload.len() + TAG_LEN)
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
