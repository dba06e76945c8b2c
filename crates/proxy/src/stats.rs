//! Counters and the list of live sessions: what the daemon can say about itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bip324_transport::v2::SessionId;

/// How a session reaches its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// v1 client, translated to BIP324 towards the peer.
    V2,
    /// The client speaks v2 itself; its bytes are spliced through.
    Passthrough,
    /// v1 client, v1 peer, spliced in plaintext because the policy allows it.
    Fallback,
}

/// Why a connection was refused or a session ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// All sessions are taken.
    Full,
    /// The user has as many direct sessions as one may have, or all users together as they may.
    UserFull,
    /// No memory was left for a new session, or for what an old one received.
    Memory,
    /// The kernel does not know where a redirected connection was going.
    Untracked,
    /// The destination is one that the policy never dials.
    Destination,
    /// Not redirected, and not a connection that direct mode serves.
    NotRedirected,
    /// A v1 message other than VERSION came first, or a malformed VERSION.
    NotVersion,
    /// The client speaks v2 itself and passthrough is off.
    PassthroughOff,
    /// The client left, or stayed silent, before its session was up.
    Client,
    /// No TCP connection to the peer.
    Unreachable,
    /// The peer answered the v2 handshake with nothing: it may speak v1 only.
    NotV2,
    /// As [`Reason::NotV2`], from a peer that spoke v2 within the last day.
    Downgrade,
    /// The v2 handshake failed after the peer's first byte.
    Handshake,
    /// An established session broke: a socket error or a violation of either protocol.
    Broken,
}

/// Everything counted since the start. Shared by all sessions; reading it takes no part in their
/// work.
#[derive(Debug, Default)]
pub struct Stats {
    accepted: AtomicU64,
    canaries: AtomicU64,
    panics: AtomicU64,
    served: Mutex<BTreeMap<Kind, u64>>,
    refused: Mutex<BTreeMap<Reason, u64>>,
    live: Mutex<BTreeMap<u64, Arc<Live>>>,
    next_id: AtomicU64,
    memory: AtomicUsize,
}

/// An established session.
#[derive(Debug)]
pub struct Live {
    /// Unique since the start of the daemon.
    pub id: u64,
    /// How it reaches its peer.
    pub kind: Kind,
    /// Where it leads.
    pub destination: SocketAddr,
    /// The BIP324 session id; only a [`Kind::V2`] session has one that we know.
    pub session_id: Option<SessionId>,
    /// What goes from the client to the peer.
    pub to_peer: Flow,
    /// What goes from the peer to the client.
    pub to_client: Flow,
}

/// One direction of a session, as the relay carries it: the handshake is not counted.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes read from the source.
    pub received: AtomicU64,
    /// Bytes written to the destination.
    pub sent: AtomicU64,
    /// Messages that the other transport, or the receiver, would not take, and that were left out.
    pub dropped: AtomicU64,
}

/// Keeps a session in the list while it lives.
#[derive(Debug)]
pub(crate) struct Registration {
    stats: Arc<Stats>,
    pub(crate) live: Arc<Live>,
}

impl Stats {
    /// Connections accepted, those that were then refused included.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
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
        lock(&self.served).get(&kind).copied().unwrap_or(0)
    }

    /// Connections refused, or broken off, for one reason.
    pub fn refused(&self, reason: Reason) -> u64 {
        lock(&self.refused).get(&reason).copied().unwrap_or(0)
    }

    /// The sessions established right now, oldest first.
    pub fn sessions(&self) -> Vec<Arc<Live>> {
        lock(&self.live).values().cloned().collect()
    }

    /// Bytes that all sessions' buffers and states take right now.
    pub fn memory(&self) -> usize {
        self.memory.load(Relaxed)
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

    pub(crate) fn count_canary(&self) {
        self.canaries.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_refused(&self, reason: Reason) {
        *lock(&self.refused).entry(reason).or_default() += 1;
    }

    /// Counts an established session and lists it until the returned value is dropped.
    pub(crate) fn register(
        self: &Arc<Self>,
        kind: Kind,
        destination: SocketAddr,
        session_id: Option<SessionId>,
    ) -> Registration {
        let live = Arc::new(Live {
            id: self.next_id.fetch_add(1, Relaxed),
            kind,
            destination,
            session_id,
            to_peer: Flow::default(),
            to_client: Flow::default(),
        });
        *lock(&self.served).entry(kind).or_default() += 1;
        lock(&self.live).insert(live.id, Arc::clone(&live));
        Registration { stats: Arc::clone(self), live }
    }
}

impl Live {
    /// Grows whenever the session carries anything.
    pub(crate) fn activity(&self) -> u64 {
        let [up, down] = [&self.to_peer, &self.to_client]
            .map(|flow| flow.received.load(Relaxed).wrapping_add(flow.sent.load(Relaxed)));
        up.wrapping_add(down)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.stats.live).remove(&self.live.id);
    }
}

/// A panic elsewhere cannot leave a counter half-written, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_listed_while_it_lives_and_counted_for_good() {
        let stats = Arc::new(Stats::default());
        let destination = "203.0.113.2:8333".parse().unwrap();
        let session = stats.register(Kind::Fallback, destination, None);
        assert_eq!(stats.sessions().len(), 1);
        assert_eq!(stats.sessions()[0].destination, destination);
        drop(session);
        assert!(stats.sessions().is_empty());
        assert_eq!(stats.served(Kind::Fallback), 1);
        assert_eq!(stats.served(Kind::V2), 0);
    }

    #[test]
    fn refusals_are_counted_by_reason() {
        let stats = Stats::default();
        stats.count_refused(Reason::Full);
        stats.count_refused(Reason::Full);
        assert_eq!(stats.refused(Reason::Full), 2);
        assert_eq!(stats.refused(Reason::Untracked), 0);
    }
}
