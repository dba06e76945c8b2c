//! One subscription to the control socket, for all browsers.
//!
//! A browser gets a JSON object a line. First, and again whenever it could not keep up or the daemon
//! was gone, what holds: `{"feed":"up",...}`, or `{"feed":"down","reason":...}` while there is no
//! daemon. In between the control protocol's events as they come.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use bip324_control::{Event, Scope, Session, Status, line};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::sleep;

use crate::client::{Client, Error, Subscription};

/// What the browsers are told.
#[derive(Debug)]
pub(crate) struct Feed {
    // Held while a line is sent, so that who reads what holds misses none and gets none twice.
    world: Mutex<World>,
    lines: broadcast::Sender<Bytes>,
}

/// A browser's share of it.
#[derive(Debug)]
pub(crate) struct Reader {
    feed: Arc<Feed>,
    whole: bool,
    lines: broadcast::Receiver<Bytes>,
}

/// What holds.
#[derive(Debug, Serialize)]
#[serde(tag = "feed", rename_all = "snake_case")]
enum World {
    Down {
        reason: String,
    },
    Up {
        scope: Scope,
        status: Box<Status>,
        #[serde(serialize_with = "values")]
        sessions: BTreeMap<u64, Session>,
        /// The last minutes, oldest first.
        history: VecDeque<Sample>,
    },
}

/// Bytes towards the peers' side by then.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    uptime: u64,
    to_peer: u64,
    to_client: u64,
}

/// Follows the daemon for ever, and a restarted one as well.
pub(crate) async fn follow(feed: &Feed, socket: &Path) {
    loop {
        let Err(error) = subscribe(feed, socket).await;
        feed.change(World::Down { reason: error.to_string() });
        sleep(RETRY).await;
    }
}

impl Default for Feed {
    fn default() -> Self {
        let world = World::Down { reason: "Not connected to the daemon yet.".to_owned() };
        Self { world: Mutex::new(world), lines: broadcast::Sender::new(BEHIND) }
    }
}

impl Feed {
    /// All that happens from now on, after what holds now.
    pub(crate) fn read(self: &Arc<Self>) -> Reader {
        Reader { feed: Arc::clone(self), whole: true, lines: self.lines.subscribe() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, to: World) {
        let mut world = self.world();
        *world = to;
        self.tell(&*world);
    }

    fn happen(&self, event: Event) {
        let mut world = self.world();
        self.tell(&event);
        world.happen(event);
    }

    /// Nobody may be listening.
    fn tell(&self, message: &impl Serialize) {
        if let Ok(line) = line(message) {
            let _ = self.lines.send(line.into());
        }
    }
}

impl Reader {
    /// The next line. None once there are no more, which is never while [`follow`] runs.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.whole {
                self.whole = false;
                let world = self.feed.world();
                self.lines = self.feed.lines.subscribe();
                return line(&*world).ok().map(Bytes::from);
            }
            match self.lines.recv().await {
                Ok(line) => return Some(line),
                Err(RecvError::Lagged(_)) => self.whole = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl World {
    fn happen(&mut self, event: Event) {
        let Self::Up { status, sessions, history, .. } = self else { return };
        match event {
            Event::Opened { session } => {
                sessions.insert(session.id, session);
            }
            Event::Closed { session, .. } => {
                sessions.remove(&session.id);
            }
            Event::Traffic { status: now, sessions: changed } => {
                *status = now;
                if history.len() == SAMPLES {
                    history.pop_front();
                }
                history.push_back(Sample::of(status));
                sessions.extend(changed.into_iter().map(|session| (session.id, session)));
            }
            Event::Lost { .. } => {}
        }
    }
}

impl Sample {
    fn of(status: &Status) -> Self {
        let traffic = &status.traffic;
        let sum = |v2: u64, spliced: u64| v2.saturating_add(spliced);
        Self {
            uptime: status.uptime,
            to_peer: sum(traffic.v2_to_peer.peer_bytes, traffic.spliced_to_peer.peer_bytes),
            to_client: sum(traffic.v2_to_client.peer_bytes, traffic.spliced_to_client.peer_bytes),
        }
    }
}

/// One subscription, until it ends.
async fn subscribe(feed: &Feed, socket: &Path) -> Result<Infallible, Error> {
    let client = Client::connect(socket).await?;
    let (Subscription { scope, status, sessions }, mut events) = client.subscribe(INTERVAL).await?;
    let history = VecDeque::from([Sample::of(&status)]);
    let sessions = sessions.into_iter().map(|session| (session.id, session)).collect();
    feed.change(World::Up { scope, status: Box::new(status), sessions, history });
    loop {
        feed.happen(events.next().await?);
    }
}

fn values<S: serde::Serializer>(
    sessions: &BTreeMap<u64, Session>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sessions.values())
}

/// Lines that a browser may be behind; then it gets what holds instead.
const BEHIND: usize = 64;
/// Five minutes.
const SAMPLES: usize = 300;
/// Between two attempts to reach the daemon.
const RETRY: Duration = Duration::from_secs(1);
/// Milliseconds between two samples.
const INTERVAL: u64 = 1000;
