//! Counters and the list of live sessions: what the daemon can say about itself.

mod histogram;
mod overview;
mod reason;
mod session;
mod totals;
mod types;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bip324_control::ByKind;
pub use bip324_control::Kind;
use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::debug;

use histogram::Histogram;
pub use overview::Overview;
pub use reason::Reason;
pub use session::{Beginning, Flow, Live};
use totals::{Totals, of_kind};

/// Everything counted since the start. Shared by all sessions; reading it takes no part in their
/// work.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    accepted: AtomicU64,
    accept_failures: AtomicU64,
    accept_backoffs: AtomicU64,
    canaries: AtomicU64,
    panics: AtomicU64,
    refused: Mutex<BTreeMap<Reason, u64>>,
    sessions: Mutex<Sessions>,
    next_id: AtomicU64,
    memory: AtomicUsize,
    news: broadcast::Sender<News>,
}

/// Changes together, so that no byte is counted twice or missed as a session ends.
#[derive(Debug, Default)]
struct Sessions {
    live: BTreeMap<u64, Arc<Live>>,
    served: ByKind,
    handshakes: Histogram,
    ended: Totals,
}

/// What happens to sessions.
#[derive(Clone, Debug)]
pub enum News {
    /// One was established.
    Opened(Arc<Live>),
    /// One is over, for this reason.
    Closed(Arc<Live>, Arc<str>),
}

/// Keeps a session in the list while it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    stats: Arc<Stats>,
    pub(crate) live: Arc<Live>,
    /// Why it is over.
    end: Option<String>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            accepted: AtomicU64::default(),
            accept_failures: AtomicU64::default(),
            accept_backoffs: AtomicU64::default(),
            canaries: AtomicU64::default(),
            panics: AtomicU64::default(),
            refused: Mutex::default(),
            sessions: Mutex::default(),
            next_id: AtomicU64::new(1),
            memory: AtomicUsize::default(),
            news: broadcast::Sender::new(UNREAD_NEWS),
        }
    }
}

impl Stats {
    /// Connections accepted, those that were then refused included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Times that no connection could be accepted.
    pub fn accept_failures(&self) -> u64 {
        self.accept_failures.load(Relaxed)
    }

    /// Episodes of such failures.
    pub fn accept_backoffs(&self) -> u64 {
        self.accept_backoffs.load(Relaxed)
    }

    /// Connections answered with the canary line.
    pub fn canaries(&self) -> u64 {
        self.canaries.load(Relaxed)
    }

    /// Sessions that ended in a panic: always 0, or there is a bug.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Sessions established of one kind, the ended ones included.
    pub fn served(&self, kind: Kind) -> u64 {
        *of_kind(&mut lock(&self.sessions).served, kind)
    }

