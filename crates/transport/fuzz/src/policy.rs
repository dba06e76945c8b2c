//! The daemon's decisions about untrusted bytes and addresses: how a client starts, where a
//! connection was going, and whom a direct one may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use arbitrary::Arbitrary;
use bip324_proxy::destination::{Origin, Own, Refusal, canonical, classify, permit_direct};
use bip324_proxy::sniff::{NotVersion, Start, decide};
use bip324_proxy::{Config, Direct, Errno};
use bip324_transport::command::Command;
use bip324_transport::v1::KNOWN_MAGICS;

use crate::script;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    answer: Result<Address, bool>,
    local: Address,
    peer: Address,
    wanted: Option<Address>,
    opening: &'a [u8],
}

/// An address with one of the ports that matter, or any.
#[derive(Debug, Arbitrary)]
struct Address {
    ip: Ip,
    port: Port,
    scope: u8,
}

#[derive(Debug, Arbitrary)]
enum Ip {
    V4([u8; 4]),
    V6([u16; 8]),
    Mapped([u8; 4]),
    Loopback,
    Loopback6,
    Own,
    /// See [`edge`].
    Edge(u8, u8),
}

#[derive(Debug, Arbitrary)]
enum Port {
    Listener,
    Bitcoin,
    Canary,
    Any(u16),
}

/// See the three parts.
pub fn run(data: &[u8]) {
    let Some(input) = script::<Input<'_>>(data) else { return };
    check_opening(input.opening);
    check_origin(&input);
    check_direct(input.wanted.as_ref().map(Address::to_socket));
}

/// Decided at byte 16 at the latest and never otherwise after, V1 only for VERSION, and nothing
/// that could be v1 passes as v2.
fn check_opening(opening: &[u8]) {
    let mut settled = None;
    for length in 0..=opening.len().min(64) {
        let decision = decide(&opening[..length]);
        if settled.is_none() && decision != Ok(None) {
            settled = Some(decision);
        }
        assert_eq!(settled.unwrap_or(Ok(None)), decision, "at {length} bytes");
        assert!(length < 16 || settled.is_some());
        assert!(length >= 16 || matches!(decision, Ok(None) | Err(NotVersion)));
    }
    let Some((magic, rest)) = opening.split_first_chunk::<4>() else { return };
    let Some(command) = rest.first_chunk::<12>().map(|bytes| Command::from_bytes(*bytes)) else {
        return;
    };
    let known = KNOWN_MAGICS.iter().any(|network| network.to_bytes() == *magic);
    match settled {
        Some(Ok(Some(Start::V1(network)))) => {
            assert_eq!((network.to_bytes(), command), (*magic, Command::VERSION));
        }
        Some(Ok(Some(Start::V2))) => assert!(!known && !command.is_known()),
        _ => assert!(command != Command::VERSION && (known || command.is_valid())),
    }
}

/// A redirected connection leads to a unicast address and never back, and IPv4 is IPv4 however it
/// is written.
fn check_origin(input: &Input<'_>) {
    let answer = input.answer.as_ref().map(Address::to_socket);
    let answer = answer.map_err(|&other| if other { Errno::EINVAL } else { Errno::ENOENT });
    let (local, peer) = (input.local.to_socket(), input.peer.to_socket());
    let origin = classify(answer, local, peer, &own());
    match origin {
        Ok(Origin::Redirected(to)) => {
            assert_eq!(answer.map(canonical), Ok(to));
            assert!(is_unicast(to) && to.port() != LISTENER && !to.ip().is_loopback());
        }
        Ok(Origin::Direct) => match answer {
            Ok(to) => assert!(canonical(to) == canonical(local) && is_from_here(peer)),
            Err(errno) => assert!(errno == Errno::ENOENT && canonical(peer).ip().is_loopback()),
        },
        Ok(Origin::Canary) => {
            let to = canonical(answer.unwrap());
            assert!(to.port() == CANARY && to.ip().is_loopback());
        }
        Err(Refusal::OtherHost) => assert!(!is_from_here(peer)),
        Err(_) => {}
    }
    assert_eq!(classify(answer.map(mapped), mapped(local), mapped(peer), &own()), origin);
}

/// Only what is globally routable, has a Bitcoin port and is not this host; with `any`, not the
/// daemon; with `off`, nothing.
fn check_direct(wanted: Option<SocketAddr>) {
    let permit =
        |direct, wanted| permit_direct(wanted, &Config { direct, ..Config::default() }, &own());
    assert_eq!(permit(Direct::Off, wanted), Err(Refusal::DirectOff));
    let public = permit(Direct::Public, wanted);
    let any = permit(Direct::Any, wanted);
    if let Ok(to) = public {
        assert!(is_public(to.ip()), "{to}");
        assert!(Config::default().ports.contains(&to.port()));
        assert!(!own_addresses().contains(&to.ip()));
        assert_eq!(any, public, "what public permits, any does");
    }
    if let Ok(to) = any {
        assert_eq!(wanted.map(canonical), Some(to));
        assert!(is_unicast(to) && !(to.port() == LISTENER && to.ip().is_loopback()));
    }
    assert_eq!(permit(Direct::Public, wanted.map(mapped)), public);
    assert_eq!(permit(Direct::Any, wanted.map(mapped)), any);
}

