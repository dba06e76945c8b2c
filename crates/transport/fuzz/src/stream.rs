//! The two halves of a session with the buffers that a connection would give them, and with all
//! that `Progress` promises asserted at every call.

use bip324_transport::limits::{BATCH, MAX_CONTENTS, MAX_PAYLOAD};
use bip324_transport::v1::HEADER_LEN;
use bip324_transport::v2::PACKET_OVERHEAD;
use bip324_transport::{Progress, Receiver, Sender, v1, v2};

/// What one half of a session does with one buffer of input.
pub(crate) trait Half {
    type Error;
    /// Length of the longest message that it takes.
    const LONGEST: usize;
    fn translate(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Progress, Self::Error>;
}

impl Half for Sender {
    type Error = v1::Error;
    const LONGEST: usize = HEADER_LEN + MAX_PAYLOAD;

    fn translate(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Progress, v1::Error> {
        Self::translate(self, input, out)
    }
}

impl Half for Receiver {
    type Error = v2::Error;
    const LONGEST: usize = PACKET_OVERHEAD + MAX_CONTENTS;

    fn translate(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<Progress, v2::Error> {
        Self::translate(self, input, out)
    }
}

/// One direction: a half, what it has not consumed, and what came out.
pub(crate) struct Direction<H> {
    pub(crate) half: H,
    pub(crate) output: Vec<u8>,
    /// Length of what the input begins with, as last told.
    pub(crate) wants: usize,
    unread: Vec<u8>,
    /// Bytes fed, and bytes consumed.
    fed: usize,
    consumed: usize,
}

impl<H: Half> Direction<H> {
    pub(crate) const fn new(half: H) -> Self {
        Self { half, output: Vec::new(), wants: 1, unread: Vec::new(), fed: 0, consumed: 0 }
    }

    /// Takes what one read returned, and translates until more is needed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), H::Error> {
        self.unread.extend_from_slice(bytes);
        self.fed += bytes.len();
        loop {
            let mut batch = Vec::new();
            let before = self.unread.len();
            let result = self.half.translate(&mut self.unread, &mut batch);
            self.output.extend_from_slice(&batch);
            check_memory::<H>(&batch, before);
            let Progress { consumed, wants } = result?;
            assert!(consumed <= before, "consumed {consumed} of {before} bytes");
            assert!((1..=H::LONGEST).contains(&wants), "wants {wants}");
            self.unread.drain(..consumed);
            self.consumed += consumed;
            assert_eq!(self.consumed + self.unread.len(), self.fed, "bytes lost or made");
            self.wants = wants;
            if wants > self.unread.len() {
                return Ok(());
            }
            assert!(batch.len() >= BATCH, "stopped with {wants} bytes there and room for output");
        }
    }

    /// Feeds in pieces of these sizes, over and over; a size counts one more than its number.
    pub(crate) fn feed_in(&mut self, sizes: &[u8], bytes: &[u8]) -> Result<(), H::Error> {
        let mut rest = bytes;
        let mut sizes = sizes.iter().cycle();
        while !rest.is_empty() {
            // Squared, so that a byte spans single bytes and all of a handshake.
            let size = sizes.next().map_or(rest.len(), |&size| (usize::from(size) + 1).pow(2));
            let (piece, next) = rest.split_at(size.min(rest.len()));
            self.feed(piece)?;
            rest = next;
        }
        Ok(())
    }

    /// Bytes that are still needed to make the message at hand complete.
    pub(crate) fn missing(&self) -> usize {
        self.wants - self.unread.len()
    }

    /// What was fed and is not consumed.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }
}

/// Output follows input: nothing is allocated for what was merely announced, and no more than one
/// message goes beyond a batch. A v1 message is at most as much longer than its packet as its
/// header is than the packet's four bytes in front of the payload, which decides for tiny ones.
fn check_memory<H: Half>(batch: &Vec<u8>, input: usize) {
    assert!(batch.len() < BATCH + H::LONGEST + HEADER_LEN, "{} bytes in a batch", batch.len());
    assert!(batch.len() <= 2 * input, "{} bytes out of {input}", batch.len());
    assert!(batch.capacity() <= 4 * input, "room for {} bytes, {input} came", batch.capacity());
}
