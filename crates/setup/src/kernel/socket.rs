//! The netlink socket to nftables.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, NetlinkAddr, getsockname, recv, setsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::{Error, Next};
use crate::privilege::NetAdmin;

/// A netlink socket to nftables. The tables that it owns are its own, whichever process has it.
pub struct Socket(mnl::Socket);

impl Socket {
    /// Opens a socket whose answers are waited for `ANSWER_SECONDS` at most.
    ///
    /// # Errors
    /// When the kernel has no nftables or no more sockets.
    pub fn open() -> Result<Self, Error> {
        let socket = Self(mnl::Socket::new(mnl::Bus::Netfilter).map_err(Error::Open)?);
        socket.limit_waiting()?;
        Ok(socket)
    }

    /// Takes over a socket that another process opened, with the tables that it owns.
    ///
    /// # Errors
    /// When it is another kind of descriptor, or known to be of another network namespace: its
    /// tables would be that one's.
    pub fn adopt(descriptor: &OwnedFd, net_admin: &NetAdmin) -> Result<Self, Error> {
        let theirs = socket2::SockRef::from(descriptor);
        let netlink = theirs.domain().is_ok_and(|domain| i32::from(domain) == libc::AF_NETLINK);
        let netfilter = theirs
            .protocol()
            .is_ok_and(|protocol| protocol.map(i32::from) == Some(libc::NETLINK_NETFILTER));
        if !netlink || !netfilter {
            return Err(Error::Foreign);
        }
        // Unknown, it is taken to be ours: to leave the owner of the table unused would make every
        // change EPERM.
        let namespaces = namespace(descriptor, net_admin)?.zip(own_namespace());
        if namespaces.is_some_and(|(theirs, ours)| theirs != ours) {
            return Err(Error::Elsewhere);
        }
        // libmnl takes no descriptor, so ours takes the place of its own.
        let socket = Self(mnl::Socket::open(mnl::Bus::Netfilter).map_err(Error::Open)?);
        // SAFETY: both descriptors are open; mnl goes on owning the number, not the socket.
        let duplicated =
            unsafe { libc::dup3(descriptor.as_raw_fd(), socket.0.as_raw_fd(), libc::O_CLOEXEC) };
        Errno::result(duplicated).map_err(|errno| Error::Open(errno.into()))?;
        socket.limit_waiting()?;
        Ok(socket)
    }

    /// The address by which the kernel names this socket, as in [`Installed::owner`]. 0 where it
    /// does not tell.
    ///
    /// [`Installed::owner`]: crate::installed::Installed::owner
    #[must_use]
    pub fn port_id(&self) -> u32 {
        getsockname::<NetlinkAddr>(self.0.as_raw_fd()).map_or(0, |address| address.pid())
    }

    /// The next datagram, if one is there.
    fn next<'a>(&self, buffer: &'a mut Buffer) -> Result<Option<Datagram<'a>>, Error> {
        next(self.as_fd(), buffer)
    }

    fn limit_waiting(&self) -> Result<(), Error> {
        setsockopt(self, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_SECONDS, 0))
            .map_err(|errno| Error::Open(errno.into()))
    }

    /// Sends a request, after discarding what is left of the answers to an earlier one: of a batch
    /// that was refused, or of a process that was killed while it had the socket.
    pub(super) fn send(&self, message: &[u8], net_admin: &NetAdmin) -> Result<(), Error> {
        let mut buffer = Buffer::new();
        while self.next(&mut buffer)?.is_some() {}
        let sent = net_admin.raised(|| self.0.send(message))?.map_err(Error::Send)?;
        if sent == message.len() { Ok(()) } else { Err(Error::TooLarge) }
    }

    /// Receives datagrams and hands their messages on, until `each` says that it was the last.
    pub(super) fn receive(
        &self,
        mut each: impl FnMut(&[u8]) -> Result<Next, Error>,
    ) -> Result<(), Error> {
        let mut buffer = Buffer::new();
        loop {
            let messages = match self.0.recv(&mut buffer.0) {
                // A wait with a limit is not taken up again after SIGSTOP and SIGCONT (signal(7)).
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                received => received.map_err(Error::Receive)?,
            };
            for message in messages {
                match each(message.map_err(Error::Receive)?)? {
                    Next::Wait => {}
                    Next::Done => return Ok(()),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: mnl owns the descriptor, and the borrow ends before `self` does.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// Device and inode number of the network namespace of a socket, if the kernel tells.
fn namespace(socket: &OwnedFd, net_admin: &NetAdmin) -> Result<Option<(u64, u64)>, Error> {
    // SAFETY: it takes no argument and returns a new descriptor or -1.
    let raw = net_admin.raised(|| unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) })?;
    if raw < 0 {
        return Ok(None);
    }
    // SAFETY: the kernel has just made it for us.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(raw) });
    Ok(file.metadata().ok().map(|it| (it.dev(), it.ino())))
}

fn own_namespace() -> Option<(u64, u64)> {
    fs::metadata("/proc/self/ns/net").ok().map(|it| (it.dev(), it.ino()))
}

/// Gives the network namespace of a socket (linux/sockios.h).
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// What a netlink socket had for us.
pub(super) enum Datagram<'a> {
    /// Messages.
    Messages(&'a [u8]),
    /// More than it could hold: something is lost.
    Overflow,
}

/// The next datagram, if one is there: does not wait.
pub(super) fn next<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut Buffer,
) -> Result<Option<Datagram<'a>>, Error> {
    match recv(socket.as_raw_fd(), &mut buffer.0, MsgFlags::MSG_DONTWAIT) {
        Ok(count) => Ok(Some(Datagram::Messages(buffer.0.get(..count).unwrap_or_default()))),
        Err(Errno::EAGAIN) => Ok(None),
        Err(Errno::EINTR | Errno::ENOBUFS) => Ok(Some(Datagram::Overflow)),
        Err(errno) => Err(Error::Receive(errno.into())),
    }
}

/// A receive buffer aligned as netlink's headers are.
#[repr(align(8))]
pub(super) struct Buffer([u8; BUFFER_SIZE]);

impl Buffer {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self([0; BUFFER_SIZE]))
    }
}

/// Seconds that an answer may take; the kernel gives it while it handles the request.
pub(super) const ANSWER_SECONDS: i64 = 5;

/// Bytes; the kernel sends lists in pieces of at most 32 KiB (netlink_dump).
const BUFFER_SIZE: usize = 64 * 1024;
