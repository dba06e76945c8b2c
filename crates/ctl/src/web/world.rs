//! What holds, and the lines that tell it and its changes to browsers.
//!
//! A browser gets a JSON object a line. First, and again whenever it could not keep up or the daemon
//! was gone, all that holds: `{"feed":"up",...}`, or `{"feed":"down","reason":...}` while there is no
//! daemon. In between the control protocol's events as they come, and what this process finds out:
//! `{"feed":"clients",...}` and `{"feed":"rules",...}`.

use std::collections::{BTreeMap, VecDeque};
use std::mem::take;
use std::net::SocketAddr;

use bip324_control::{Event, Scope, Session, Status};
use serde::{Serialize, Serializer};

use crate::client::Subscription;
use crate::rules::Rules;
use crate::status::by_count;
use crate::words::reason;

/// What holds.
#[derive(Debug, Serialize)]
pub(crate) struct World {
    #[serde(flatten)]
    daemon: Daemon,
    /// Who the clients are, by session.
    clients: BTreeMap<u64, String>,
    rules: Option<Rules>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "feed", rename_all = "snake_case")]
enum Daemon {
    Down {
        reason: String,
    },
    Up {
        scope: Scope,
        #[serde(flatten)]
        status: Told,
        #[serde(serialize_with = "values")]
        sessions: BTreeMap<u64, Session>,
        /// The last minutes, oldest first.
        history: VecDeque<Sample>,
    },
}

/// A change of what holds.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Change {
    Event(Box<Event>),
    Traffic {
        event: &'static str,
        #[serde(flatten)]
        status: Told,
        sessions: Vec<Session>,
    },
    Found {
        feed: &'static str,
        clients: BTreeMap<u64, String>,
    },
    Proven {
        feed: &'static str,
        rules: Rules,
    },
}

/// The status, and the reasons of refusals in words, the most frequent first.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Told {
    status: Box<Status>,
    refusals: Vec<(String, u64)>,
}

/// Bytes on the peers' side by then.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    uptime: u64,
    to_peer: u64,
    to_client: u64,
}

impl Change {
    pub(crate) fn of(event: Event) -> Self {
        match event {
            Event::Traffic { status, sessions } => {
                Self::Traffic { event: "traffic", status: Told::of(status), sessions }
            }
            event => Self::Event(Box::new(event)),
        }
    }

    pub(crate) const fn found(clients: BTreeMap<u64, String>) -> Self {
        Self::Found { feed: "clients", clients }
    }

    pub(crate) const fn proven(rules: Rules) -> Self {
        Self::Proven { feed: "rules", rules }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let reason = "Not connected to the daemon yet.".to_owned();
        Self { daemon: Daemon::Down { reason }, clients: BTreeMap::new(), rules: None }
    }

    /// The daemon's, where it is known.
    pub(crate) fn port(&self) -> Option<u16> {
        match &self.daemon {
            Daemon::Up { status, .. } => status.status.listeners.first().map(SocketAddr::port),
            Daemon::Down { .. } => None,
        }
    }

    pub(crate) fn lose(&mut self, reason: String) {
        self.daemon = Daemon::Down { reason };
        self.clients.clear();
    }

    pub(crate) fn begin(&mut self, Subscription { scope, status, sessions }: Subscription) {
        let sessions: BTreeMap<_, _> =
            sessions.into_iter().map(|session| (session.id, session)).collect();
        let mut history = match &mut self.daemon {
            Daemon::Up { status: before, history, .. } if before.goes_on(&status) => take(history),
            _ => {
                self.clients.clear();
                VecDeque::new()
            }
        };
        self.clients.retain(|id, _| sessions.contains_key(id));
        remember(&mut history, &status);
        let status = Told::of(Box::new(status));
        self.daemon = Daemon::Up { scope, status, sessions, history };
    }

    pub(crate) fn apply(&mut self, change: Change) {
        if let Change::Proven { rules, .. } = change {
            self.rules = Some(rules);
            return;
        }
        let Daemon::Up { status, sessions, history, .. } = &mut self.daemon else { return };
        match change {
            Change::Event(event) => match *event {
                Event::Opened { session } => {
                    sessions.insert(session.id, session);
                }
                Event::Closed { session, .. } => {
                    sessions.remove(&session.id);
                    self.clients.remove(&session.id);
                }
                Event::Traffic { .. } | Event::Lost { .. } => {}
            },
            Change::Proven { .. } => {}
            Change::Traffic { status: now, sessions: changed, .. } => {
                remember(history, &now.status);
                *status = now;
                sessions.extend(changed.into_iter().map(|session| (session.id, session)));
            }
            Change::Found { clients, .. } => {
                let lives = |id: &u64| sessions.contains_key(id);
                self.clients.extend(clients.into_iter().filter(|(id, _)| lives(id)));
            }
        }
    }
}

impl Told {
    fn of(status: Box<Status>) -> Self {
        let counts = by_count(&status).into_iter();
        Self { refusals: counts.map(|(name, count)| (reason(name), count)).collect(), status }
    }

    /// Whether this is a later status of the same daemon.
    const fn goes_on(&self, now: &Status) -> bool {
        self.status.pid == now.pid && self.status.uptime <= now.uptime
    }
}

impl Sample {
    const fn of(status: &Status) -> Self {
        let traffic = &status.traffic;
        let (up, down) = (&traffic.v2_to_peer, &traffic.v2_to_client);
        Self {
            uptime: status.uptime,
            to_peer: up.peer_bytes.saturating_add(traffic.spliced_to_peer.peer_bytes),
            to_client: down.peer_bytes.saturating_add(traffic.spliced_to_client.peer_bytes),
        }
    }
}

/// The newest takes the place of the oldest.
fn remember(history: &mut VecDeque<Sample>, status: &Status) {
    if history.len() == SAMPLES {
        history.pop_front();
    }
    history.push_back(Sample::of(status));
}

fn values<S: Serializer>(
    sessions: &BTreeMap<u64, Session>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sessions.values())
}

/// Five minutes of seconds.
const SAMPLES: usize = 300;
