//! Who makes direct connections, and how many sessions each user may have that way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bip324_sock_diag::SockDiag;
use tracing::warn;

/// Tells the user who owns the client's end of a connection, from its address and ours. `None` if
/// nobody can: the client has closed it already, or the kernel has no `tcp_diag`.
///
/// Is called right after accept and must not block.
pub type OwnerOf = Arc<dyn Fn(SocketAddr, SocketAddr) -> Option<u32> + Send + Sync>;

/// The kernel's own answer.
pub fn owner_of() -> OwnerOf {
    let diag = match SockDiag::open() {
        Ok(diag) => Mutex::new(diag),
        Err(error) => {
            warn!("the kernel does not tell who connects, so all users share one quota: {error}");
            return Arc::new(|_, _| None);
        }
    };
    Arc::new(move |client, ours| {
        let owner = lock(&diag).connection(client, ours);
        owner.ok().flatten().map(|owner| owner.uid)
    })
}

/// Sessions that each user has by direct connections. What has no known owner shares the quota of
/// one more user: it cannot be used up at the expense of anybody else. In a user namespace of its own
/// the daemon sees all users that are not mapped there as one, the overflow uid.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    taken: Mutex<BTreeMap<Option<u32>, usize>>,
}

/// One session of a user, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    quota: Arc<Quota>,
    owner: Option<u32>,
}

impl Quota {
    /// One more session of `owner`, unless it has `limit` of them.
    pub(crate) fn take(self: &Arc<Self>, owner: Option<u32>, limit: usize) -> Option<Place> {
        let mut taken = lock(&self.taken);
        let sessions = taken.get(&owner).copied().unwrap_or(0);
        if sessions >= limit {
            return None;
        }
        taken.insert(owner, sessions + 1);
        Some(Place { quota: Arc::clone(self), owner })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.quota.taken);
        match taken.remove(&self.owner) {
            None | Some(0 | 1) => {}
            Some(sessions) => {
                taken.insert(self.owner, sessions - 1);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use nix::unistd::getuid;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn g3_one_user_s_sessions_leave_the_others_theirs() {
        let quota = Arc::new(Quota::default());
        for owner in [Some(1000), Some(1001), None] {
            let places = [quota.take(owner, 2).unwrap(), quota.take(owner, 2).unwrap()];
            assert!(quota.take(owner, 2).is_none());
            drop(places);
        }
        let _place = quota.take(Some(1000), 2).unwrap();
        let second = quota.take(Some(1000), 2).unwrap();
        drop(second);
        assert!(quota.take(Some(1000), 2).is_some());
    }

    #[test]
    fn a_limit_may_change_between_two_sessions() {
        let quota = Arc::new(Quota::default());
        let places = [(); 3].map(|()| quota.take(None, 3).unwrap());
        assert!(quota.take(None, 3).is_none());
        assert!(quota.take(None, 4).is_some());
        drop(places);
        let _place = quota.take(None, 1).unwrap();
        assert!(quota.take(None, 1).is_none());
    }

    #[test]
    fn nothing_is_kept_of_a_user_without_sessions() {
        let quota = Arc::new(Quota::default());
        drop((quota.take(Some(1000), 2), quota.take(Some(1000), 2), quota.take(None, 2)));
        assert!(lock(&quota.taken).is_empty());
    }

    #[test]
    fn the_kernel_knows_the_owner_until_the_client_closes() {
        let owner_of = owner_of();
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, peer) = listener.accept().unwrap();
            let ours = stream.local_addr().unwrap();
            assert_eq!(owner_of(peer, ours), Some(getuid().as_raw()));
            drop(client);
            assert_eq!(owner_of(peer, ours), None);
        }
    }
}
