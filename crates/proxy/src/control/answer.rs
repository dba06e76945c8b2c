//! What each request comes to.

use std::sync::Arc;
use std::time::Duration;

use bip324_control::{Answer, Code, PROTOCOL, Refusal, Request, Version};
use tracing::info;
use tracing::level_filters::LevelFilter;

use super::caller::Caller;
use crate::log::{self, Level};
use crate::stats::{Live, Overview};

/// What requests are about.
pub(super) struct Subject {
    pub(super) overview: Overview,
    pub(super) level: Level,
}

/// What is to be said.
pub(super) enum Reply {
    /// This.
    Answer(Answer),
    /// An answer whose last field is a list of sessions, with these in it.
    List(Answer, Vec<Arc<Live>>),
    /// Events, with this between two that tell of the traffic.
    Events(Duration),
}

impl Subject {
    pub(super) fn answer(&self, request: Request, caller: Caller) -> Reply {
        let answer = match request {
            Request::Version {} => Answer::Version(Version {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                protocol: PROTOCOL,
            }),
            Request::Status {} => Answer::Status(Box::new(self.overview.status())),
            Request::Sessions {} => {
                let empty = Answer::Sessions { scope: caller.scope(), sessions: Vec::new() };
                return Reply::List(empty, self.sessions(caller));
            }
            Request::Session { id } => match self.session(id, caller) {
                Some(live) => Answer::Session(Box::new(live.detail())),
                None => no_such_session(id),
            },
            Request::Close { .. } if !caller.privileged => not_permitted("close sessions"),
            Request::Close { id } => match self.session(id, caller) {
                Some(live) => {
                    info!(
                        "session {id} is closed through the control socket by user {}",
                        caller.uid
                    );
                    live.close();
                    Answer::Closed { id }
                }
                None => no_such_session(id),
            },
            Request::Subscribe { interval } => match interval.unwrap_or(INTERVAL) {
                interval @ SHORTEST..=LONGEST => {
                    return Reply::Events(Duration::from_millis(interval));
                }
                _ => bad_request(format!("interval is not from {SHORTEST} to {LONGEST} (ms)")),
            },
            Request::Log { level: None } => self.log_level(),
            Request::Log { .. } if !caller.privileged => not_permitted("set the log level"),
            Request::Log { level: Some(level) } => self.set_log_level(&level, caller),
        };
        Reply::Answer(answer)
    }

    /// Those that the caller may see, oldest first.
    pub(super) fn sessions(&self, caller: Caller) -> Vec<Arc<Live>> {
        let mut sessions = self.overview.stats.sessions();
        sessions.retain(|live| caller.sees(live));
        sessions
    }

    fn session(&self, id: u64, caller: Caller) -> Option<Arc<Live>> {
        self.overview.stats.session(id).filter(|live| caller.sees(live))
    }

    fn log_level(&self) -> Answer {
        let level = self.level.clone_current().unwrap_or(LevelFilter::OFF);
        Answer::Log { level: level.to_string() }
    }

    /// Said under the more talkative of the two levels.
    fn set_log_level(&self, level: &str, caller: Caller) -> Answer {
        let level = match level.parse() {
            Ok(named) => log::level(Some(named)),
            Err(error) => return bad_request(format!("level: {error}")),
        };
        let before = self.level.clone_current().unwrap_or(LevelFilter::OFF);
        // It fails where nothing is logged any more.
        let _ = self.level.reload(before.max(level));
        info!("the log level is {level} from now on, as user {} asks", caller.uid);
        let _ = self.level.reload(level);
        self.log_level()
    }
}

pub(super) fn refusal(code: Code, message: String) -> Answer {
    Answer::Error(Refusal { code, message })
}

pub(super) fn bad_request(message: String) -> Answer {
    refusal(Code::BadRequest, message)
}

fn no_such_session(id: u64) -> Answer {
    refusal(Code::NoSuchSession, format!("there is no session {id}, or it is another user's"))
}

fn not_permitted(what: &str) -> Answer {
    refusal(Code::NotPermitted, format!("only root and the daemon's own user may {what}"))
}

/// Milliseconds between two events that tell of the traffic.
const INTERVAL: u64 = 1_000;
const SHORTEST: u64 = 100;
const LONGEST: u64 = 60_000;
