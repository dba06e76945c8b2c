//! Which accepted connections become sessions: what each takes of `--max-sessions`,
//! `--max-direct-per-user` and `--max-memory`.

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::destination::{Origin, Refusal};
use crate::memory::{Exhausted, Memory, Share};
use crate::quota::{OwnerOf, Place, Quota};
use crate::stats::Reason;

/// What is left for new sessions, over all listeners.
pub(crate) struct Admission {
    sessions: Arc<Semaphore>,
    max_sessions: usize,
    /// Of these, those that all direct connections together may have.
    direct_sessions: Arc<Semaphore>,
    direct: Arc<Quota>,
    max_direct_per_user: usize,
    owner_of: OwnerOf,
    memory: Arc<Memory>,
}

/// What a session takes while it lives, its buffers apart.
#[derive(Debug)]
pub(crate) struct Ticket {
    _session: OwnedSemaphorePermit,
    _direct: Option<(OwnedSemaphorePermit, Place)>,
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
    /// The last quarter of the sessions is for redirected connections: one user can have thousands
    /// of uids (subuid(5)), and a quota for each.
    pub(crate) fn new(config: &Config, owner_of: OwnerOf, memory: Arc<Memory>) -> Self {
        let max_sessions = config.max_sessions;
        Self {
            sessions: Arc::new(Semaphore::new(max_sessions)),
            max_sessions,
            direct_sessions: Arc::new(Semaphore::new(max_sessions - max_sessions / 4)),
            direct: Quota::new(config.max_direct_per_user),
            max_direct_per_user: config.max_direct_per_user,
            owner_of,
            memory,
        }
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
        let session = Arc::clone(&self.sessions)
            .try_acquire_owned()
            .map_err(|_| Full::Sessions(self.max_sessions))?;
        let memory = self.memory.share(SESSION)?;
        let direct = match origin {
            Ok(Origin::Direct) => Some(self.admit_direct(client, ours)?),
            _ => None,
        };
        Ok(Some(Ticket { _session: session, _direct: direct, _memory: memory }))
    }

    fn admit_direct(
        &self,
        client: SocketAddr,
        ours: SocketAddr,
    ) -> Result<(OwnedSemaphorePermit, Place), Full> {
        let session =
            Arc::clone(&self.direct_sessions).try_acquire_owned().map_err(|_| Full::Direct)?;
        let place = self.direct.take((self.owner_of)(client, ours));
        Ok((session, place.ok_or(Full::User(self.max_direct_per_user))?))
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
