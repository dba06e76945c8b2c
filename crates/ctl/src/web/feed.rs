//! One subscription to the control socket, for all browsers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use bip324_control::{Event, Session, line};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::recent::Recent;
use super::world::{Change, World};
use crate::client::{Client, Error};
use crate::exit;
use crate::process;
use crate::rules::Rules;
use crate::sessions::{Entry, client};

/// What the browsers are told.
#[derive(Debug)]
pub(crate) struct Feed {
    told: Mutex<Told>,
    news: watch::Sender<()>,
}

/// What holds, and what was told on the way to it: together, so that who reads what holds misses no line
/// and gets none twice.
#[derive(Debug)]
struct Told {
    world: World,
    recent: Recent,
}

/// A browser's share of it.
#[derive(Debug)]
pub(crate) struct Reader {
    feed: Arc<Feed>,
    /// Number of the line that is to come; none before the first.
    next: Option<u64>,
    news: watch::Receiver<()>,
}

/// Follows the daemon for ever, and a restarted one as well.
pub(crate) async fn follow(feed: &Feed, socket: &Path) {
    loop {
        // Where events were lost, it begins anew at once: nothing is amiss that a browser should tell.
        if let Err(error) = subscribe(feed, socket).await {
            let why = exit::Error::Client(error).line();
            feed.replace(|world| world.lose(why));
            sleep(RETRY).await;
        }
    }
}

/// One subscription, until it fails, or until this process was too slow for it.
async fn subscribe(feed: &Feed, socket: &Path) -> Result<(), Error> {
    let client = Client::connect(socket).await?;
    let (subscription, mut events) = client.subscribe(INTERVAL).await?;
    let listeners = subscription.status.listeners.clone();
    let mut strangers = subscription.sessions.clone();
    feed.replace(|world| world.begin(subscription));
    loop {
        let event = events.next().await?;
        if matches!(event, Event::Lost { .. }) {
            return Ok(());
        }
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
        if feed.news.receiver_count() > 0 {
            let port = feed.told().world.port();
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
        let told = Told { world: World::new(), recent: Recent::default() };
        Self { told: Mutex::new(told), news: watch::Sender::new(()) }
    }
}

impl Feed {
    /// All that happens from now on, after what holds now.
    pub(crate) fn read(self: &Arc<Self>) -> Reader {
        Reader { feed: Arc::clone(self), next: None, news: self.news.subscribe() }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, change: impl FnOnce(&mut World)) {
        let Told { world, recent } = &mut *self.told();
        change(world);
        self.tell(recent, world);
    }

    fn change(&self, change: Change) {
        let Told { world, recent } = &mut *self.told();
        self.tell(recent, &change);
        world.apply(change);
    }

    fn tell(&self, recent: &mut Recent, message: &impl Serialize) {
        if let Ok(line) = line(message) {
            recent.push(line.into());
            self.news.send_replace(());
        }
    }
}

impl Reader {
    /// The next line. None once there are no more, which is never while [`follow`] runs.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.waiting() {
                return Some(line);
            }
            self.news.changed().await.ok()?;
        }
    }

    /// The next line, where it is there: all that holds for who is too far behind.
    fn waiting(&mut self) -> Option<Bytes> {
        let Told { world, recent } = &*self.feed.told();
        self.news.mark_unchanged();
        let next = self.next.unwrap_or(u64::MAX);
        if next == recent.next() {
            return None;
        }
        let kept = recent.get(next).cloned();
        self.next = Some(if kept.is_some() { next.saturating_add(1) } else { recent.next() });
        kept.or_else(|| line(world).ok().map(Bytes::from))
    }
}

/// Between two attempts to reach the daemon, and two looks for somebody who looks.
const RETRY: Duration = Duration::from_secs(1);
/// Between two proofs of the rules.
const PROOF: Duration = Duration::from_secs(60);
/// Milliseconds between two samples.
const INTERVAL: u64 = 1000;
