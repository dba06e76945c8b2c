//! Attempts at what the sandbox forbids and any user may do otherwise; harmless if they succeed.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::kill;
use nix::unistd::getpid;

/// The name of each, and whether it is refused.
pub(super) fn all() -> Vec<(&'static str, bool)> {
    let refused = |result: io::Result<()>| {
        let errno = result.err().and_then(|error| error.raw_os_error());
        matches!(errno, Some(libc::EPERM | libc::EACCES))
    };
    ATTEMPTS.iter().map(|&(name, attempt)| (name, refused(attempt()))).collect()
}

type Attempt = fn() -> io::Result<()>;

const ATTEMPTS: [(&str, Attempt); 7] = [
    ("open a file", || File::open("/proc/self/status").map(drop)),
    ("start a program", || Command::new("/proc/self/exe").arg("--version").output().map(drop)),
    ("listen", || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
    ("send datagrams", || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
    ("connect to local services", || UnixStream::connect("/nonexistent").map(drop)),
    ("enter namespaces", || Ok(unshare(CloneFlags::empty())?)),
    ("send signals", || Ok(kill(getpid(), None)?)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i6_without_the_sandbox_nothing_is_refused() {
        let refused: Vec<_> = all().into_iter().filter(|&(_, refused)| refused).collect();
        assert!(refused.is_empty(), "{refused:?}");
    }
}
