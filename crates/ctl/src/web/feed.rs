//! One subscription to the control socket, for all browsers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use bip324_control::{Event, Session, line};
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::world::{Change, World};
use crate::client::{Client, Error};
use crate::process;
use crate::rules::Rules;
use crate::sessions::{Entry, client};

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
    behind: bool,
    lines: broadcast::Receiver<Bytes>,
}

/// Follows the daemon for ever, and a restarted one as well.
pub(crate) async fn follow(feed: &Feed, socket: &Path) {
    loop {
        let Err(error) = subscribe(feed, socket).await;
        feed.replace(|world| world.lose(error.to_string()));
        sleep(RETRY).await;
    }
}

/// One subscription, until it ends.
async fn subscribe(feed: &Feed, socket: &Path) -> Result<Infallible, Error> {
    let client = Client::connect(socket).await?;
    let (subscription, mut events) = client.subscribe(INTERVAL).await?;
    let listeners = subscription.status.listeners.clone();
    let mut strangers = subscription.sessions.clone();
    feed.replace(|world| world.begin(subscription));
    loop {
        let event = events.next().await?;
        // A look at all processes costs as much as hundreds of events: one a second for all that came.
        if matches!(event, Event::Traffic { .. }) && !strangers.is_empty() {
            let found = find(std::mem::take(&mut strangers), listeners.clone()).await;
            feed.change(Change::found(found));
        }
        if let Event::Opened { session } = &event {
            strangers.push(session.clone());
        }
        feed.change(Change::of(event));
    }
}

/// Who these sessions' clients are.
async fn find(sessions: Vec<Session>, listeners: Vec<SocketAddr>) -> BTreeMap<u64, String> {
    let look = move || {
        let mut processes = process::clients(&sessions, &listeners);
        let named = sessions.into_iter().map(|session| {
            let id = session.id;
            (id, client(&Entry { process: processes.remove(&id), session }))
        });
        named.collect()
    };
    spawn_blocking(look).await.unwrap_or_default()
}

/// Proves the rules again and again, while somebody looks.
pub(crate) async fn watch_rules(feed: &Feed) {
    loop {
        if feed.lines.receiver_count() > 0 {
            let port = feed.world().port();
            if let Ok(rules) = spawn_blocking(move || Rules::prove(port)).await {
                feed.change(Change::proven(rules));
            }
            sleep(PROOF).await;
        } else {
            sleep(RETRY).await;
        }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { world: Mutex::new(World::new()), lines: broadcast::Sender::new(BEHIND) }
    }
}

impl Feed {
    /// All that happens from now on, after what holds now.
    pub(crate) fn read(self: &Arc<Self>) -> Reader {
        Reader { feed: Arc::clone(self), behind: true, lines: self.lines.subscribe() }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, change: impl FnOnce(&mut World)) {
        let mut world = self.world();
        change(&mut world);
        self.tell(&*world);
    }

    fn change(&self, change: Change) {
        let mut world = self.world();
        self.tell(&change);
        world.apply(change);
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
            if self.behind {
                self.behind = false;
                let world = self.feed.world();
                self.lines = self.feed.lines.subscribe();
                return line(&*world).ok().map(Bytes::from);
            }
            match self.lines.recv().await {
                Ok(line) => return Some(line),
                Err(RecvError::Lagged(_)) => self.behind = true,
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Lines that a browser may be behind; then it gets what holds instead.
const BEHIND: usize = 64;
/// Between two attempts to reach the daemon, and two looks for somebody who looks.
const RETRY: Duration = Duration::from_secs(1);
/// Between two proofs of the rules.
const PROOF: Duration = Duration::from_secs(60);
/// Milliseconds between two samples.
const INTERVAL: u64 = 1000;
