use serde::{Deserialize, Serialize};

use crate::{Session, Status};

/// What a subscriber is told, a line each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A session was established.
    Opened {
        /// As it begins.
        session: Session,
    },
    /// A session is over.
    Closed {
        /// As it ended.
        session: Session,
        /// Why, in words without addresses: `finished`, or the error's text.
        reason: String,
    },
    /// Comes at each interval: what grew since the last one.
    Traffic {
        /// The status now.
        status: Box<Status>,
        /// The sessions that carried anything since, oldest first.
        sessions: Vec<Session>,
    },
    /// The reader was too slow for this many events, which are lost: subscribe again for what holds.
    /// The connection is closed after it.
    Lost {
        /// How many.
        events: u64,
    },
}
