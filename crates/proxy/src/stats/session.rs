//! An established session: what it is, and what it has carried so far.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use bip324_control::{Detail, Kind, Session};
use bip324_transport::tally::Tally;
use bip324_transport::v1::Magic;
use bip324_transport::v2::SessionId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::histogram::micros;
use super::lock;
use super::types::Types;

/// An established session.
#[derive(Debug)]
pub struct Live {
    /// Unique since the start of the daemon, from 1.
    pub id: u64,
    /// How it came to be.
    pub beginning: Beginning,
    /// From accept until it was established.
    pub handshake: Duration,
    /// What goes from the client to the peer.
    pub to_peer: Flow,
    /// What goes from the peer to the client.
    pub to_client: Flow,
    established: Instant,
    close: Notify,
}

/// What is known of a session as it is established.
#[derive(Debug)]
pub struct Beginning {
    /// How it reaches its peer.
    pub kind: Kind,
    /// The client's end of its connection.
    pub client: SocketAddr,
    /// The user that the client's socket belongs to.
    pub owner: Option<u32>,
    /// Whether the connection was redirected.
    pub redirected: bool,
    /// Where it leads.
    pub destination: SocketAddr,
    /// Its network; of [`Kind::Passthrough`] nobody knows it.
    pub magic: Option<Magic>,
    /// The BIP324 session id; only a [`Kind::V2`] session has one that we know.
    pub session_id: Option<SessionId>,
    /// When the client's connection was accepted.
    pub accepted: Instant,
}

/// One direction of a session: every byte since the connections were made.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes read from the source.
    pub received: AtomicU64,
    /// Bytes written to the destination.
    pub sent: AtomicU64,
    /// Messages that the other transport, or the receiver, would not take, and that were left out.
    pub dropped: AtomicU64,
    /// The user agent of whoever sends, once known: printable ASCII.
    pub agent: OnceLock<Box<str>>,
    /// Messages carried.
    pub(super) types: Mutex<Types>,
}

impl Flow {
    /// One that has carried some bytes before its session was established.
    pub(crate) fn carried(received: u64, sent: u64) -> Self {
        Self { received: received.into(), sent: sent.into(), ..Self::default() }
    }

    /// Takes over what one turn of the relay has translated.
    pub(crate) fn count(&self, tally: &mut Tally, dropped: u64) {
        if !tally.is_empty() {
            lock(&self.types).drain(tally);
        }
        self.dropped.store(dropped, Relaxed);
    }

    /// The client's side is where bytes come from on their way to the peer, and where they go to on
    /// their way back.
    fn report(&self, to_peer: bool) -> bip324_control::Flow {
        let types = lock(&self.types);
        let (received, sent) = (self.received.load(Relaxed), self.sent.load(Relaxed));
        let (client_bytes, peer_bytes) = if to_peer { (received, sent) } else { (sent, received) };
        bip324_control::Flow {
            client_bytes,
            peer_bytes,
            messages: types.messages(),
            dropped: self.dropped.load(Relaxed),
            last: types.last(),
        }
    }

    fn agent(&self) -> Option<String> {
        self.agent.get().map(|agent| agent.clone().into_string())
    }
}

impl Live {
    pub(super) fn new(id: u64, beginning: Beginning, to_peer: Flow, to_client: Flow) -> Self {
        let established = Instant::now();
        let handshake = established.saturating_duration_since(beginning.accepted);
        Self { id, beginning, handshake, to_peer, to_client, established, close: Notify::new() }
    }

    /// Grows whenever the session carries anything.
    pub(crate) fn activity(&self) -> u64 {
        let [up, down] = [&self.to_peer, &self.to_client]
            .map(|flow| flow.received.load(Relaxed).wrapping_add(flow.sent.load(Relaxed)));
        up.wrapping_add(down)
    }

    /// Has both connections reset.
    pub fn close(&self) {
        self.close.notify_one();
    }

    /// Waits for [`Self::close`].
    pub(crate) async fn closing(&self) {
        self.close.notified().await;
    }

    /// What clients of the control socket are told.
    pub fn report(&self) -> Session {
        let Beginning { kind, client, owner, redirected, destination, magic, session_id, .. } =
            self.beginning;
        Session {
            id: self.id,
            kind,
            client,
            uid: owner,
            redirected,
            destination,
            network: magic.map(network),
            client_agent: self.to_peer.agent(),
            peer_agent: self.to_client.agent(),
            session_id: session_id.map(|id| id.to_string()),
            age: u64::try_from(self.established.elapsed().as_millis()).unwrap_or(u64::MAX),
            handshake: micros(self.handshake),
            to_peer: self.to_peer.report(true),
            to_client: self.to_client.report(false),
        }
    }

    /// The same with its messages by type.
    pub fn detail(&self) -> Detail {
        let [to_peer, to_client] =
            [&self.to_peer, &self.to_client].map(|flow| lock(&flow.types).report());
        Detail { session: self.report(), to_peer, to_client }
    }
}

/// The network's name, or its magic.
fn network(magic: Magic) -> String {
    match magic {
        Magic::BITCOIN => "main".to_owned(),
        Magic::TESTNET3 => "testnet3".to_owned(),
        Magic::TESTNET4 => "testnet4".to_owned(),
        Magic::SIGNET => "signet".to_owned(),
        Magic::REGTEST => "regtest".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_without_a_name_are_told_by_their_magic() {
        assert_eq!(network(Magic::TESTNET4), "testnet4");
        assert_eq!(network(Magic::from_bytes([0xab, 0, 1, 0xff])), "ab0001ff");
    }
}
