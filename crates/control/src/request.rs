use serde::{Deserialize, Serialize};

/// Bytes of a request's line at most, newline included.
pub const MAX_REQUEST: usize = 4096;

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// [`Answer::Version`](crate::Answer::Version).
    Version {},
    /// [`Answer::Status`](crate::Answer::Status).
    Status {},
    /// [`Answer::Sessions`](crate::Answer::Sessions): those that the caller may see.
    Sessions {},
    /// [`Answer::Session`](crate::Answer::Session).
    Session {
        /// Which one.
        id: u64,
    },
    /// Ends a session: [`Answer::Closed`](crate::Answer::Closed). For root and the daemon's own user.
    Close {
        /// Which one.
        id: u64,
    },
    /// [`Answer::Subscribed`](crate::Answer::Subscribed), then [`Event`](crate::Event)s.
    Subscribe {
        /// Milliseconds between two [`Event::Traffic`](crate::Event::Traffic), 100 to 60,000; 1,000 if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<u64>,
    },
    /// Asks for the log level, or sets it until the next reload or start: [`Answer::Log`](crate::Answer::Log).
    /// Setting it is for root and the daemon's own user.
    Log {
        /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<String>,
    },
}
