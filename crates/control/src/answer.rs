use serde::{Deserialize, Serialize};

use crate::{Detail, Session, Status};

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To [`Request::Version`](crate::Request::Version).
    Version(Version),
    /// To [`Request::Status`](crate::Request::Status).
    Status(Box<Status>),
    /// To [`Request::Sessions`](crate::Request::Sessions).
    Sessions {
        /// Whose they are.
        scope: Scope,
        /// Oldest first.
        sessions: Vec<Session>,
    },
    /// To [`Request::Session`](crate::Request::Session).
    Session(Box<Detail>),
    /// To [`Request::Close`](crate::Request::Close): both connections are being reset.
    Closed {
        /// Which one.
        id: u64,
    },
    /// To [`Request::Subscribe`](crate::Request::Subscribe): what holds as the events begin.
    Subscribed {
        /// Whose sessions are told.
        scope: Scope,
        /// The status.
        status: Box<Status>,
        /// Oldest first.
        sessions: Vec<Session>,
    },
    /// To [`Request::Log`](crate::Request::Log).
    Log {
        /// The level that holds now.
        level: String,
    },
    /// To whatever could not be done. The connection stays open unless it says otherwise.
    Error(Refusal),
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The daemon's version.
    pub version: String,
    /// [`PROTOCOL`](crate::PROTOCOL).
    pub protocol: u32,
}

/// Whose sessions somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The caller's own: the client's socket belongs to the caller's user.
    Own,
    /// Everybody's: for root and the daemon's own user.
    All,
}

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not a line of JSON that is a request. Over [`MAX_REQUEST`](crate::MAX_REQUEST) bytes the
    /// connection is closed after it.
    BadRequest,
    /// The caller's user may not do this.
    NotPermitted,
    /// No such session, or none that the caller may see.
    NoSuchSession,
    /// As many connections as the control socket serves at a time; the connection is closed.
    Busy,
}
