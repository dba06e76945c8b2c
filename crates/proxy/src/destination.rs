//! Who may go where: what the kernel's answer about a connection means, and which destinations are
//! dialled.
//!
//! Nothing here does I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use thiserror::Error;

use crate::config::{Config, Direct};

/// Where an accepted connection was going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The rules redirected it from this destination.
    Redirected(SocketAddr),
    /// It was made to our listener itself; its VERSION says where to.
    Direct,
    /// It was made to an address that only the redirect answers: a test of the rules.
    Canary,
}

/// Why a connection is not served. No text names an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The kernel forgot where a redirected connection was going.
    #[error(
        "the kernel forgot where a redirected connection was going; remedy: no conntrack zone for \
         the clients' group, no `conntrack -F`; see `bip324-setup check`"
    )]
    Untracked,
    /// The kernel did not say where the connection was going.
    #[error("the kernel does not tell where the connection was going: {0}")]
    Lookup(Errno),
    /// The connection would lead back to us.
    #[error("the destination is this proxy itself")]
    OwnListener,
    /// Nothing can be dialled there.
    #[error("the destination is not a unicast address with a port")]
    NotUnicast,
    /// The rules leave loopback alone: this was not their redirect.
    #[error("the destination of a redirected connection is a loopback address")]
    Loopback,
    /// Direct connections are switched off.
    #[error("not redirected, and `--direct off`; remedy: start the client in the clients' group")]
    DirectOff,
    /// Direct connections are for this host alone.
    #[error(
        "not redirected, and from another host, which is not served; remedy: listen on loopback \
         addresses"
    )]
    OtherHost,
    /// The VERSION of a direct connection names nobody.
    #[error("not redirected, and its VERSION names no destination that can be dialled")]
    NoAddress,
    /// Direct connections lead to the Internet only.
    #[error("not redirected, and its destination is not a globally routable address")]
    NotGlobal,
    /// Direct connections lead to Bitcoin ports only.
    #[error("not redirected, and its destination's port is not one of `--port`")]
    Port,
}

/// What on this host must never be dialled.
pub struct Own {
    listeners: Vec<SocketAddr>,
    /// The addresses of this host's interfaces, at the time of the call.
    addresses: fn() -> Vec<IpAddr>,
}

/// Makes sense of the kernel's answer about an accepted connection.
///
/// `local` and `peer` are the connection's ends as accept saw them. Without any conntrack rule on
/// the host the kernel answers ENOENT for a direct connection, with one it answers our own address.
/// ENOENT for a connection that did not come from loopback is a redirected one in a conntrack zone,
/// or after `conntrack -F`. Direct connections are for this host: a listener that others reach must
/// not be their proxy.
pub fn classify(
    answer: Result<SocketAddr, Errno>,
    local: SocketAddr,
    peer: SocketAddr,
    own: &Own,
) -> Result<Origin, Refusal> {
    match answer.map(canonical) {
        Ok(destination) if CANARIES.contains(&destination) => Ok(Origin::Canary),
        Ok(destination) if destination == canonical(local) => {
            let peer = canonical(peer).ip();
            let from_here = peer.is_loopback() || own.has_address(peer);
            if from_here { Ok(Origin::Direct) } else { Err(Refusal::OtherHost) }
        }
        Ok(destination) => {
            check_unicast(destination)?;
            if own.has_port(destination.port()) {
                return Err(Refusal::OwnListener);
            }
            if destination.ip().is_loopback() {
                return Err(Refusal::Loopback);
            }
            Ok(Origin::Redirected(destination))
        }
        // ENOPROTOOPT: a kernel without conntrack, which redirects nothing.
        Err(Errno::ENOENT | Errno::ENOPROTOOPT) if canonical(peer).ip().is_loopback() => {
            Ok(Origin::Direct)
        }
        Err(Errno::ENOENT) => Err(Refusal::Untracked),
        Err(errno) => Err(Refusal::Lookup(errno)),
    }
}

