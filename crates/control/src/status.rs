use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Flow, TypeCount};

/// What the daemon says of itself. All of it is since the start unless it says `now`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Milliseconds since the start.
    pub uptime: u64,
    /// The addresses that it listens on.
    pub listeners: Vec<SocketAddr>,
    /// `reject` or `v1`: what holds for a peer that does not speak v2.
    pub fallback: String,
    /// The sessions that are established now, by kind.
    pub sessions: ByKind,
    /// The sessions established, the ended ones included, by kind.
    pub served: ByKind,
    /// Connections accepted, whatever became of them.
    pub accepted: u64,
    /// Of these, those answered as a canary.
    pub canaries: u64,
    /// Times that accepting a connection failed, as where descriptors or memory are scarce.
    pub accept_failures: u64,
    /// Connections refused or broken off, by reason (docs/CONTROL.md lists them); those of 0 are left out.
    pub refused: BTreeMap<String, u64>,
    /// Sessions that ended in a panic: always 0, or there is a bug.
    pub panics: u64,
    /// Times from accept to an established session, of [`Kind::V2`](crate::Kind::V2).
    pub handshakes: Handshakes,
    /// Bytes of all sessions, the ended ones included, by kind.
    pub traffic: Traffic,
    /// Bytes that sessions' buffers and states take now.
    pub memory: u64,
    /// What is allowed.
    pub limits: Limits,
}

/// Sessions by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByKind {
    /// Translated.
    pub v2: u64,
    /// v2 of the client's own.
    pub passthrough: u64,
    /// In plaintext.
    pub fallback: u64,
}

/// Bytes and messages by kind and direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Translated, from clients to peers: what v2 saved is `client_bytes` less `peer_bytes`.
    pub v2_to_peer: Flow,
    /// Translated, from peers to clients.
    pub v2_to_client: Flow,
    /// Passed through and in plaintext, from clients to peers.
    pub spliced_to_peer: Flow,
    /// Passed through and in plaintext, from peers to clients.
    pub spliced_to_client: Flow,
    /// Messages translated from clients to peers by type, the most bytes first.
    pub types_to_peer: Vec<TypeCount>,
    /// Messages translated from peers to clients by type, the most bytes first.
    pub types_to_client: Vec<TypeCount>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handshakes {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: u64,
    /// Half took at most this long; the upper end of its bucket, as for the next.
    pub p50: Option<u64>,
    /// 99 of 100 took at most this long.
    pub p99: Option<u64>,
    /// Pairs of an upper end and how many took at most that long, as in Prometheus.
    pub buckets: Vec<(u64, u64)>,
}

/// What the configuration allows now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Sessions at a time.
    pub max_sessions: u64,
    /// Bytes of all sessions together.
    pub max_memory: u64,
}
