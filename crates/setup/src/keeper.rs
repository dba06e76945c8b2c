//! Who keeps the rules from being changed, and how to make it stop.
//!
//! A guard listens on an abstract unix socket. Such names belong to the network namespace, as
//! nftables do, and go with their process however that ends.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::{User, geteuid};
use serde::Serialize;

use crate::installed::Installed;
use crate::plan::TABLE;
use crate::privilege;

/// What holds the rules. At least one of the two is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keeper {
    /// Process id of the guard that runs.
    pub guard: Option<i32>,
    /// Netlink port id of the socket that owns the table. It often is the id of the process that
    /// opened the socket, which need not be the one that holds it.
    pub port: Option<u32>,
}

impl Keeper {
    /// Who holds `table`, as it was read, this process apart; `None` if anybody with the capability
    /// may change it.
    #[must_use]
    pub fn of(table: Option<&Installed>) -> Option<Self> {
        let guard = running_guard();
        let port = table.filter(|table| table.is_owned()).map(|table| table.owner.unwrap_or(0));
        (guard.is_some() || port.is_some()).then_some(Self { guard, port })
    }
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.guard, self.port) {
            (Some(guard), _) => write!(
                f,
                "process {guard}, a guard, holds the rules: \
                 stop it with `systemctl stop bip324-guard`, or with `kill {guard}`"
            ),
            (None, port) => {
                let port = port.unwrap_or_default();
                write!(f, "netlink port {port}")?;
                if let Some(name) = process_name(port) {
                    write!(f, " (process {port}, {name})")?;
                }
                write!(
                    f,
                    " owns table inet {TABLE}: stop its process, or, where the service manager \
                     keeps the socket of a guard, run `systemctl stop bip324-guard`"
                )
            }
        }
    }
}

/// That this process is the guard of its network namespace.
#[derive(Debug)]
pub struct Claim(UnixListener);

/// Why this process cannot be the guard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is one.
    #[error("{0}")]
    Guarded(Keeper),
    /// The name is taken by a process that could not guard anything.
    #[error(
        "another program has the unix socket {}: `ss -xlp` names it, stop it",
        String::from_utf8_lossy(NAME)
    )]
    Squatter,
    /// No socket.
    #[error("cannot listen on a unix socket")]
    Listen(#[source] io::Error),
}

impl Claim {
    /// Claims the network namespace for this process, until it ends.
    ///
    /// # Errors
    /// When a guard runs. [`Error::Squatter`] need not keep anybody from guarding: any user can
    /// take a name.
    pub fn new() -> Result<Self, Error> {
        let address = SocketAddr::from_abstract_name(NAME).map_err(Error::Listen)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => {
                listener.set_nonblocking(true).map_err(Error::Listen)?;
                Ok(Self(listener))
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(match running_guard() {
                Some(pid) => Error::Guarded(Keeper { guard: Some(pid), port: None }),
                None => Error::Squatter,
            }),
            Err(error) => Err(Error::Listen(error)),
        }
    }

    /// Lets go of those who have asked. They were answered by the kernel. Not for longer than a
    /// moment: any user may ask, as often as he likes.
    ///
    /// # Errors
    /// When they cannot be taken from the queue, as where descriptors lack: the claim stays readable.
    pub fn answer(&self) -> io::Result<()> {
        for _ in 0..ANSWERS {
            match self.0.accept() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Claim {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The other process that has the claim to this network namespace, if it can act on it.
fn running_guard() -> Option<i32> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    // Any user may fill a guard's queue, so it is worth to wait; but whoever has the name may leave
    // us in it for ever.
    setsockopt(&asking, sockopt::SendTimeout, &TimeVal::new(QUEUE_SECONDS, 0)).ok()?;
    connect(asking.as_raw_fd(), &UnixAddr::new_abstract(NAME).ok()?).ok()?;
    let peer = getsockopt(&asking, sockopt::PeerCredentials).ok()?;
    let pid = peer.pid();
    let other = i32::try_from(process::id()) != Ok(pid);
    let guards = other && may_guard(peer.uid()) && privilege::process_holds_net_admin(pid);
    guards.then_some(pid)
}

/// Whether a process of this user may be believed to be a guard. What /proc says of capabilities is
/// not enough: in a user namespace of his own every user has them all, and could keep guards from
/// starting.
fn may_guard(uid: u32) -> bool {
    let guards_user = || User::from_name(GUARD_USER).ok().flatten();
    uid == 0
        || uid == geteuid().as_raw()
        || guards_user().is_some_and(|user| user.uid.as_raw() == uid)
}

fn process_name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned())
}

const NAME: &[u8] = b"bip324-setup-guard";

/// User that a guard runs as where it is a service.
const GUARD_USER: &str = "_bip324-nft";

/// Connections taken at a time.
const ANSWERS: usize = 64;

/// Seconds for which to wait for a place in a guard's queue.
const QUEUE_SECONDS: i64 = 1;
