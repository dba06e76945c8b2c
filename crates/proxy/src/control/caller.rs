//! Who asks.

use std::io;

use bip324_control::Scope;
use tokio::net::UnixStream;

use crate::stats::Live;

/// The user at the other end of a connection, at the time that it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// Root and the daemon's own user.
    pub(super) privileged: bool,
}

impl Caller {
    /// As the kernel tells it (`SO_PEERCRED`, unix(7)), to the daemon of user `own`.
    pub(super) fn of(stream: &UnixStream, own: u32) -> io::Result<Self> {
        let uid = stream.peer_cred()?.uid();
        Ok(Self { uid, privileged: uid == 0 || uid == own })
    }

    pub(super) const fn scope(self) -> Scope {
        if self.privileged { Scope::All } else { Scope::Own }
    }

    /// Whether the session is the caller's to see.
    pub(super) fn sees(self, live: &Live) -> bool {
        self.privileged || live.beginning.owner == Some(self.uid)
    }
}
