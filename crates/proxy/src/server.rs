//! Accepting connections, each into a session of its own, until told to stop.

use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::admission::{Admission, Full};
use crate::config::Current;
use crate::destination::{Own, classify};
use crate::interfaces;
use crate::memory::Memory;
use crate::original_dst::OriginalDst;
use crate::pins::Pins;
use crate::quota::OwnerOf;
use crate::session::{self, Arrival, Shared};
use crate::socket::{self, Dial};
use crate::stats::Stats;
use crate::throttle::Throttle;
use crate::{notify, watchdog};

/// Serves connections to `listeners` until `shutdown` completes, then lets sessions end by
/// themselves for [`drain`](crate::config::Timeouts::drain) and closes what is left.
///
/// Dropping the future closes everything at once. What `config` comes to say holds for new sessions,
/// but for timeouts and watchdog, which stay as they are; its memory for all.
///
/// # Errors
/// A listener does not know its own address, or accepting panicked, which is a bug: then everything
/// is closed at once, so that clients are refused rather than left waiting.
pub async fn serve<O: OriginalDst, D: Dial>(
    listeners: Vec<TcpListener>,
    config: Current,
    original_dst: O,
    owner_of: OwnerOf,
    dialler: D,
    stats: Arc<Stats>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let (stop, stopping) = watch::channel(());
    let original_dst = Arc::new(original_dst);
    let memory = Memory::new(config.borrow().max_memory, Arc::clone(&stats));
    let admission = Arc::new(Admission::new(config.clone(), owner_of, Arc::clone(&memory)));
    let period = config.borrow().watchdog;
    let shared = Arc::new(Shared {
        config: config.clone(),
        dialler,
        own: Own::new(addresses, interfaces::addresses),
        pins: Pins::default(),
        direct_memory: memory.half(),
        memory: Arc::clone(&memory),
        stats,
        throttle: Throttle::default(),
    });

    let (watcher, links) = watchdog::ring(listeners.len());
    let mut acceptors = JoinSet::new();
    for (listener, watch) in listeners.into_iter().zip(links) {
        let acceptor = Acceptor {
            listener,
            original_dst: Arc::clone(&original_dst),
            admission: Arc::clone(&admission),
            shared: Arc::clone(&shared),
            backoff: Backoff::default(),
            sessions: JoinSet::new(),
            watch,
        };
        acceptors.spawn(acceptor.run(stopping.clone()));
    }
    tokio::select! {
        () = shutdown => {}
        () = watcher.watch(period, notify::alive) => {}
        () = follow(config, &memory) => {}
        Some(ended) = acceptors.join_next() => ended?,
    }
    drop(stop);
    while let Some(ended) = acceptors.join_next().await {
        ended?;
    }
    Ok(())
}

/// Lets the memory be what the configuration comes to say.
async fn follow(mut config: Current, memory: &Memory) {
    while config.changed().await.is_ok() {
        memory.set_limit(config.borrow_and_update().max_memory);
    }
    pending().await
}

/// One listener and the sessions that came through it.
struct Acceptor<O, D> {
    listener: TcpListener,
    original_dst: Arc<O>,
    admission: Arc<Admission>,
    shared: Arc<Shared<D>>,
    backoff: Backoff,
    sessions: JoinSet<()>,
    watch: watchdog::Link,
}

impl<O: OriginalDst, D: Dial> Acceptor<O, D> {
    async fn run(mut self, mut stopping: watch::Receiver<()>) {
        loop {
            tokio::select! {
                _ = stopping.changed() => break,
                () = self.watch.turn() => {}
                Some(ended) = self.sessions.join_next() => report(ended, &self.shared.stats),
                accepted = accept(&self.listener, self.backoff.until) => match accepted {
                    Ok((stream, peer)) => self.accepted(stream, peer),
                    Err(error) => self.failed(&error),
                },
            }
        }
        drop(self.listener);
        drain(self.sessions, &self.shared).await;
    }