/// The destination that a direct connection asks for, if the policy allows it.
pub fn permit_direct(
    wanted: Option<SocketAddr>,
    config: &Config,
    own: &Own,
) -> Result<SocketAddr, Refusal> {
    if config.direct == Direct::Off {
        return Err(Refusal::DirectOff);
    }
    let destination = canonical(wanted.ok_or(Refusal::NoAddress)?);
    if destination.ip().is_unspecified() {
        return Err(Refusal::NoAddress);
    }
    check_unicast(destination)?;
    own.check(destination)?;
    if config.direct == Direct::Public {
        if !is_global(destination.ip()) || own.has_address(destination.ip()) {
            return Err(Refusal::NotGlobal);
        }
        if !config.ports.contains(&destination.port()) {
            return Err(Refusal::Port);
        }
    }
    Ok(destination)
}

impl Own {
    /// Our `listeners`, and how to ask for the addresses of this host's interfaces.
    pub fn new(listeners: Vec<SocketAddr>, addresses: fn() -> Vec<IpAddr>) -> Self {
        Self { listeners: listeners.into_iter().map(canonical).collect(), addresses }
    }

    /// Refuses what leads back to one of our listeners.
    pub fn check(&self, destination: SocketAddr) -> Result<(), Refusal> {
        let ip = destination.ip();
        let ours = |listener: &SocketAddr| {
            listener.port() == destination.port()
                && (listener.ip() == ip
                    || ip.is_loopback()
                    || (listener.ip().is_unspecified() && self.has_address(ip)))
        };
        if self.listeners.iter().any(ours) { Err(Refusal::OwnListener) } else { Ok(()) }
    }

    fn has_port(&self, port: u16) -> bool {
        self.listeners.iter().any(|listener| listener.port() == port)
    }

    fn has_address(&self, ip: IpAddr) -> bool {
        (self.addresses)().contains(&ip)
    }
}

/// Writes an IPv4-mapped IPv6 address as the IPv4 address that it is.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

fn check_unicast(destination: SocketAddr) -> Result<(), Refusal> {
    let ip = destination.ip();
    if destination.port() == 0
        || ip.is_unspecified()
        || ip.is_multicast()
        || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
    {
        return Err(Refusal::NotUnicast);
    }
    Ok(())
}

/// Whether the address can be the one of a peer on the Internet (the IANA special-purpose
/// registries).
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !V4_SPECIAL.iter().any(|&(net, len)| in_v4(ip, net, len)),
        IpAddr::V6(ip) => {
            let (net, len) = V6_GLOBAL;
            in_v6(ip, net, len) && !V6_SPECIAL.iter().any(|&(net, len)| in_v6(ip, net, len))
        }
    }
}

fn in_v4(ip: Ipv4Addr, net: Ipv4Addr, prefix: u32) -> bool {
    let host_bits = 32 - prefix;
    ip.to_bits() >> host_bits == net.to_bits() >> host_bits
}

fn in_v6(ip: Ipv6Addr, net: Ipv6Addr, prefix: u32) -> bool {
    let host_bits = 128 - prefix;
    ip.to_bits() >> host_bits == net.to_bits() >> host_bits
}

/// The first rule of the redirect answers for these; below port 1024, so that no user can.
const CANARIES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 324),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 324),
];

const V4_SPECIAL: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carrier-grade NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, broadcast
];

