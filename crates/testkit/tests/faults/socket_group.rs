//! H8: which of a process's groups, and when, makes a connection one of the group's.

use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::PORT;
use bip324_testkit::prerequisite::client_gid;
use bip324_testkit::process::output;
use bip324_testkit::rules;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use nix::unistd::{Gid, setfsgid};

/// The kernel notes the group when the socket is made; what the process does later changes nothing.
#[test]
fn h8_the_group_at_the_time_of_the_socket_counts() -> Result<()> {
    let (ours, others) = (client_gid()?, Gid::from_raw(0));
    for (made_as, connected_as, redirected) in
        [(others, ours, false), (ours, others, true), (ours, ours, true), (others, others, false)]
    {
        with_listeners(|lab| {
            let socket = lab.host.run(|| {
                setfsgid(made_as);
                let socket = tcp_socket()?;
                setfsgid(connected_as);
                connect(socket.as_raw_fd(), &peer())?;
                Ok(socket)
            })?;
            require(lab, redirected, &format!("made as {made_as}, connected as {connected_as}"))?;
            drop(socket);
            Ok(())
        })?;
    }
    Ok(())
}

/// The effective group counts. The real one alone does not, nor does a supplementary one.
#[test]
fn h8_the_effective_group_counts() -> Result<()> {
    for (groups, redirected) in [
        ("--egid=bip324 --clear-groups", true),
        ("--regid=bip324 --clear-groups", true),
        ("--rgid=bip324 --clear-groups", false),
        ("--groups=bip324", false),
    ] {
        with_listeners(|lab| {
            // -p: otherwise bash itself gives up an effective group that is not the real one.
            let bash = format!("exec 3<>/dev/tcp/{}/{PORT}", Family::V4.peer());
            let words = [&["setpriv"], &groups.split(' ').collect::<Vec<_>>()[..]].concat();
            let words = [&words[..], &["bash", "-pc", &bash]].concat();
            let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
            output(lab.command(&lab.host, Identity::Root, &words)?)?;
            require(lab, redirected, groups)
        })?;
    }
    Ok(())
}

/// Listeners where the daemon would be and at the peer, so that a connection succeeds either way.
fn with_listeners(test: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let daemon = lab.host.run(|| Ok(TcpListener::bind(("127.0.0.1", 1324))?))?;
        let peer = lab.peer.run(|| Ok(TcpListener::bind((Family::V4.peer(), PORT))?))?;
        test(lab)?;
        drop((daemon, peer));
        Ok(())
    })
}

fn require(lab: &Lab, redirected: bool, what: &str) -> Result<()> {
    let counted = rules::counted(lab, "nat_output")?;
    ensure!((counted > 0) == redirected, "{what}: {counted} connections were redirected");
    Ok(())
}

fn tcp_socket() -> Result<OwnedFd> {
    socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).context("socket")
}

fn peer() -> SockaddrIn {
    let std::net::IpAddr::V4(ip) = Family::V4.peer() else { unreachable!() };
    SockaddrIn::from(SocketAddrV4::new(ip, PORT))
}
