//! The two halves of a session with the buffers that a connection would give them.

use bip324_transport::limits::BATCH;
use bip324_transport::{Receiver, Sender, v1, v2};

/// Reads from the peer.
pub(crate) struct Inbox {
    pub(crate) receiver: Receiver,
    /// v1 messages that came out so far.
    pub(crate) delivered: Vec<u8>,
    unread: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new(receiver: Receiver) -> Self {
        Self { receiver, delivered: Vec::new(), unread: Vec::new() }
    }

    /// Takes what one read returned, and translates until more is needed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), v2::Error> {
        self.unread.extend_from_slice(bytes);
        loop {
            let mut batch = Vec::new();
            let result = self.receiver.translate(&mut self.unread, &mut batch);
            self.delivered.extend_from_slice(&batch);
            let progress = result?;
            self.unread.drain(..progress.consumed);
            if progress.wants > self.unread.len() {
                return Ok(());
            }
            assert!(batch.len() >= BATCH, "stopped without a reason");
        }
    }

    /// Feeds in pieces of these sizes, over and over.
    pub(crate) fn feed_in(&mut self, sizes: &[usize], bytes: &[u8]) -> Result<(), v2::Error> {
        chunks(sizes, bytes).try_for_each(|chunk| self.feed(chunk))
    }

    /// Empties `delivered`.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.delivered)
    }
}

/// Reads from the client.
pub(crate) struct Outbox {
    pub(crate) sender: Sender,
    /// v2 packets that came out so far.
    pub(crate) sent: Vec<u8>,
    unread: Vec<u8>,
}

impl Outbox {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender, sent: Vec::new(), unread: Vec::new() }
    }

    /// Takes what one read returned, and translates until more is needed.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), v1::Error> {
        self.unread.extend_from_slice(bytes);
        loop {
            let mut batch = Vec::new();
            let result = self.sender.translate(&self.unread, &mut batch);
            self.sent.extend_from_slice(&batch);
            let progress = result?;
            self.unread.drain(..progress.consumed);
            if progress.wants > self.unread.len() {
                return Ok(());
            }
            assert!(batch.len() >= BATCH, "stopped without a reason");
        }
    }

    /// Feeds in pieces of these sizes, over and over.
    pub(crate) fn feed_in(&mut self, sizes: &[usize], bytes: &[u8]) -> Result<(), v1::Error> {
        chunks(sizes, bytes).try_for_each(|chunk| self.feed(chunk))
    }

    /// Empties `sent`.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }
}

/// `bytes` in pieces of these sizes, over and over.
fn chunks<'a>(sizes: &'a [usize], mut bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let size = *sizes.next()?;
        let (chunk, rest) = bytes.split_at(size.min(bytes.len()));
        bytes = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}
