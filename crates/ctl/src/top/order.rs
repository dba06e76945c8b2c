//! Which sessions are shown, and in which order.

use std::collections::BTreeMap;

use super::state::Row;
use crate::process::{Process, user};
use crate::words::transport;

/// A filter and a sort key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// Only sessions in which this occurs, in either case.
    pub(super) filter: String,
    /// By what.
    pub(super) key: Key,
    /// The other way round.
    pub(super) reverse: bool,
}

/// What rows are sorted by; each in the direction that is of interest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Key {
    /// Number: the oldest first.
    #[default]
    Id,
    /// Bytes a second: the fastest first.
    Rate,
    /// Bytes: the most first.
    Bytes,
    /// The peer's address.
    Peer,
    /// The client's process.
    Client,
}

impl Key {
    /// The one after it.
    #[must_use]
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Id => Self::Rate,
            Self::Rate => Self::Bytes,
            Self::Bytes => Self::Peer,
            Self::Peer => Self::Client,
            Self::Client => Self::Id,
        }
    }

    /// As it is shown.
    #[must_use]
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Id => "number",
            Self::Rate => "rate",
            Self::Bytes => "bytes",
            Self::Peer => "peer",
            Self::Client => "client",
        }
    }
}

impl Order {
    /// Those that are shown, in order; the oldest first where they are equal.
    pub(super) fn apply<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> Vec<&'a Row> {
        let filter = self.filter.to_ascii_lowercase();
        let mut users = BTreeMap::new();
        let mut shown: Vec<&Row> =
            rows.filter(|row| filter.is_empty() || matches(row, &filter, &mut users)).collect();
        match self.key {
            Key::Id => {}
            Key::Rate => shown.sort_by_key(|row| std::cmp::Reverse(row.rate())),
            Key::Bytes => shown.sort_by_key(|row| std::cmp::Reverse(row.bytes())),
            Key::Peer => shown.sort_by_key(|row| row.session.destination),
            Key::Client => shown.sort_by(|one, other| client(one).cmp(&client(other))),
        }
        if self.reverse {
            shown.reverse();
        }
        shown
    }
}

/// Those without a process last.
fn client(row: &Row) -> (bool, &str, u32) {
    match &row.process {
        Some(Process { pid, name }) => (false, name, *pid),
        None => (true, "", row.session.uid.unwrap_or_default()),
    }
}

/// `filter` is in lower case; `users` are those whose names are known already.
fn matches(row: &Row, filter: &str, users: &mut BTreeMap<u32, String>) -> bool {
    let session = &row.session;
    let user = session.uid.map(|uid| users.entry(uid).or_insert_with(|| user(uid)).as_str());
    let within = |text: &str| text.to_ascii_lowercase().contains(filter);
    let texts = [
        Some(transport(session.kind)),
        session.network.as_deref(),
        session.peer_agent.as_deref(),
        session.client_agent.as_deref(),
        session.session_id.as_deref(),
        session.to_peer.last.as_deref(),
        session.to_client.last.as_deref(),
        user,
        row.process.as_ref().map(|process| process.name.as_str()),
    ];
    texts.into_iter().flatten().any(within)
        || within(&session.id.to_string())
        || within(&session.destination.to_string())
        || row.process.as_ref().is_some_and(|process| within(&process.pid.to_string()))
}

#[cfg(test)]
mod tests {
    use bip324_control::{Kind, Scope};

    use super::super::state::{Message, State};
    use super::*;
    use crate::client::Subscription;
    use crate::sample;

    fn shown(order: Order) -> Vec<u64> {
        let mut state = State::new();
        let mut sessions: Vec<_> = [Kind::V2, Kind::Passthrough, Kind::Fallback]
            .into_iter()
            .zip([1, 2, 777])
            .map(|(kind, id)| sample::session(id, kind))
            .collect();
        sessions[1].to_peer.peer_bytes *= 9;
        sessions[1].uid = Some(4_000_000_000);
        sessions[2].destination = "192.0.2.9:8333".parse().unwrap();
        let status = sample::status();
        let subscription = Subscription { scope: Scope::All, status, sessions };
        state.take(Message::Subscribed(Box::new(subscription)));
        let process = Process { pid: 99, name: "node".into() };
        state.take(Message::Processes([(2, process)].into()));
        order.apply(state.rows.values()).iter().map(|row| row.session.id).collect()
    }

    #[test]
    fn rows_are_sorted_by_each_key_and_the_other_way_round() {
        let by = |key, reverse| shown(Order { key, reverse, ..Order::default() });
        assert_eq!(by(Key::Id, false), [1, 2, 777]);
        assert_eq!(by(Key::Id, true), [777, 2, 1]);
        assert_eq!(by(Key::Bytes, false), [2, 1, 777]);
        assert_eq!(by(Key::Peer, false), [777, 1, 2]);
        assert_eq!(by(Key::Client, false), [2, 1, 777]);
        assert_eq!(by(Key::Rate, false), [1, 2, 777]);
        let mut key = Key::default();
        for _ in 0..5 {
            key = key.next();
        }
        assert_eq!(key, Key::default());
    }

    #[test]
    fn a_filter_looks_at_all_that_is_shown() {
        let of = |filter: &str| shown(Order { filter: filter.to_owned(), ..Order::default() });
        assert_eq!(of("PLAIN"), [777]);
        assert_eq!(of("192.0.2.9"), [777]);
        assert_eq!(of("Node"), [2]);
        assert_eq!(of("99"), [2]);
        assert_eq!(of("satoshi"), [1, 2, 777]);
        assert_eq!(of("0badcafe0001"), [1]);
        assert_eq!(of("777"), [777]);
        assert_eq!(of("ROOT"), [1, 777]);
        assert_eq!(of("4000000000"), [2]);
        assert_eq!((of("getheaders"), of("headers")), (vec![1], vec![1]));
        assert!(of("no such thing").is_empty());
    }
}
