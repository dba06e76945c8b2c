//! One direction of a session: wait, read, translate, write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bip324_transport::limits::{BATCH, MAX_READ_AHEAD};
use bip324_transport::{Progress, Receiver, Sender};
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::{Error, LAST_WORDS};
use crate::agent::{Seen, Watch};
use crate::memory::{Buffer, Memory};
use crate::socket;
use crate::stats::{Flow, Live};

/// What happens to the bytes on their way.
pub(crate) enum Codec {
    /// v1 messages of the client become packets for the peer.
    Encrypt(Box<Sender>),
    /// Packets of the peer become v1 messages for the client.
    Decrypt(Box<Receiver>),
    /// They stay as they are.
    Splice,
}

/// A codec and the bytes around it. The buffers hold the messages at hand and at most 256 KiB more,
/// and nothing while the session is idle.
pub(crate) struct Pipe {
    pub(crate) codec: Codec,
    /// Received and not translated.
    pub(crate) input: Buffer,
    /// Translated and not written.
    pub(crate) output: Buffer,
    /// What looks for the user agent, until it is found.
    pub(crate) watch: Option<Box<Watch>>,
}

/// One direction of a session.
pub(super) struct Direction {
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    pipe: Pipe,
    live: Arc<Live>,
    /// Where this direction is counted.
    flow: fn(&Live) -> &Flow,
    /// Room for one read while no long message is under way.
    room: usize,
    /// Times in a row that the buffers were larger than what went through them needed.
    oversized: u32,
}

impl Pipe {
    /// A pipe that translates `input` first.
    pub(crate) fn new(codec: Codec, input: Buffer, memory: &Arc<Memory>) -> Self {
        Self { codec, input, output: Buffer::new(memory), watch: None }
    }

    /// The same, which looks for the user agent in what passes first: v1 messages.
    pub(crate) fn watched(self) -> Self {
        Self { watch: Some(Box::default()), ..self }
    }
}

impl Direction {
    /// One that has carried nothing yet, counted where `flow` says.
    pub(super) const fn new(
        from: Arc<TcpStream>,
        to: Arc<TcpStream>,
        pipe: Pipe,
        live: Arc<Live>,
        flow: fn(&Live) -> &Flow,
    ) -> Self {
        Self { from, to, pipe, live, flow, room: FIRST_READ, oversized: 0 }
    }

