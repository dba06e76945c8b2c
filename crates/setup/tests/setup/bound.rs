//! Sockets that are bound to a device: after nat their packets still leave by that device.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, sendto, setsockopt, socket,
    sockopt,
};

use crate::guard::Guard;
use crate::netns::{Capture, GID, Netns, loopback, peer, wait_until};
use crate::redirect::{SECRET, assert_wire_is_clean, client_and_peer, listen, nft};

/// How a socket comes to be bound to veth0.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// By option, with an IPv4 destination.
    DeviceV4,
    /// By option, with an IPv6 destination.
    DeviceV6,
    /// By the scope of its link-local destination.
    LinkLocal,
}

const ALL: [Bound; 3] = [Bound::DeviceV4, Bound::DeviceV6, Bound::LinkLocal];

impl Bound {
    fn is_v6(self) -> bool {
        !matches!(self, Self::DeviceV4)
    }

    fn destination(self, netns: &Netns) -> SocketAddr {
        match self {
            Self::DeviceV4 => peer(false, 8333),
            Self::DeviceV6 => peer(true, 8333),
            Self::LinkLocal => {
                let index = netns.with_group(GID, || nix::net::if_::if_nametoindex("veth0"));
                SocketAddrV6::new(PEER_LINK_LOCAL, 8333, 0, index.unwrap()).into()
            }
        }
    }

    /// Starts a connection whose SYN carries [`SECRET`] if `data` is set.
    fn connect(self, netns: &Netns, data: bool) -> OwnedFd {
        let to = self.destination(netns);
        netns.with_group(GID, || {
            let family = if self.is_v6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).unwrap();
            if !matches!(self, Self::LinkLocal) {
                setsockopt(&socket, sockopt::BindToDevice, &"veth0".into()).unwrap();
            }
            let payload = if data { SECRET } else { b"" };
            let fast_open = MsgFlags::from_bits_retain(libc::MSG_FASTOPEN);
            let to = SockaddrStorage::from(to);
            match sendto(socket.as_raw_fd(), payload, &to, fast_open) {
                // Refused where a block answers before the call returns.
                Ok(_) | Err(Errno::EINPROGRESS | Errno::ECONNREFUSED) => socket,
                Err(error) => panic!("{self:?}: {error}"),
            }
        })
    }
}

/// A client and its peer, which is also its default gateway; data in a SYN needs no cookie.
fn client_and_gateway() -> (Netns, Netns) {
    let (client, peer) = client_and_peer();
    for (netns, address) in [(&client, CLIENT_LINK_LOCAL), (&peer, PEER_LINK_LOCAL)] {
        let address = format!("{address}/64");
        netns.expect(&["ip", "address", "add", &address, "dev", "veth0", "nodad"]);
    }
    for gateway in ["203.0.113.2", "fd00:b324::2"] {
        client.expect(&["ip", "route", "add", "default", "via", gateway]);
    }
    client.expect(&["sysctl", "-q", "-w", "net.ipv4.tcp_fastopen=5"]);
    (client, peer)
}

/// What the chain that this file is about has dropped.
fn has_dropped(netns: &Netns) -> bool {
    let chain = netns.expect(&["nft", "list", "chain", "inet", "bip324", "guard_postrouting"]);
    let rules = chain.matches(" packets ").count();
    chain.matches(" packets 0 ").count() < rules
}

#[test]
fn a_socket_bound_to_a_device_sends_nothing() {
    let (client, peer_netns) = client_and_gateway();
    require_silence(&client, &peer_netns);
}

/// As VPN clients do it, for their policy routing.
#[test]
fn nor_does_it_where_another_table_overwrites_the_mark() {
    let (client, peer_netns) = client_and_gateway();
    nft(&client, "add table inet other");
    nft(&client, "add chain inet other output { type filter hook output priority -140 ; }");
    nft(&client, "add rule inet other output ct mark set 1");
    require_silence(&client, &peer_netns);
}

fn require_silence(client: &Netns, peer_netns: &Netns) {
    let _daemons = [false, true].map(|v6| listen(client, loopback(v6, 1324)));
    for bound in ALL {
        for data in [false, true] {
            client.setup_ok(&["up"]);
            let mut capture = Capture::start(peer_netns);
            let _socket = bound.connect(client, data);
            wait_until("the guard to drop the SYN", || has_dropped(client));
            assert_wire_is_clean(client, &mut capture, bound.is_v6());
            assert_eq!(capture.tcp_packets(), 0, "{bound:?}, data in the SYN: {data}");
        }
    }
}

#[test]
fn nor_does_it_while_a_stopped_guard_blocks() {
    let (client, peer_netns) = client_and_gateway();
    client.setup_ok(&["down"]);
    for bound in ALL {
        for data in [false, true] {
            Guard::start(&client, &[]).end(Signal::SIGTERM);
            let mut capture = Capture::start(&peer_netns);
            let _socket = bound.connect(&client, data);
            wait_until("the block to reset the SYN", || client.has_blocked());
            assert_wire_is_clean(&client, &mut capture, bound.is_v6());
            assert_eq!(capture.tcp_packets(), 0, "{bound:?}, data in the SYN: {data}");
        }
    }
}

/// The redirect sends them to the loopback addresses, which this block lets pass.
#[test]
fn nor_does_it_while_all_is_blocked_beneath_a_redirect() {
    let (client, peer_netns) = client_and_gateway();
    client.setup(&["block", "--config", "/etc/none.toml"]);
    nft(&client, "flush chain inet bip324 guard_postrouting");
    nft(&client, "add table inet other");
    nft(&client, "add chain inet other output { type filter hook output priority -140 ; }");
    nft(&client, "add rule inet other output ct mark set 1");
    let drops =
        || client.expect(&["nft", "list", "chain", "inet", "bip324_block", "guard_postrouting"]);
    let none = drops();
    for bound in ALL {
        let mut capture = Capture::start(&peer_netns);
        let _socket = bound.connect(&client, true);
        wait_until("the block to drop the SYN", || drops() != none);
        assert_wire_is_clean(&client, &mut capture, bound.is_v6());
        assert_eq!(capture.tcp_packets(), 0, "{bound:?}");
    }
}

#[test]
fn without_the_guard_a_socket_bound_to_a_device_would_leak() {
    let (client, peer_netns) = client_and_gateway();
    nft(&client, "flush chain inet bip324 guard_postrouting");
    for bound in ALL {
        let capture = Capture::start(&peer_netns);
        let _plain = bound.connect(&client, false);
        wait_until("a SYN on the wire", || capture.tcp_packets() > 0);
        let _with_data = bound.connect(&client, true);
        capture.wait_for(SECRET);
    }
}

const CLIENT_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xb324, 1);
const PEER_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xb324, 2);