    /// Connections refused, or broken off, for one reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        lock(&self.refused).get(&reason).copied().unwrap_or(0)
    }

    /// The sessions established right now, oldest first.
    pub fn sessions(&self) -> Vec<Arc<Live>> {
        lock(&self.sessions).live.values().cloned().collect()
    }

    /// One of them.
    pub fn session(&self, id: u64) -> Option<Arc<Live>> {
        lock(&self.sessions).live.get(&id).cloned()
    }

    /// Bytes that all sessions' buffers and states take right now.
    pub fn memory(&self) -> usize {
        self.memory.load(Relaxed)
    }

    /// What happens to sessions from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Adds `bytes` to [`Self::memory`], unless it were more than `limit` then.
    pub(crate) fn take_memory(&self, bytes: usize, limit: usize) -> bool {
        let sum = |taken: usize| taken.checked_add(bytes).filter(|&sum| sum <= limit);
        self.memory.fetch_update(Relaxed, Relaxed, sum).is_ok()
    }

    /// Takes away what [`Self::take_memory`] added.
    pub(crate) fn give_memory(&self, bytes: usize) {
        self.memory.fetch_sub(bytes, Relaxed);
    }

    pub(crate) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_accept_failure(&self) {
        self.accept_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_accept_backoff(&self) {
        self.accept_backoffs.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_canary(&self) {
        self.canaries.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_refused(&self, reason: Reason) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }

    /// Counts an established session and lists it until the returned value is dropped. The flows tell
    /// what it has carried before.
    pub(crate) fn register(
        self: &Arc<Self>,
        beginning: Beginning,
        to_peer: Flow,
        to_client: Flow,
    ) -> Registration {
        let id = self.next_id.fetch_add(1, Relaxed);
        let live = Arc::new(Live::new(id, beginning, to_peer, to_client));
        let mut sessions = lock(&self.sessions);
        *of_kind(&mut sessions.served, live.beginning.kind) += 1;
        if live.beginning.kind == Kind::V2 {
            sessions.handshakes.add(live.handshake);
        }
        sessions.live.insert(id, Arc::clone(&live));
        self.tell(|| News::Opened(Arc::clone(&live)));
        drop(sessions);
        Registration { stats: Arc::clone(self), live, end: None }
    }

    /// Nobody may want to know.
    fn tell(&self, news: impl FnOnce() -> News) {
        if self.news.receiver_count() > 0 {
            // They may have gone meanwhile.
            let _ = self.news.send(news());
        }
    }
}

impl Registration {
    /// Says why the session is over, before it is dropped.
    pub(crate) fn end(&mut self, reason: String) {
        self.end = Some(reason);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let live = &self.live;
        let reason = self.end.as_deref().unwrap_or("the daemon ended it");
        let Beginning { kind, destination: to, session_id, .. } = live.beginning;
        let session_id = session_id.map(tracing::field::display);
        debug!(%to, ?kind, session_id, id = live.id, "session ended: {reason}");
        let mut sessions = lock(&self.stats.sessions);
        sessions.live.remove(&live.id);
        sessions.ended.add(live);
        self.stats.tell(|| News::Closed(Arc::clone(live), reason.into()));
    }
}

/// A panic elsewhere cannot leave a counter half-written, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// News that wait for the slowest of those who want them, at most.
const UNREAD_NEWS: usize = 1024;

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn beginning(kind: Kind) -> Beginning {
        Beginning {
            kind,
            client: "10.9.0.2:40000".parse().unwrap(),
            owner: Some(1000),
            redirected: true,
            destination: "203.0.113.2:8333".parse().unwrap(),
            magic: None,
            session_id: None,
            accepted: Instant::now(),
        }
    }

    fn overview(stats: &Arc<Stats>) -> Overview {
        let config = watch::channel(Arc::default()).1;
        Overview { stats: Arc::clone(stats), config, listeners: Vec::new() }
    }

    #[test]
    fn a_session_is_listed_while_it_lives_and_counted_for_good() {
        let stats = Arc::new(Stats::default());
        let (to_peer, to_client) = (Flow::carried(1, 2), Flow::carried(3, 4));
        let session = stats.register(beginning(Kind::Fallback), to_peer, to_client);
        assert_eq!((session.live.id, stats.sessions().len()), (1, 1));
        assert_eq!(stats.session(1).unwrap().beginning.destination.port(), 8333);
        let live = overview(&stats).status();
        drop(session);
        assert!(stats.sessions().is_empty() && stats.session(1).is_none());
        assert_eq!((stats.served(Kind::Fallback), stats.served(Kind::V2)), (1, 0));

        let ended = overview(&stats).status();
        assert_eq!((live.sessions.fallback, ended.sessions.fallback), (1, 0));
        assert_eq!(live.traffic, ended.traffic);
        let [up, down] = [ended.traffic.spliced_to_peer, ended.traffic.spliced_to_client];
        assert_eq!([up.client_bytes, up.peer_bytes], [1, 2]);
        assert_eq!([down.client_bytes, down.peer_bytes], [4, 3]);
        assert_eq!(ended.traffic.v2_to_peer, bip324_control::Flow::default());
        assert_eq!((ended.handshakes.count, ended.served.fallback), (0, 1));
    }

    #[test]
    fn news_tell_of_a_session_s_beginning_and_end() {
        let stats = Arc::new(Stats::default());
        let open = || stats.register(beginning(Kind::V2), Flow::default(), Flow::default());
        drop(open());
        let mut news = stats.news();
        let mut session = open();
        assert!(matches!(news.try_recv(), Ok(News::Opened(live)) if live.id == 2));
        session.end("finished".to_owned());
        drop(session);
        let Ok(News::Closed(live, reason)) = news.try_recv() else { panic!("no end") };
        assert_eq!((live.id, &*reason), (2, "finished"));
        assert_eq!(overview(&stats).status().handshakes.count, 2);
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let stats = Arc::new(Stats::default());
        stats.count_refused(Reason::Full);
        stats.count_refused(Reason::Full);
        assert_eq!(stats.refused(Reason::Full), 2);
        assert_eq!(stats.refused(Reason::Untracked), 0);
        let refused = overview(&stats).status().refused;
        assert_eq!(refused.into_iter().collect::<Vec<_>>(), [("full".to_owned(), 2)]);
    }

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
