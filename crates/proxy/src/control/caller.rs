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
        Ok(Self::new(stream.peer_cred()?.uid(), own))
    }

    const fn new(uid: u32, own: u32) -> Self {
        Self { uid, privileged: uid == 0 || (uid == own && uid != UNMAPPED) }
    }

    pub(super) const fn scope(self) -> Scope {
        if self.privileged { Scope::All } else { Scope::Own }
    }

    /// Whether the session is the caller's to see.
    pub(super) fn sees(self, live: &Live) -> bool {
        let owns = self.uid != UNMAPPED && live.beginning.owner == Some(self.uid);
        self.privileged || owns
    }
}

/// Linux's overflow uid (user_namespaces(7)): in a user namespace of its own the daemon sees all users
/// that are not mapped there as this one, so it is nobody in particular.
const UNMAPPED: u32 = 65534;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::stats::{Beginning, Flow, Kind, Stats};

    fn sees(caller: Caller, owner: Option<u32>) -> bool {
        let beginning = Beginning {
            kind: Kind::Passthrough,
            client: "127.0.0.1:40000".parse().unwrap(),
            owner,
            redirected: true,
            destination: "203.0.113.2:8333".parse().unwrap(),
            magic: None,
            session_id: None,
            accepted: Instant::now(),
        };
        let stats = Arc::new(Stats::default());
        caller.sees(&stats.register(beginning, Flow::default(), Flow::default()).live)
    }

    #[test]
    fn whoever_has_no_name_here_sees_and_may_nothing() {
        let nameless = Caller::new(UNMAPPED, 1000);
        assert!(!sees(nameless, Some(UNMAPPED)) && !sees(nameless, None));
        let daemon_too = Caller::new(UNMAPPED, UNMAPPED);
        assert!(!daemon_too.privileged && !sees(daemon_too, Some(UNMAPPED)));
        let (root, own, other) =
            (Caller::new(0, 1000), Caller::new(1000, 1000), Caller::new(1001, 1000));
        assert!(root.privileged && own.privileged && !other.privileged);
        assert!(sees(root, Some(UNMAPPED)) && sees(own, Some(UNMAPPED)));
        assert!(sees(other, Some(1001)) && !sees(other, Some(1002)) && !sees(other, None));
    }
}
