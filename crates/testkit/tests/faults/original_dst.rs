//! H1: what this kernel answers to SO_ORIGINAL_DST, in every situation that the daemon may meet.
//!
//! Here the tests listen where the daemon would, and ask both options on each accepted socket.

use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream,
};

use anyhow::{Result, ensure};
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::PORT;
use bip324_testkit::prerequisite::client_gid;
use bip324_testkit::process::output;
use bip324_testkit::{daemon, rules};
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

/// An answer, or the errno instead.
type Answer = Result<SocketAddr, Errno>;

/// The answers of SOL_IP and of SOL_IPV6.
type Answers = (Answer, Answer);

const NO_SUCH_ENTRY: Answer = Err(Errno::ENOENT);
/// Of the IPv6 option on an AF_INET socket.
const NOT_IPV6: Answer = Err(Errno::ENOTSUP);

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[test]
fn h1_direct_without_connection_tracking() -> Result<()> {
    Lab::run(|lab| {
        for (ip, expected) in
            [(V4, (NO_SUCH_ENTRY, NOT_IPV6)), (V6, (NO_SUCH_ENTRY, NO_SUCH_ENTRY))]
        {
            let listener = listen(lab, ip)?;
            let client = direct(lab, ip)?;
            expect(&listener, expected, &format!("direct to {ip}"))?;
            drop(client);
        }
        Ok(())
    })
}

/// The daemon's own address: that is how a direct connection looks where any rule tracks.
#[test]
fn h1_direct_with_connection_tracking() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        for (ip, expected) in
            [(V4, (Ok(daemon_at(V4)), NOT_IPV6)), (V6, (NO_SUCH_ENTRY, Ok(daemon_at(V6))))]
        {
            let listener = listen(lab, ip)?;
            let client = direct(lab, ip)?;
            expect(&listener, expected, &format!("direct to {ip}"))?;
            drop(client);
        }
        Ok(())
    })
}

#[test]
fn h1_redirected() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        for (ip, family, expected) in [
            (V4, Family::V4, (Ok(destination(Family::V4)), NOT_IPV6)),
            (V6, Family::V6, (NO_SUCH_ENTRY, Ok(destination(Family::V6)))),
        ] {
            let listener = listen(lab, ip)?;
            let client = redirected(lab, family)?;
            expect(&listener, expected, &format!("redirected to {ip}"))?;
            drop(client);
        }
        Ok(())
    })
}

#[test]
fn h1_redirected_to_a_dual_stack_listener() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let listener = listen(lab, IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
        for (family, expected) in [
            (Family::V4, (Ok(destination(Family::V4)), NO_SUCH_ENTRY)),
            (Family::V6, (NO_SUCH_ENTRY, Ok(destination(Family::V6)))),
        ] {
            let client = redirected(lab, family)?;
            expect(&listener, expected, &format!("{family:?} on [::]"))?;
            drop(client);
        }
        // As Java connects: an IPv4 destination through an IPv6 socket.
        let IpAddr::V4(ip) = Family::V4.peer() else { unreachable!() };
        let to = SocketAddr::new(ip.to_ipv6_mapped().into(), PORT);
        let client = lab.host.run_as_group(client_gid()?, || Ok(TcpStream::connect(to)?))?;
        expect(&listener, (Ok(destination(Family::V4)), NO_SUCH_ENTRY), "v4-mapped on [::]")?;
        drop(client);
        Ok(())
    })
}

/// The kernel looks in the default zone alone.
#[test]
fn h1_redirected_in_a_conntrack_zone() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        rules::nft(lab, "add table inet zone")?;
        for hook in ["output", "prerouting"] {
            let chain = format!("add chain inet zone {hook}");
            rules::nft(lab, &format!("{chain} {{ type filter hook {hook} priority -300 ; }}"))?;
            rules::nft(lab, &format!("add rule inet zone {hook} ct zone set 5"))?;
        }
        for (ip, family, v6_option) in [(V4, Family::V4, NOT_IPV6), (V6, Family::V6, NO_SUCH_ENTRY)]
        {
            let listener = listen(lab, ip)?;
            let client = redirected(lab, family)?;
            expect(&listener, (NO_SUCH_ENTRY, v6_option), &format!("zone 5, {family:?}"))?;
            drop(client);
        }
        Ok(())
    })
}

/// The table of connections is emptied before the daemon asks; and a client that is gone already, by
/// a reset or in order, has not taken the answer with it.
#[test]
fn h1_redirected_and_then_flushed_reset_or_closed() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let listener = listen(lab, V4)?;
        let real = Ok(destination(Family::V4));

        let client = redirected(lab, Family::V4)?;
        let mut flush = lab.host.command("conntrack");
        flush.arg("-F");
        output(flush)?;
        expect(&listener, (NO_SUCH_ENTRY, NOT_IPV6), "after conntrack -F")?;
        drop(client);

        let client = redirected(lab, Family::V4)?;
        nix::sys::socket::setsockopt(
            &client,
            sockopt::Linger,
            &nix::libc::linger { l_onoff: 1, l_linger: 0 },
        )?;
        drop(client);
        expect(&listener, (real, NOT_IPV6), "after the client's reset")?;

        drop(redirected(lab, Family::V4)?);
        expect(&listener, (real, NOT_IPV6), "after the client's FIN")
    })
}

/// Accepts one connection and asks.
fn expect(listener: &TcpListener, expected: Answers, what: &str) -> Result<()> {
    let (stream, _) = listener.accept()?;
    let v4 = getsockopt(&stream, sockopt::OriginalDst).map(|address| {
        let ip = u32::from_be(address.sin_addr.s_addr).into();
        SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into()
    });
    let v6 = getsockopt(&stream, sockopt::Ip6tOriginalDst).map(|address| {
        let ip = address.sin6_addr.s6_addr.into();
        SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, 0).into()
    });
    ensure!((v4, v6) == expected, "{what}: {v4:?} and {v6:?}, not {expected:?}");
    Ok(())
}

fn listen(lab: &Lab, ip: IpAddr) -> Result<TcpListener> {
    lab.host.run(|| Ok(TcpListener::bind(daemon_at(ip))?))
}

fn direct(lab: &Lab, ip: IpAddr) -> Result<TcpStream> {
    lab.host.run(|| Ok(TcpStream::connect(daemon_at(ip))?))
}

fn redirected(lab: &Lab, family: Family) -> Result<TcpStream> {
    lab.host.run_as_group(client_gid()?, || Ok(TcpStream::connect(destination(family))?))
}

const fn daemon_at(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, daemon::PORT)
}

const fn destination(family: Family) -> SocketAddr {
    SocketAddr::new(family.peer(), PORT)
}