/// All that is assigned for global unicast. Outside lie loopback, link-local, site-local, unique
/// local (with CJDNS, the OnionCat range of Tor v2 and the range in which Bitcoin Core encodes
/// names), multicast, and NAT64, which embeds IPv4.
const V6_GLOBAL: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const V6_SPECIAL: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments: Teredo, ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which embeds IPv4
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn own() -> Own {
        Own::new(vec![at("127.0.0.1:1324"), at("[::1]:1324")], || {
            vec!["8.8.8.8".parse().unwrap(), "2a00::8".parse().unwrap()]
        })
    }

    fn classified(answer: Result<&str, Errno>, local: &str, peer: &str) -> Result<Origin, Refusal> {
        classify(answer.map(at), at(local), at(peer), &own())
    }

    fn direct(direct: Direct, wanted: &str) -> Result<SocketAddr, Refusal> {
        permit_direct(Some(at(wanted)), &Config { direct, ..Config::default() }, &own())
    }

    #[test]
    fn a_redirected_connection_goes_where_the_kernel_says() {
        for (destination, local, peer) in [
            ("203.0.113.2:8333", "127.0.0.1:1324", "10.9.0.2:40000"),
            ("[fd00:b324::2]:8333", "[::1]:1324", "[fd00:b324::1]:40000"),
            ("203.0.113.2:2", "127.0.0.1:1324", "127.0.0.1:40000"),
        ] {
            let origin = classified(Ok(destination), local, peer);
            assert_eq!(origin, Ok(Origin::Redirected(at(destination))));
        }
        let mapped =
            classified(Ok("[::ffff:203.0.113.2]:8333"), "[::ffff:127.0.0.1]:1324", "[::1]:4");
        assert_eq!(mapped, Ok(Origin::Redirected(at("203.0.113.2:8333"))));
    }

    #[test]
    fn a_link_local_destination_keeps_its_interface() {
        let scoped =
            SocketAddr::V6(std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 8333, 0, 3));
        let origin = classify(Ok(scoped), at("[::1]:1324"), at("[fe80::2]:4"), &own());
        assert_eq!(origin, Ok(Origin::Redirected(scoped)));
    }

    #[test]
    fn a_direct_connection_is_known_with_and_without_conntrack() {
        for (answer, local, peer) in [
            (Ok("127.0.0.1:1324"), "127.0.0.1:1324", "127.0.0.1:40000"),
            (Ok("[::1]:1324"), "[::1]:1324", "[::1]:40000"),
            (Err(Errno::ENOENT), "127.0.0.1:1324", "127.0.0.1:40000"),
            (Err(Errno::ENOENT), "[::1]:1324", "[::1]:40000"),
            (Err(Errno::ENOENT), "[::ffff:127.0.0.1]:1324", "[::ffff:127.0.0.1]:40000"),
            (Err(Errno::ENOPROTOOPT), "127.0.0.1:1324", "127.0.0.1:40000"),
        ] {
            assert_eq!(classified(answer, local, peer), Ok(Origin::Direct), "{answer:?} {peer}");
        }
    }

    #[test]
    fn a_direct_connection_is_served_only_from_this_host() {
        for (local, peer) in [
            ("8.8.8.8:1324", "8.8.8.8:40000"),
            ("[2a00::8]:1324", "[2a00::8]:40000"),
            ("[::ffff:8.8.8.8]:1324", "[::ffff:8.8.8.8]:40000"),
        ] {
            assert_eq!(classified(Ok(local), local, peer), Ok(Origin::Direct), "{peer}");
        }
        for (local, peer) in [
            ("8.8.8.8:1324", "8.8.8.9:40000"),
            ("192.168.1.5:1324", "192.168.1.6:40000"),
            ("[2a00::8]:1324", "[2a00::9]:40000"),
            ("[::ffff:8.8.8.8]:1324", "[::ffff:8.8.8.9]:40000"),
        ] {
            assert_eq!(classified(Ok(local), local, peer), Err(Refusal::OtherHost), "{peer}");
        }
    }

    #[test]
    fn an_untracked_connection_from_elsewhere_is_refused() {
        let local = "127.0.0.1:1324";
        assert_eq!(
            classified(Err(Errno::ENOENT), local, "10.9.0.2:40000"),
            Err(Refusal::Untracked)
        );
        for errno in [Errno::ENOPROTOOPT, Errno::EPERM] {
            assert_eq!(classified(Err(errno), local, "10.9.0.2:4"), Err(Refusal::Lookup(errno)));
        }
    }

    #[test]
    fn the_canaries_are_known() {
        for canary in ["127.0.0.1:324", "[::1]:324", "[::ffff:127.0.0.1]:324"] {
            assert_eq!(classified(Ok(canary), "127.0.0.1:1324", "127.0.0.1:4"), Ok(Origin::Canary));
        }
    }

    #[test]
    fn a_redirected_connection_never_leads_to_us_or_nowhere() {
        for (destination, refusal) in [
            ("[::1]:1324", Refusal::OwnListener), // the other listener
            ("127.0.0.2:1324", Refusal::OwnListener),
            ("203.0.113.2:1324", Refusal::OwnListener),
            ("127.0.0.1:8333", Refusal::Loopback),
            ("[::1]:8333", Refusal::Loopback),
            ("127.0.0.1:325", Refusal::Loopback),
            ("0.0.0.0:8333", Refusal::NotUnicast),
            ("[::]:8333", Refusal::NotUnicast),
            ("224.0.0.1:8333", Refusal::NotUnicast),
            ("[ff02::1]:8333", Refusal::NotUnicast),
            ("255.255.255.255:8333", Refusal::NotUnicast),
            ("203.0.113.2:0", Refusal::NotUnicast),
        ] {
            let origin = classified(Ok(destination), "127.0.0.1:1324", "10.9.0.2:4");
            assert_eq!(origin, Err(refusal), "{destination}");
        }
    }

    #[test]
    fn a_wildcard_listener_makes_every_address_of_the_host_ours() {
        let own = Own::new(vec![at("0.0.0.0:1324")], || vec!["192.168.1.5".parse().unwrap()]);
        assert_eq!(own.check(at("192.168.1.5:1324")), Err(Refusal::OwnListener));
        assert_eq!(own.check(at("192.168.1.5:8333")), Ok(()));
        assert_eq!(own.check(at("192.168.1.6:1324")), Ok(()));
    }

    #[test]
    fn i2_public_dials_only_the_internet() {
        for ip in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.1.1",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:b324::2]",
            "[2002:7f00:1::]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::808:808]",
            "[fd87:d87e:eb43::1]",
            "[fd6b:88c0:8724::1]",
            "8.8.8.8",
            "[2a00::8]",
            "192.0.0.8",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "240.0.0.1",
            "0.1.2.3",
            "192.88.99.1",
            "[fec0::1]",
            "[2001::1]",
            "[2001:1ff::1]",
            "[2001:db8::1]",
            "[3fff::1]",
            "[::7f00:1]",
            "[100::1]",
            "[5f00::1]",
            "[::ffff:10.0.0.1]",
        ] {
            let answer = direct(Direct::Public, &format!("{ip}:8333"));
            assert_eq!(answer, Err(Refusal::NotGlobal), "{ip}");
        }
        for ip in ["[ff02::1]", "224.0.0.1", "239.1.1.1", "255.255.255.255"] {
            let answer = direct(Direct::Public, &format!("{ip}:8333"));
            assert_eq!(answer, Err(Refusal::NotUnicast), "{ip}");
        }
        for ip in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]"] {
            let answer = direct(Direct::Public, &format!("{ip}:8333"));
            assert_eq!(answer, Err(Refusal::NoAddress), "{ip}");
        }
        for port in [22, 25, 1324, 65535] {
            let answer = direct(Direct::Public, &format!("1.1.1.1:{port}"));
            assert_eq!(answer, Err(Refusal::Port), "{port}");
        }
        assert_eq!(direct(Direct::Public, "1.1.1.1:0"), Err(Refusal::NotUnicast));
    }

    #[test]
    fn public_dials_the_internet_on_the_configured_ports() {
        for wanted in [
            "1.1.1.1:8333",
            "172.32.0.1:18333",
            "100.128.0.1:38333",
            "198.20.0.1:48333",
            "[2a00::1]:8333",
            "[2001:200::1]:18444",
            "[2620::1]:8333",
        ] {
            assert_eq!(direct(Direct::Public, wanted), Ok(at(wanted)));
        }
        assert_eq!(direct(Direct::Public, "[::ffff:1.1.1.1]:8333"), Ok(at("1.1.1.1:8333")));
    }

    #[test]
    fn any_dials_all_unicast_but_ourselves() {
        for wanted in ["127.0.0.1:5", "[::1]:8333", "10.0.0.1:22", "[fe80::1]:8333", "8.8.8.8:8333"]
        {
            assert_eq!(direct(Direct::Any, wanted), Ok(at(wanted)));
        }
        for wanted in ["127.0.0.1:1324", "[::1]:1324", "[::ffff:127.0.0.1]:1324"] {
            assert_eq!(direct(Direct::Any, wanted), Err(Refusal::OwnListener), "{wanted}");
        }
        assert_eq!(direct(Direct::Any, "224.0.0.1:8333"), Err(Refusal::NotUnicast));
        assert_eq!(direct(Direct::Any, "127.0.0.1:0"), Err(Refusal::NotUnicast));
    }

    #[test]
    fn i1_off_dials_nothing() {
        assert_eq!(direct(Direct::Off, "1.1.1.1:8333"), Err(Refusal::DirectOff));
    }

    #[test]
    fn a_version_without_address_names_no_destination() {
        assert_eq!(permit_direct(None, &Config::default(), &own()), Err(Refusal::NoAddress));
    }
}