    /// Starts a session.
    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr) {
        let now = Instant::now();
        if self.backoff.succeeded(now) {
            info!("accepting connections again");
        }
        self.shared.stats.count_accepted();
        // At once, before anything else can happen: the kernel may forget.
        let answer = self.original_dst.lookup(&stream, peer);
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let origin = classify(answer, local, peer, &self.shared.own);
        let ticket = match self.admission.admit(origin, peer, local) {
            Ok(ticket) => ticket,
            Err(full) => return self.refuse(&stream, full, now),
        };
        let owner = ticket.as_ref().and_then(|ticket| ticket.owner);
        let arrival = Arrival { stream, client: peer, origin, owner, at: now };
        let session = session::run(Arc::clone(&self.shared), arrival);
        self.sessions.spawn(async move {
            session.await;
            drop(ticket);
        });
    }

    /// One too many is reset at once rather than left waiting in the queue, so that its client can
    /// turn elsewhere.
    fn refuse(&self, stream: &TcpStream, full: Full, now: Instant) {
        self.shared.stats.count_refused(full.reason());
        if let Some(suppressed) = self.shared.throttle.pass(full.reason(), now) {
            warn!(reason = full.reason().name(), "connection refused: {full}{suppressed}");
        }
        // If this fails, the connection is closed all the same.
        let _ = socket::reset_on_close(stream);
    }

    /// accept(2) fails when the system runs out of descriptors or memory, or when a client is gone
    /// already: never for good.
    fn failed(&mut self, error: &io::Error) {
        self.shared.stats.count_accept_failure();
        if self.backoff.failed(Instant::now()) {
            self.shared.stats.count_accept_backoff();
            warn!("cannot accept connections, trying again: {error}");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    not_before: Option<Instant>,
) -> io::Result<(TcpStream, SocketAddr)> {
    if let Some(instant) = not_before {
        sleep_until(instant).await;
    }
    listener.accept().await
}

async fn drain<D>(mut sessions: JoinSet<()>, shared: &Shared<D>) {
    let ended = async {
        while let Some(ended) = sessions.join_next().await {
            report(ended, &shared.stats);
        }
    };
    let limit = shared.config.borrow().timeouts.drain;
    // What is left is aborted and closed.
    let _ = timeout(limit, ended).await;
    sessions.shutdown().await;
}

/// A panic ends its own session only, but it is a bug.
fn report(ended: Result<(), JoinError>, stats: &Stats) {
    if ended.is_err_and(|error| error.is_panic()) {
        stats.count_panic();
        error!("a session panicked; please report this");
    }
}

/// How long to leave accept alone after it failed: twice as long each time, until it succeeds.
///
/// Where descriptors are scarce accept fails and succeeds in turns. All that is one episode, which
/// is over after [`EPISODE_END`] without a failure.
#[derive(Debug, Default)]
struct Backoff {
    delay: Option<Duration>,
    until: Option<Instant>,
    /// The last failure of the episode.
    failure: Option<Instant>,
}

impl Backoff {
    /// Returns whether this failure begins an episode.
    fn failed(&mut self, now: Instant) -> bool {
        let delay = self.delay.map_or(SHORTEST_DELAY, |delay| (delay * 2).min(LONGEST_DELAY));
        self.delay = Some(delay);
        self.until = Some(now + delay);
        self.failure.replace(now).is_none_or(|last| now - last >= EPISODE_END)
    }

    /// Returns whether this success ends an episode.
    fn succeeded(&mut self, now: Instant) -> bool {
        self.delay = None;
        self.until = None;
        self.failure.take_if(|last| now - *last >= EPISODE_END).is_some()
    }
}

const SHORTEST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
const EPISODE_END: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f12_accept_failures_back_off_and_recover() {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        let mut delays = Vec::new();
        for failure in 0..9 {
            assert_eq!(backoff.failed(now), failure == 0, "an episode is reported once");
            delays.push((backoff.until.unwrap() - now).as_millis());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert!(!backoff.succeeded(now), "it may fail again at once");
        assert_eq!(backoff.until, None);
        assert!(!backoff.failed(now), "still the same episode");
        assert_eq!(backoff.until, Some(now + SHORTEST_DELAY));

        let later = now + EPISODE_END;
        assert!(backoff.succeeded(later));
        assert!(!backoff.succeeded(later), "the end is reported once");
        assert!(backoff.failed(later), "a new episode");
        assert!(backoff.failed(later + EPISODE_END), "another, with nobody connecting between");
    }
}
