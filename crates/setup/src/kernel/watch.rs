//! Announcements of changes to nftables.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;

use super::object::GENMSG_SIZE;
use super::socket::{Buffer, Datagram, next};
use super::{Error, HEADER_SIZE, bytes};
use crate::privilege::NetAdmin;

/// A netlink socket that hears of every change to the rules of its network namespace, its own
/// process's included. Readable when there is one.
pub struct Watch(mnl::Socket);

impl Watch {
    /// Hears of all that changes from now on.
    ///
    /// # Errors
    /// When the kernel has no nftables or no more sockets.
    pub fn open(net_admin: &NetAdmin) -> Result<Self, Error> {
        let socket = mnl::Socket::open(mnl::Bus::Netfilter).map_err(Error::Open)?;
        let group = 1 << (libc::NFNLGRP_NFTABLES - 1);
        net_admin.raised(|| socket.bind(group, 0))?.map_err(Error::Open)?;
        Ok(Self(socket))
    }

    /// Takes in all that has been announced; does not wait. Whether one of `tables` has changed, or
    /// may have because announcements were lost.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn changed(&self, tables: &[&str]) -> Result<bool, Error> {
        let mut buffer = Buffer::new();
        let mut changed = false;
        while let Some(datagram) = next(self.as_fd(), &mut buffer)? {
            changed |= match datagram {
                Datagram::Overflow => true,
                Datagram::Messages(messages) => mnl::NlMessages::new(messages)
                    .any(|message| message.is_ok_and(|message| concerns(message, tables))),
            };
        }
        Ok(changed)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: mnl owns the descriptor, and the borrow ends before `self` does.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// Whether an announcement is about one of `tables`. Its first attribute is the table's name, but
/// for those about a whole generation, which are about no table (linux/netfilter/nf_tables.h).
fn concerns(message: &[u8], tables: &[&str]) -> bool {
    let named = || -> Result<Option<&[u8]>, Error> {
        let attribute = HEADER_SIZE + GENMSG_SIZE;
        let length: [u8; 2] = bytes(message, attribute)?;
        let end = attribute + usize::from(u16::from_ne_bytes(length));
        Ok(message.get(attribute + 4..end))
    };
    match named() {
        Ok(Some(name)) => {
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            tables.iter().any(|table| table.as_bytes() == name)
        }
        // Not understood: better to look.
        _ => true,
    }
}
