//! An established session: two directions that translate, or splice, and never wait for each other.

use std::io;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bip324_transport::limits::MAX_READ_AHEAD;
use bip324_transport::{Progress, Receiver, Sender, v1, v2};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use crate::socket;
use crate::stats::Live;

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
    pub(crate) input: Vec<u8>,
    /// Translated and not written.
    pub(crate) output: Vec<u8>,
}

/// One direction of a session.
struct Direction {
    from: Arc<TcpStream>,
    to: Arc<TcpStream>,
    pipe: Pipe,
    live: Arc<Live>,
    /// Where the bytes written are counted.
    written: fn(&Live) -> &AtomicU64,
}

/// Why a session broke.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("reading failed: {0}")]
    Read(#[source] io::Error),
    #[error("writing failed: {0}")]
    Write(#[source] io::Error),
    #[error("the stream ended in the middle of a message")]
    Truncated,
    #[error("one side closed the connection and the other neither sends nor closes it")]
    HalfOpen,
    #[error("the client broke the protocol: {0}")]
    V1(#[from] v1::Error),
    #[error("the peer broke the protocol: {0}")]
    V2(#[from] v2::Error),
}

/// Runs both directions to their ends. Each passes on the FIN of its source; an error in one ends
/// the other. Dropping the future ends both.
pub(crate) async fn run(
    client: &Arc<TcpStream>,
    peer: &Arc<TcpStream>,
    up: Pipe,
    down: Pipe,
    live: &Arc<Live>,
) -> Result<(), Error> {
    let mut directions = JoinSet::new();
    let mut spawn = |from, to, pipe, written| {
        let (from, to, live) = (Arc::clone(from), Arc::clone(to), Arc::clone(live));
        directions.spawn(Direction { from, to, pipe, live, written }.run());
    };
    spawn(client, peer, up, |live| &live.to_peer);
    spawn(peer, client, down, |live| &live.to_client);
    let result = match next(&mut directions).await {
        Ok(()) => finish(&mut directions, live).await,
        // The other direction reads from the socket that failed here: what came before may be left.
        Err(error @ Error::Write(_)) => {
            let _ = timeout(LAST_WORDS, next(&mut directions)).await;
            Err(error)
        }
        Err(error) => Err(error),
    };
    directions.shutdown().await;
    result
}

/// Waits for the second direction after the first has ended well. A side that has closed its whole
/// socket looks like one that still reads: only as long as bytes flow is it taken for that.
async fn finish(directions: &mut JoinSet<Result<(), Error>>, live: &Live) -> Result<(), Error> {
    let carried = || live.to_peer.load(Relaxed).wrapping_add(live.to_client.load(Relaxed));
    loop {
        let before = carried();
        match timeout(HALF_OPEN, next(directions)).await {
            Ok(result) => return result,
            Err(_) if carried() == before => return Err(Error::HalfOpen),
            Err(_) => {}
        }
    }
}

/// Waits for one direction to end. Cancel-safe.
async fn next(directions: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    match directions.join_next().await {
        Some(Ok(result)) => result,
        // A bug, for the server to report as one of this session.
        Some(Err(error)) => error.try_into_panic().map_or(Ok(()), |panic| resume_unwind(panic)),
        None => Ok(()),
    }
}

impl Pipe {
    /// A pipe that translates `input` first.
    pub(crate) const fn new(codec: Codec, input: Vec<u8>) -> Self {
        Self { codec, input, output: Vec::new() }
    }
}

impl Direction {
    /// Carries bytes until the end of the source, and passes the end on. Not cancel-safe.
    async fn run(mut self) -> Result<(), Error> {
        loop {
            let wants = self.forward().await?;
            if !self.fill(wants).await.map_err(Error::Read)? {
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
        let mut done = 0;
        loop {
            let translated = self.translate(done);
            // Also on an error: the messages before it are good.
            self.flush().await.map_err(Error::Write)?;
            let Progress { consumed, wants } = translated?;
            done += consumed;
            if self.pipe.input.len().saturating_sub(done) < wants {
                self.pipe.input.drain(..done);
                return Ok(wants);
            }
        }
    }

    fn translate(&mut self, done: usize) -> Result<Progress, Error> {
        let rest = self.pipe.input.get_mut(done..).unwrap_or_default();
        match &mut self.pipe.codec {
            Codec::Encrypt(sender) => Ok(sender.translate(rest, &mut self.pipe.output)?),
            Codec::Decrypt(receiver) => Ok(receiver.translate(rest, &mut self.pipe.output)?),
            Codec::Splice => {
                self.pipe.output.append(&mut self.pipe.input);
                Ok(Progress { consumed: 0, wants: 1 })
            }
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        socket::write_all(&self.to, &self.pipe.output).await?;
        let written = u64::try_from(self.pipe.output.len()).unwrap_or(u64::MAX);
        (self.written)(&self.live).fetch_add(written, Relaxed);
        self.pipe.output.clear();
        Ok(())
    }

    /// Reads until the input is `wants` long. Returns false at the end of the stream.
    async fn fill(&mut self, wants: usize) -> io::Result<bool> {
        while self.pipe.input.len() < wants {
            consume_budget().await;
            let spare = self.pipe.input.capacity() - self.pipe.input.len();
            let missing = wants - self.pipe.input.len();
            // Grow in few large steps, but never far ahead of what has arrived.
            let room =
                if spare < missing.min(READ) { missing.clamp(READ, MAX_READ_AHEAD) } else { 0 };
            match socket::read_now(&self.from, &mut self.pipe.input, room)? {
                Some(0) => return Ok(false),
                Some(_) => {}
                None => self.wait().await?,
            }
        }
        Ok(true)
    }

    /// Waits for bytes, and gives the buffers back when they are long in coming.
    async fn wait(&mut self) -> io::Result<()> {
        if let Ok(ready) = timeout(IDLE, self.from.readable()).await {
            return ready;
        }
        self.pipe.input.shrink_to_fit();
        self.pipe.output = Vec::new();
        self.from.readable().await
    }
}

/// Room for one read while no long message is under way.
const READ: usize = 64 * 1024;

/// How long a direction keeps its buffers without using them.
const IDLE: Duration = Duration::from_millis(100);

/// How long a half-closed session may be quiet: as the kernel's `tcp_fin_timeout`.
const HALF_OPEN: Duration = Duration::from_secs(60);

/// What a direction gets to carry the rest when its destination still stands but its source is
/// gone.
const LAST_WORDS: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::stats::{Kind, Stats};

    /// A connection: the relay's end and the far one.
    async fn connection() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Arc::new(listener.accept().await.unwrap().0), far)
    }

    /// The clock jumps whenever everything waits.
    #[tokio::test(start_paused = true)]
    async fn a_half_closed_session_lasts_while_bytes_flow() {
        let (client, mut far_client) = connection().await;
        let (peer, mut far_peer) = connection().await;
        let to = "203.0.113.2:8333".parse().unwrap();
        let session = Arc::new(Stats::default()).register(Kind::Fallback, to, None);
        let live = Arc::clone(&session.live);
        let relay = tokio::spawn(async move {
            let pipe = || Pipe::new(Codec::Splice, Vec::new());
            run(&client, &peer, pipe(), pipe(), &live).await
        });
        far_client.write_all(b"last words").await.unwrap();
        far_client.shutdown().await.unwrap();
        let mut words = String::new();
        far_peer.read_to_string(&mut words).await.unwrap();
        assert_eq!(words, "last words");

        let start = Instant::now();
        for _ in 0..4 {
            tokio::time::sleep(HALF_OPEN * 2 / 3).await;
            far_peer.write_all(b".").await.unwrap();
            far_client.read_exact(&mut [0]).await.unwrap();
        }
        assert!(start.elapsed() > HALF_OPEN * 2);
        assert!(matches!(relay.await.unwrap(), Err(Error::HalfOpen)));
    }
}