    /// Carries bytes until the end of the source, and passes the end on. Not cancel-safe.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        loop {
            let wants = self.forward().await?;
            if !self.fill(wants).await? {
                break;
            }
        }
        if !self.pipe.input.is_empty() {
            return Err(Error::Truncated);
        }
        socket::finish_writing(&self.to).map_err(Error::Write)
    }

    /// Translates and writes every complete message in the input. Returns how long the input must
    /// be before there is another.
    async fn forward(&mut self) -> Result<usize, Error> {
        let (mut done, mut longest) = (0, self.pipe.input.len());
        loop {
            let translated = self.translate(done);
            longest = longest.max(self.pipe.output.len());
            let Progress { consumed, wants } = match translated {
                Ok(progress) => progress,
                Err(error) => {
                    // The messages before the bad one are good, but their reader gets no more time.
                    let _ = timeout(LAST_WORDS, self.flush()).await;
                    return Err(error);
                }
            };
            self.flush().await.map_err(Error::Write)?;
            done += consumed;
            if self.pipe.input.len().saturating_sub(done) < wants {
                self.pipe.input.consume(done);
                self.trim(longest.max(wants));
                return Ok(wants);
            }
        }
    }

    fn translate(&mut self, done: usize) -> Result<Progress, Error> {
        let flow = (self.flow)(&self.live);
        let Pipe { codec, input, output, watch } = &mut self.pipe;
        let rest = input.get_mut(done..).unwrap_or_default();
        let progress = match codec {
            Codec::Encrypt(sender) => {
                output.reserve(output_room(rest.len()))?;
                let progress = output.append(|output| sender.translate(rest, output));
                let dropped = sender.counts().dropped_checksum + sender.counts().dropped_type;
                flow.count(sender.tally(), dropped);
                progress?
            }
            Codec::Decrypt(receiver) => {
                output.reserve(output_room(rest.len()))?;
                let progress = output.append(|output| receiver.translate(rest, output));
                let dropped = receiver.counts().dropped;
                flow.count(receiver.tally(), dropped);
                progress?
            }
            Codec::Splice => {
                std::mem::swap(input, output);
                Progress { consumed: 0, wants: 1 }
            }
        };
        if let Some(Seen::All(agent)) = watch.as_mut().map(|watch| watch.look(output)) {
            *watch = None;
            if let Some(agent) = agent {
                let _ = flow.agent.set(agent);
            }
        }
        Ok(progress)
    }

    /// Writes the output. Not cancel-safe: cancelled, it has written an unknown part.
    async fn flush(&mut self) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = self.pipe.output.get(done..) {
            let sent = socket::write_some(&self.to, rest).await?;
            self.flow().sent.fetch_add(sent as u64, Relaxed);
            done += sent;
        }
        self.pipe.output.clear();
        Ok(())
    }

    /// Gives back what a long message took, once many short ones have followed it: a session that
    /// is never idle keeps nothing for ever, and one block after another finds its buffers there.
    fn trim(&mut self, needed: usize) {
        if needed > READ {
            self.oversized = 0;
        } else if self.pipe.input.capacity().max(self.pipe.output.capacity()) > OVERSIZE {
            self.oversized += 1;
            if self.oversized == TRIM_AFTER {
                self.pipe.input.shrink_to(READ);
                self.pipe.output.shrink_to(READ);
            }
        }
    }

    /// Reads until the input is `wants` long. Returns false at the end of the stream.
    async fn fill(&mut self, wants: usize) -> Result<bool, Error> {
        while self.pipe.input.len() < wants {
            consume_budget().await;
            // Grow in few large steps, but never far ahead of what has arrived.
            let room = (wants - self.pipe.input.len()).clamp(self.room, MAX_READ_AHEAD);
            match socket::read_now(&self.from, &mut self.pipe.input, room)? {
                Some(0) => return Ok(false),
                Some(received) => {
                    self.flow().received.fetch_add(received as u64, Relaxed);
                    if self.pipe.input.room() == 0 {
                        self.room = READ;
                    }
                }
                None => self.wait().await.map_err(Error::Read)?,
            }
        }
        Ok(true)
    }

    fn flow(&self) -> &Flow {
        (self.flow)(&self.live)
    }

    /// Waits for bytes, and gives the buffers back when they are long in coming.
    async fn wait(&mut self) -> io::Result<()> {
        if let Ok(ready) = timeout(IDLE, self.from.readable()).await {
            return ready;
        }
        self.pipe.input.shrink_to(0);
        self.pipe.output.shrink_to(0);
        self.room = FIRST_READ;
        self.from.readable().await
    }
}

/// The most that the translation of `input` bytes appends to an output: one v1 header of 24 bytes
/// becomes up to 33, a packet of 21 bytes a v1 header; and it starts no message beyond [`BATCH`].
/// Whole pages, so that a little more input does not mean a new buffer.
pub(crate) fn output_room(input: usize) -> usize {
    let longest = input + (input * 3).div_ceil(8);
    longest.min(BATCH + input + 33).next_multiple_of(4096)
}

/// Room for the first read after silence: most that comes then is short.
const FIRST_READ: usize = 4 * 1024;

/// Room for one read once the first was not enough.
const READ: usize = 64 * 1024;

/// How long a direction keeps its buffers without using them.
const IDLE: Duration = Duration::from_millis(100);

/// Buffers beyond this are worth giving back.
const OVERSIZE: usize = 4 * READ;

/// Short rounds after which they are.
const TRIM_AFTER: u32 = 32;

#[cfg(test)]
mod tests {
    use bip324_transport::v1;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::relay::tests::{connection, memory, register};
    use crate::stats::Kind;

    /// A direction out of nowhere that has just carried a long message.
    async fn after_a_long_message() -> Direction {
        let (from, _) = connection().await;
        let to = Arc::clone(&from);
        let session = register(Kind::V2);
        let mut pipe = Pipe::new(Codec::Splice, Buffer::new(&memory()), &memory());
        pipe.input.reserve(4_000_000).unwrap();
        pipe.output.reserve(4_000_000).unwrap();
        let live = Arc::clone(&session.live);
        let direction = Direction::new(from, to, pipe, live, |live| &live.to_peer);
        Direction { room: READ, ..direction }
    }

