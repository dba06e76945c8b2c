//! An established session: two directions that translate, or splice, and never wait for each other.

mod direction;

use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bip324_transport::{v1, v2};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::direction::Direction;
use crate::memory::Exhausted;
use crate::socket::ReadError;
use crate::stats::Live;

pub(crate) use self::direction::{Codec, Pipe, output_room};

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
    #[error(transparent)]
    Memory(#[from] Exhausted),
    #[error("closed through the control socket")]
    Closed,
}

/// Runs both directions to their ends. Each passes on the FIN of its source; an error in one ends
/// the other, and [`Live::close`] both, as does dropping the future.
pub(crate) async fn run(
    client: &Arc<TcpStream>,
    peer: &Arc<TcpStream>,
    up: Pipe,
    down: Pipe,
    live: &Arc<Live>,
) -> Result<(), Error> {
    let direction = |from, to, pipe, flow| {
        Direction::new(Arc::clone(from), Arc::clone(to), pipe, Arc::clone(live), flow).run()
    };
    let mut up = JoinSet::from_iter([direction(client, peer, up, |live| &live.to_peer)]);
    // The session's own task would only wait otherwise.
    let down = pin!(direction(peer, client, down, |live| &live.to_client));
    let result = tokio::select! {
        biased;
        result = both(&mut up, down, live) => result,
        () = live.closing() => Err(Error::Closed),
    };
    up.shutdown().await;
    result
}

/// Waits for both directions to end well, or for the first that does not.
async fn both(
    up: &mut JoinSet<Result<(), Error>>,
    mut down: Pin<&mut impl Future<Output = Result<(), Error>>>,
    live: &Live,
) -> Result<(), Error> {
    let (first, down_is_left) = tokio::select! {
        ended = joined(up) => (ended, true),
        ended = &mut down => (ended, false),
    };
    let rest = pin!(async { if down_is_left { down.await } else { joined(up).await } });
    match first {
        Ok(()) => finish(rest, live).await,
        // The other direction reads from the socket that failed here: what came before may be left.
        Err(error @ Error::Write(_)) => {
            let _ = timeout(LAST_WORDS, rest).await;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Waits for the second direction after the first has ended well. A side that has closed its whole
/// socket looks like one that still reads: it is taken for that as long as any byte gets on.
async fn finish(
    mut rest: Pin<&mut impl Future<Output = Result<(), Error>>>,
    live: &Live,
) -> Result<(), Error> {
    loop {
        let before = live.activity();
        match timeout(HALF_OPEN, &mut rest).await {
            Ok(result) => return result,
            Err(_) if live.activity() == before => return Err(Error::HalfOpen),
            Err(_) => {}
        }
    }
}

/// Waits for the direction that has a task of its own. Cancel-safe.
async fn joined(up: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    match up.join_next().await {
        Some(Ok(result)) => result,
        // A bug, for the server to report as one of this session.
        Some(Err(error)) => error.try_into_panic().map_or(Ok(()), |panic| resume_unwind(panic)),
        None => Ok(()),
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Socket(error) => Self::Read(error),
            ReadError::Memory(exhausted) => Self::Memory(exhausted),
        }
    }
}

/// How long a half-closed session may be quiet: twice the kernel's `tcp_fin_timeout`.
const HALF_OPEN: Duration = Duration::from_secs(120);

/// What a direction gets to carry the rest when its destination still stands but its source is
/// gone.
const LAST_WORDS: Duration = Duration::from_millis(300);

#[cfg(test)]
pub(super) mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;
    use crate::memory::{Buffer, Memory};
    use crate::stats::{Beginning, Flow, Kind, Registration, Stats};

    pub(super) fn memory() -> Arc<Memory> {
        Memory::new(64 << 20, Arc::default())
    }

    pub(super) fn register(kind: Kind) -> Registration {
        let destination = "203.0.113.2:8333".parse().unwrap();
        let beginning = Beginning {
            kind,
            client: "127.0.0.1:40000".parse().unwrap(),
            owner: None,
            redirected: true,
            destination,
            magic: None,
            session_id: None,
            accepted: Instant::now(),
        };
        Arc::new(Stats::default()).register(beginning, Flow::default(), Flow::default())
    }

    /// A connection: the relay's end and the far one.
    pub(super) async fn connection() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Arc::new(listener.accept().await.unwrap().0), far)
    }

    /// A relay of bytes as they are, and the far ends of both its connections.
    async fn spliced() -> (JoinHandle<Result<(), Error>>, TcpStream, TcpStream) {
        let (client, far_client) = connection().await;
        let (peer, far_peer) = connection().await;
        let session = register(Kind::Fallback);
        let relay = tokio::spawn(async move {
            let pipe = || Pipe::new(Codec::Splice, Buffer::new(&memory()), &memory());
            run(&client, &peer, pipe(), pipe(), &session.live).await
        });
        (relay, far_client, far_peer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_closed_session_lasts_while_bytes_flow() {
        let (relay, mut far_client, mut far_peer) = spliced().await;
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
