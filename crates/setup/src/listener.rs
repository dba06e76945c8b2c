//! Who listens on the daemon's addresses, as the kernel's sock_diag tells it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bip324_sock_diag::SockDiag;
use nix::unistd::{Uid, User};

use crate::group::DAEMON_USER;

/// One of the daemon's addresses.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Listener {
    /// The address that clients are redirected to.
    pub address: SocketAddr,
    /// Who made the listening socket that a connection would reach; `None` without one.
    pub owner: Option<Owner>,
}

/// The user who made a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    uid: u32,
    /// Number, where the user database has no name.
    name: String,
}

/// The kernel did not say who listens.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the kernel who listens for clients: run `sudo modprobe tcp_diag`")]
pub struct Error(#[from] io::Error);

/// Looks for listeners on 127.0.0.1 and ::1, wildcard ones included. Needs no privilege.
///
/// # Errors
/// When the kernel does not answer. A kernel without IPv6 has no listener there.
pub fn listeners(port: u16) -> Result<[Listener; 2], Error> {
    let mut kernel = SockDiag::open()?;
    let mut at = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        let owner = kernel.listener(address)?.map(|owner| Owner::of(owner.uid));
        Ok::<_, Error>(Listener { address, owner })
    };
    Ok([at(Ipv4Addr::LOCALHOST.into())?, at(Ipv6Addr::LOCALHOST.into())?])
}

/// Whether the connection from `client` ends at `daemon`, wherever it was bound for. Ask before either
/// end is closed. Needs no privilege.
///
/// # Errors
/// When the kernel does not answer.
pub fn is_reached(daemon: SocketAddr, client: SocketAddr) -> Result<bool, Error> {
    Ok(SockDiag::open()?.is_connected(daemon, client)?)
}

impl Listener {
    /// The owner, if it is one who must not read what clients send.
    #[must_use]
    pub fn stranger(&self) -> Option<&Owner> {
        self.owner.as_ref().filter(|owner| !owner.is_daemons())
    }
}

impl Owner {
    fn of(uid: u32) -> Self {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        Self { uid, name: user.map_or_else(|| uid.to_string(), |user| user.name) }
    }

    /// Whether it is the daemon's user, or root, who listens for the daemon under systemd.
    fn is_daemons(&self) -> bool {
        self.uid == 0 || self.name == DAEMON_USER
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl serde::Serialize for Owner {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_daemons_user_may_listen() {
        let listener = |uid, name: &str| Listener {
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1324),
            owner: Some(Owner { uid, name: name.to_owned() }),
        };
        assert_eq!(listener(0, "root").stranger(), None);
        assert_eq!(listener(0, "toor").stranger(), None);
        assert_eq!(listener(999, "_bip324").stranger(), None);
        for (uid, name) in [(1000, "alice"), (1001, "1001"), (1002, "root"), (65534, "nobody")] {
            assert!(listener(uid, name).stranger().is_some(), "{name}");
        }
    }
}