    #[tokio::test]
    async fn a_busy_session_gives_a_long_message_s_buffers_back() {
        let mut direction = after_a_long_message().await;
        for _ in 0..TRIM_AFTER {
            direction.trim(READ);
        }
        assert!(direction.pipe.input.capacity() < OVERSIZE);
        assert!(direction.pipe.output.capacity() < OVERSIZE);
    }

    #[tokio::test]
    async fn one_long_message_after_another_keeps_its_buffers() {
        let mut direction = after_a_long_message().await;
        for round in 0..10 * TRIM_AFTER {
            direction.trim(if round % 8 == 0 { 1_640_000 } else { 24 });
        }
        assert_eq!(direction.pipe.input.capacity(), 4_000_000);
    }

    /// The codecs' worst cases: many empty messages, and one long one behind a full batch.
    #[test]
    fn the_room_for_output_is_never_too_small() {
        for messages in [1, 7, 1000, 20_000] {
            assert!(output_room(24 * messages) >= 33 * messages);
            assert!(output_room(21 * messages) >= 24 * messages);
        }
        let long = 24 + 4_000_000;
        assert!(output_room(BATCH * 24 / 33 + long) >= BATCH + long + 9);
        assert!(output_room(long) < long + BATCH + 8192, "no more than needed");
        assert_eq!(output_room(0), 0);
    }

    /// However many longer messages stall in other sessions, clients keep up with the headers.
    #[tokio::test]
    async fn a_full_headers_message_passes_in_the_last_quarter_of_the_memory() {
        const HEADERS: usize = v1::HEADER_LEN + 3 + 2000 * 81;
        let memory = Memory::new(8 << 20, Arc::default());
        let _stalled = memory.share(6 << 20).unwrap();
        let mut direction = after_a_long_message().await;
        let (from, mut far) = connection().await;
        direction.from = from;
        direction.pipe = Pipe::new(Codec::Splice, Buffer::new(&memory), &memory);
        let writer = tokio::spawn(async move { far.write_all(&vec![7; 2 * HEADERS]).await });
        for wants in [v1::HEADER_LEN, HEADERS] {
            assert!(direction.fill(wants).await.unwrap());
            let Pipe { input, output, .. } = &mut direction.pipe;
            output.reserve(output_room(input.len())).unwrap();
        }
        writer.abort();
    }

    #[tokio::test]
    async fn a_small_buffer_of_the_handshake_does_not_make_for_small_reads() {
        let mut direction = after_a_long_message().await;
        let (from, mut far) = connection().await;
        direction.from = from;
        direction.pipe.input = Buffer::new(&memory());
        direction.pipe.input.reserve(1024).unwrap();
        far.write_all(&[7; READ]).await.unwrap();
        direction.from.readable().await.unwrap();
        assert!(direction.fill(1).await.unwrap());
        assert!(direction.pipe.input.capacity() >= READ);
    }

    /// Of what a peer says after a pause most is short, and thousands of sessions may be told at once.
    #[tokio::test]
    async fn a_message_after_a_pause_takes_little_memory_and_a_burst_gets_large_reads() {
        let mut direction = after_a_long_message().await;
        let (from, mut far) = connection().await;
        direction.from = from;
        direction.pipe.input = Buffer::new(&memory());
        direction.room = FIRST_READ;
        far.write_all(&[7; 100]).await.unwrap();
        assert!(direction.fill(1).await.unwrap());
        assert!(direction.pipe.input.capacity() < 16 << 10);
        assert_eq!(direction.room, FIRST_READ);

        let sent = 100 + 4 * READ;
        let writer = tokio::spawn(async move { far.write_all(&[7; 4 * READ]).await.map(|()| far) });
        assert!(direction.fill(sent).await.unwrap());
        assert_eq!((direction.pipe.input.len(), direction.room), (sent, READ));
        writer.await.unwrap().unwrap();
    }

    /// The clock jumps whenever everything waits.
    #[tokio::test(start_paused = true)]
    async fn a_pause_gives_the_buffers_back_and_the_next_read_is_a_small_one() {
        let mut direction = after_a_long_message().await;
        let (from, _far) = connection().await;
        direction.from = from;
        assert!(timeout(IDLE * 2, direction.fill(1)).await.is_err());
        assert_eq!((direction.pipe.input.capacity(), direction.pipe.output.capacity()), (0, 0));
        assert_eq!(direction.room, FIRST_READ);
    }
}