impl Address {
    fn to_socket(&self) -> SocketAddr {
        let port = match self.port {
            Port::Listener => LISTENER,
            Port::Bitcoin => 8333,
            Port::Canary => CANARY,
            Port::Any(port) => port,
        };
        match self.ip {
            Ip::V4(ip) => SocketAddr::from((ip, port)),
            Ip::V6(ip) => SocketAddrV6::new(ip.into(), port, 0, u32::from(self.scope)).into(),
            Ip::Mapped(ip) => mapped(SocketAddr::from((ip, port))),
            Ip::Loopback => SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            Ip::Loopback6 => SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
            Ip::Edge(range, side) => SocketAddr::new(edge(range, side), port),
            Ip::Own => SocketAddr::new(own_addresses()[usize::from(self.scope) % 2], port),
        }
    }
}

fn own() -> Own {
    let listeners = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    Own::new(listeners.map(|ip| SocketAddr::new(ip, LISTENER)).to_vec(), own_addresses)
}

fn own_addresses() -> Vec<IpAddr> {
    vec![Ipv4Addr::new(8, 8, 8, 8).into(), Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, 8).into()]
}

/// IPv4 written the other way.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::from((ip.to_ipv6_mapped(), address.port())),
        IpAddr::V6(_) => address,
    }
}

fn is_from_here(peer: SocketAddr) -> bool {
    let ip = canonical(peer).ip();
    ip.is_loopback() || own_addresses().contains(&ip)
}

fn is_unicast(to: SocketAddr) -> bool {
    let broadcast = to.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
    to.port() != 0 && !to.ip().is_unspecified() && !to.ip().is_multicast() && !broadcast
}

/// The IANA registries once more, as ranges: nothing of the daemon's tables of prefixes is in here.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !RESERVED
            .iter()
            .any(|&(first, last)| (Ipv4Addr::from(first)..=Ipv4Addr::from(last)).contains(&ip)),
        IpAddr::V6(ip) => {
            !RESERVED_6.iter().any(|&(first, last)| (first..=last).contains(&ip.to_bits()))
        }
    }
}

/// The first or last address of a reserved range, or its neighbour outside.
fn edge(range: u8, side: u8) -> IpAddr {
    let (first, last) = match usize::from(range).checked_sub(RESERVED.len()) {
        None => {
            let (first, last) = RESERVED[usize::from(range)];
            let bits = |ip: [u8; 4]| u128::from(u32::from_be_bytes(ip));
            (bits(first), bits(last))
        }
        Some(range) => RESERVED_6[range % RESERVED_6.len()],
    };
    let bits = match side % 4 {
        0 => first,
        1 => last,
        2 => first.wrapping_sub(1),
        _ => last.wrapping_add(1),
    };
    match u32::try_from(bits) {
        Ok(bits) if usize::from(range) < RESERVED.len() => Ipv4Addr::from(bits).into(),
        _ => Ipv6Addr::from(bits).into(),
    }
}

const RESERVED: [([u8; 4], [u8; 4]); 14] = [
    ([0, 0, 0, 0], [0, 255, 255, 255]),
    ([10, 0, 0, 0], [10, 255, 255, 255]),
    ([100, 64, 0, 0], [100, 127, 255, 255]),
    ([127, 0, 0, 0], [127, 255, 255, 255]),
    ([169, 254, 0, 0], [169, 254, 255, 255]),
    ([172, 16, 0, 0], [172, 31, 255, 255]),
    ([192, 0, 0, 0], [192, 0, 0, 255]),
    ([192, 0, 2, 0], [192, 0, 2, 255]),
    ([192, 88, 99, 0], [192, 88, 99, 255]),
    ([192, 168, 0, 0], [192, 168, 255, 255]),
    ([198, 18, 0, 0], [198, 19, 255, 255]),
    ([198, 51, 100, 0], [198, 51, 100, 255]),
    ([203, 0, 113, 0], [203, 0, 113, 255]),
    ([224, 0, 0, 0], [255, 255, 255, 255]),
];

const RESERVED_6: [(u128, u128); 6] = [
    (0, (0x2000 << 112) - 1),
    (0x2001 << 112, (0x2001_0200 << 96) - 1),
    (0x2001_0db8 << 96, (0x2001_0db9 << 96) - 1),
    (0x2002 << 112, (0x2003 << 112) - 1),
    (0x3fff << 112, (0x3fff_1000 << 96) - 1),
    (0x4000 << 112, u128::MAX),
];

const LISTENER: u16 = 1324;
const CANARY: u16 = 324;
