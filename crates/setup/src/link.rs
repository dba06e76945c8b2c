//! The loopback interface: the redirect ends on its addresses.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkFlags;

/// What the redirect needs of this host's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loopback {
    /// `lo` is up.
    pub up: bool,
    /// `lo` has 127.0.0.1.
    pub v4: bool,
    /// `lo` has ::1.
    pub v6: bool,
    /// The host uses IPv6: it is not disabled, or some interface has an address.
    pub host_v6: bool,
}

/// What is wrong with `lo`. Clients are refused, not exposed, by each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing can reach the daemon.
    #[error("lo is down, so clients cannot reach the daemon: run `ip link set lo up`")]
    Down,
    /// IPv4 clients cannot reach the daemon.
    #[error(
        "lo has no 127.0.0.1, so clients cannot reach the daemon: run `ip address add 127.0.0.1/8 dev lo`"
    )]
    NoV4,
    /// IPv6 connections of clients cannot reach the daemon.
    #[error(
        "lo has no ::1, so clients' IPv6 connections are refused: \
         run `sysctl net.ipv6.conf.lo.disable_ipv6=0; ip address add ::1/128 dev lo`"
    )]
    NoV6,
}

/// The kernel did not say what interfaces there are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime or the socket could not be made.
    #[error("cannot open a route netlink socket")]
    Open(#[source] io::Error),
    /// A request failed.
    #[error("cannot read this host's interfaces")]
    Read(#[from] rtnetlink::Error),
}

impl Loopback {
    /// The worst thing that is wrong, if anything is. A host that does not use IPv6 needs no ::1.
    #[must_use]
    pub const fn fault(self) -> Option<Fault> {
        if !self.up {
            Some(Fault::Down)
        } else if !self.v4 {
            Some(Fault::NoV4)
        } else if self.host_v6 && !self.v6 {
            Some(Fault::NoV6)
        } else {
            None
        }
    }
}

/// Asks the kernel. Needs no capability; starts no thread.
///
/// # Errors
/// When the kernel does not answer.
pub fn loopback() -> Result<Loopback, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(Error::Open)?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Open)?;
        tokio::spawn(connection);
        read(&handle).await
    })
}

/// Cancel-safe: it only reads.
async fn read(handle: &Handle) -> Result<Loopback, Error> {
    let mut state = Loopback { up: false, v4: false, v6: false, host_v6: v6_enabled() };
    let mut links = handle.link().get().match_name("lo".to_owned()).execute();
    let Some(link) = links.try_next().await? else {
        return Ok(state);
    };
    state.up = link.header.flags.contains(LinkFlags::Up);

    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let on_lo = message.header.index == link.header.index;
        for attribute in message.attributes {
            let AddressAttribute::Address(address) = attribute else { continue };
            state.host_v6 |= address.is_ipv6();
            state.v4 |= on_lo && address == IpAddr::V4(Ipv4Addr::LOCALHOST);
            state.v6 |= on_lo && address == IpAddr::V6(Ipv6Addr::LOCALHOST);
        }
    }
    Ok(state)
}

/// Whether interfaces get IPv6 addresses at all; the file is missing on a kernel without IPv6.
fn v6_enabled() -> bool {
    fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6")
        .is_ok_and(|disabled| disabled.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Loopback = Loopback { up: true, v4: true, v6: true, host_v6: true };

    #[test]
    fn faults_are_told_worst_first() {
        assert_eq!(SOUND.fault(), None);
        assert_eq!(Loopback { v6: false, ..SOUND }.fault(), Some(Fault::NoV6));
        assert_eq!(Loopback { v4: false, v6: false, ..SOUND }.fault(), Some(Fault::NoV4));
        assert_eq!(Loopback { up: false, v4: false, ..SOUND }.fault(), Some(Fault::Down));
    }

    #[test]
    fn a_host_without_ipv6_needs_no_v6_loopback() {
        assert_eq!(Loopback { v6: false, host_v6: false, ..SOUND }.fault(), None);
    }
}
