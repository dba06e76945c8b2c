//! The service manager: what it passed to this process, and what it is told. Without one, nothing
//! is passed, and what is said goes nowhere.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::Duration;

use sd_notify::NotifyState;

/// Name of the netlink socket in the manager's file descriptor store.
const SOCKET_NAME: &str = "nft";

/// The netlink sockets that the manager has kept for an earlier guard, and the names of what else
/// it passed. Call it once: the descriptors belong to the result.
///
/// # Errors
/// When the environment contradicts itself.
pub(super) fn passed() -> io::Result<(Vec<OwnedFd>, Vec<String>)> {
    let mut sockets = Vec::new();
    let mut others = Vec::new();
    // Where they are meant for whoever started this process, LISTEN_FDNAMES still names them.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok((sockets, others));
    }
    for (raw, name) in sd_notify::listen_fds_with_names()? {
        #[expect(unsafe_code, reason = "the environment tells the numbers of descriptors")]
        // SAFETY: sd-notify has found it open, the manager gave it to this process, and nothing
        // else here takes it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        if name == SOCKET_NAME {
            sockets.push(descriptor);
        } else {
            others.push(name);
        }
    }
    Ok((sockets, others))
}

/// Half the time in which the manager must hear of us.
pub(super) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Has the manager keep the socket, until it is told otherwise or stops the service.
pub(super) fn park(socket: impl AsFd) -> io::Result<()> {
    let state = [
        NotifyState::FdStore,
        NotifyState::FdName(SOCKET_NAME),
        // It would drop a socket with an error pending, such as an overflow.
        NotifyState::Custom("FDPOLL=0"),
    ];
    sd_notify::notify_with_fds(&state, &[socket.as_fd()])
}

/// Has the manager close what it keeps.
pub(super) fn unpark() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(SOCKET_NAME)])
}

/// The guard does what it is there for.
pub(super) fn ready(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)])
}

/// The guard reads its configuration again.
pub(super) fn reloading() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// The guard goes.
pub(super) fn stopping(status: &str) -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status(status)])
}

/// The guard lives.
pub(super) fn alive() -> io::Result<()> {
    sd_notify::notify(&[NotifyState::Watchdog])
}
