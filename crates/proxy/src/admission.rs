//! Which accepted connections become sessions: what each takes of `--max-sessions`,
//! `--max-direct-per-user` and `--max-memory`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use thiserror::Error;

use crate::config::{Config, Current};
use crate::destination::{Origin, Refusal};
use crate::memory::{Exhausted, Memory, Share};
use crate::quota::{OwnerOf, Place, Quota};
use crate::stats::Reason;

/// What is left for new sessions, over all listeners.
pub(crate) struct Admission {
    config: Current,
    sessions: Arc<Seats>,
    /// Of these, those of all direct connections together.
    direct_sessions: Arc<Seats>,
    direct: Arc<Quota>,
    owner_of: OwnerOf,
    memory: Arc<Memory>,
}

/// How many sessions there are of a number that may change.
#[derive(Debug, Default)]
struct Seats(AtomicUsize);

/// One of them, given back when dropped.
#[derive(Debug)]
struct Seat(Arc<Seats>);

/// What a session takes while it lives, its buffers apart.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The user that the client's socket belongs to.
    pub(crate) owner: Option<u32>,
    _session: Seat,
    _direct: Option<(Seat, Place)>,
    _memory: Share,
}

/// Why there is no session for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Full {
    #[error("all {0} sessions of --max-sessions are taken")]
    Sessions(usize),
    #[error("not redirected, and its user has all {0} sessions of --max-direct-per-user")]
    User(usize),
    #[error("not redirected, and such connections have their three quarters of --max-sessions")]
    Direct,
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

impl Admission {
    /// As many as `config` says at the time.
    pub(crate) fn new(config: Current, owner_of: OwnerOf, memory: Arc<Memory>) -> Self {
        let (sessions, direct_sessions, direct) = Default::default();
        Self { config, sessions, direct_sessions, direct, owner_of, memory }
    }

    /// Takes what a session needs for the connection from `client` to `ours`. The canary needs
    /// nothing: it is answered with one line, which a new socket always takes.
    pub(crate) fn admit(
        &self,
        origin: Result<Origin, Refusal>,
        client: SocketAddr,
        ours: SocketAddr,
    ) -> Result<Option<Ticket>, Full> {
        if origin == Ok(Origin::Canary) {
            return Ok(None);
        }
        let Config { max_sessions, max_direct_per_user, .. } = **self.config.borrow();
        let session = self.sessions.take(max_sessions).ok_or(Full::Sessions(max_sessions))?;
        let memory = self.memory.share(SESSION)?;
        let (owner, direct) = match origin {
            Ok(Origin::Direct) => {
                // The last quarter is for redirected connections: one user can have thousands of
                // uids (subuid(5)), and a quota for each.
                let seat = self.direct_sessions.take(max_sessions - max_sessions / 4);
                let seat = seat.ok_or(Full::Direct)?;
                let owner = (self.owner_of)(client, ours);
                let place = self.direct.take(owner, max_direct_per_user);
                (owner, Some((seat, place.ok_or(Full::User(max_direct_per_user))?)))
            }
            // The client's socket knows nothing of the redirect.
            Ok(Origin::Redirected(destination)) => ((self.owner_of)(client, destination), None),
            _ => (None, None),
        };
        Ok(Some(Ticket { owner, _session: session, _direct: direct, _memory: memory }))
    }
}

impl Seats {
    /// One more, unless there are `limit` of them.
    fn take(self: &Arc<Self>, limit: usize) -> Option<Seat> {
        let more = |taken| (taken < limit).then_some(taken + 1);
        let taken = self.0.fetch_update(Relaxed, Relaxed, more);
        taken.is_ok().then(|| Seat(Arc::clone(self)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

impl Full {
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Self::Sessions(_) => Reason::Full,
            Self::User(_) | Self::Direct => Reason::UserFull,
            Self::Memory(_) => Reason::Memory,
        }
    }
}

/// Bytes of a session beside its buffers: keys, tasks, state, and what the handshake holds.
const SESSION: usize = 16 * 1024;
