//! The kernel's nftables, over netlink: the only place that names nftnl, mnl and nftnl-sys, and
//! the only one with unsafe code.
//!
//! A [`Batch`] is made from a plan, a [`Socket`] is passed in, and [`NetAdmin`] is raised only
//! while a message is sent.

mod batch;
mod object;
mod readback;
mod rule;
mod socket;
mod watch;

use std::collections::BTreeMap;
use std::io;

use nix::errno::Errno;
use nix::libc::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

use crate::installed::Installed;
use crate::privilege::{self, NetAdmin};

pub use batch::{Batch, Change, Tenure};
pub use socket::Socket;
pub use watch::Watch;

/// Why the kernel's rules could not be changed or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The netlink socket could not be made.
    #[error("cannot open a netfilter netlink socket")]
    Open(#[source] io::Error),
    /// A message could not be sent.
    #[error("cannot send to the kernel's nftables")]
    Send(#[source] io::Error),
    /// No answer, or one that could not be received.
    #[error("the kernel's nftables did not answer")]
    Receive(#[source] io::Error),
    /// A descriptor is no netlink socket to netfilter.
    #[error("it is no netlink socket to netfilter")]
    Foreign,
    /// A netlink socket of another network namespace.
    #[error("it belongs to another network namespace")]
    Elsewhere,
    /// The capability could not be raised.
    #[error(transparent)]
    Privilege(#[from] privilege::Error),
    /// The kernel refused a part of the batch, hence all of it.
    #[error("the kernel refused {object}; nothing was changed{}", remedy(.source))]
    Refused {
        /// The object that it refused.
        object: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a request to list something.
    #[error("the kernel does not list its rules")]
    Dump(#[source] io::Error),
    /// An answer to a message that was not sent.
    #[error("the kernel answered message {0}, which was not sent")]
    Unexpected(u32),
    /// A message that is no netlink message.
    #[error("the kernel sent a malformed message")]
    Malformed,
    /// The ruleset changed each time it was read.
    #[error("the rules keep changing while they are read: try again")]
    Interrupted,
    /// The batch does not fit one message, so it would not be atomic.
    #[error("the ruleset is too large for one netlink message: give fewer ports")]
    TooLarge,
}

/// Applies a batch, all of it or nothing, and waits for each of its acknowledgements.
///
/// # Errors
/// When the kernel refuses a part; nothing has changed then.
pub fn apply(socket: &Socket, batch: &Batch, net_admin: &NetAdmin) -> Result<(), Error> {
    let mut unanswered: BTreeMap<u32, &str> = batch.sequence_numbers().collect();
    socket.send(batch.message()?, net_admin)?;
    socket.receive(|message| {
        let header = Header::parse(message)?;
        match (header.error(message)?, unanswered.remove(&header.sequence)) {
            // Before Linux 6.10 the begin of a batch has no number of its own, but can be refused.
            (Some(source), object) => {
                Err(Error::Refused { object: object.unwrap_or("the batch").to_owned(), source })
            }
            (None, None) => Err(Error::Unexpected(header.sequence)),
            (None, Some(_)) if unanswered.is_empty() => Ok(Next::Done),
            (None, Some(_)) => Ok(Next::Wait),
        }
    })
}

/// Reads what a table of the `inet` family holds, if it exists.
///
/// # Errors
/// When the kernel does not answer, or the rules keep changing.
pub fn read(
    socket: &Socket,
    table: &str,
    net_admin: &NetAdmin,
) -> Result<Option<Installed>, Error> {
    unchanging(|| readback::table(socket, table, net_admin))
}

/// Names of all tables of the `inet` family.
///
/// # Errors
/// As [`read`].
pub fn tables(socket: &Socket, net_admin: &NetAdmin) -> Result<Vec<String>, Error> {
    unchanging(|| readback::names(socket, net_admin))
}

/// Reads until nothing changes meanwhile.
fn unchanging<T>(mut read: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    for _ in 0..READ_ATTEMPTS {
        match read() {
            // Changed or removed between two of the requests: look again.
            Err(Error::Interrupted) => {}
            // The table went between the list of sets and that of their elements.
            Err(Error::Dump(error)) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            read => return read,
        }
    }
    Err(Error::Interrupted)
}

/// Sends a request to list something and hands each answer on.
fn dump(
    socket: &Socket,
    request: &[u8],
    net_admin: &NetAdmin,
    mut each: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    socket.send(request, net_admin)?;
    let mut interrupted = false;
    socket.receive(|message| {
        let header = Header::parse(message)?;
        interrupted |= i32::from(header.flags) & NLM_F_DUMP_INTR != 0;
        match i32::from(header.kind) {
            NLMSG_DONE => Ok(Next::Done),
            NLMSG_ERROR => match header.error(message)? {
                Some(error) => Err(Error::Dump(error)),
                None => Ok(Next::Done),
            },
            _ => each(message).map(|()| Next::Wait),
        }
    })?;
    if interrupted { Err(Error::Interrupted) } else { Ok(()) }
}

/// Whether more messages are to come.
enum Next {
    Wait,
    Done,
}

/// `struct nlmsghdr`, less the length, which mnl has checked.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

impl Error {
    /// The kernel's reason for a refusal of a batch.
    #[must_use]
    pub fn refusal(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }
}

impl Header {
    fn parse(message: &[u8]) -> Result<Self, Error> {
        let kind = bytes(message, 4)?;
        let flags = bytes(message, 6)?;
        let sequence = bytes(message, 8)?;
        Ok(Self {
            kind: u16::from_ne_bytes(kind),
            flags: u16::from_ne_bytes(flags),
            sequence: u32::from_ne_bytes(sequence),
        })
    }

    /// The error that an `NLMSG_ERROR` message carries; an acknowledgement carries none.
    fn error(&self, message: &[u8]) -> Result<Option<io::Error>, Error> {
        if i32::from(self.kind) != NLMSG_ERROR {
            return Err(Error::Malformed);
        }
        let negated = i32::from_ne_bytes(bytes(message, HEADER_SIZE)?);
        Ok((negated != 0).then(|| io::Error::from_raw_os_error(negated.saturating_neg())))
    }
}

fn bytes<const N: usize>(message: &[u8], at: usize) -> Result<[u8; N], Error> {
    message.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(Error::Malformed)
}

/// What an administrator can do about a refusal, where that is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => " (does another process own the table? see `nft list tables`)",
        Some(Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT) => {
            " (does the kernel have nf_tables, nft_chain_nat, nft_ct and nft_reject_inet?)"
        }
        _ => "",
    }
}

/// `sizeof(struct nlmsghdr)`.
const HEADER_SIZE: usize = 16;

const READ_ATTEMPTS: usize = 5;
