//! F5, H4, H7, H9: keepalive, a forgotten connection, IPv6, and clients in other namespaces.

use std::fs;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::capture::Capture;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::{Family, WIRE};
use bip324_testkit::node::PORT;
use bip324_testkit::peer::{End, Peer};
use bip324_testkit::prerequisite::client_gid;
use bip324_testkit::process::{finish, output};
use bip324_testkit::rules;
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::libc;
use nix::sys::socket::{SockaddrStorage, getpeername, getsockopt, sockopt};

use crate::scene::*;

/// On both sockets of a session of the running daemon. `scripts/soak` waits for what they bring about.
#[test]
fn f5_both_sockets_are_set_to_find_a_black_hole() -> Result<()> {
    scene(&[], async |scene| {
        let _session = scene.open().await?;
        let mut connected = 0;
        for entry in fs::read_dir(format!("/proc/{}/fd", scene.daemon.id()))? {
            let number = entry?.file_name().to_string_lossy().parse()?;
            let descriptor = descriptor_of(scene.daemon.id(), number)?;
            let to: Result<SockaddrStorage, _> = getpeername(descriptor.as_raw_fd());
            if to.is_ok_and(|to| to.as_sockaddr_in().is_some()) {
                connected += 1;
                ensure!(getsockopt(&descriptor, sockopt::KeepAlive)?);
                ensure!(getsockopt(&descriptor, sockopt::TcpKeepIdle)? == 120);
                ensure!(getsockopt(&descriptor, sockopt::TcpKeepInterval)? == 30);
                ensure!(getsockopt(&descriptor, sockopt::TcpUserTimeout)? == 20 * 60 * 1000);
                ensure!(getsockopt(&descriptor, sockopt::TcpNoDelay)?);
            }
        }
        ensure!(connected == 2, "{connected} connected sockets");
        Ok(())
    })
}

/// A copy of a descriptor of another process.
fn descriptor_of(process: u32, number: i32) -> Result<OwnedFd> {
    // SAFETY: these calls take numbers alone, and the descriptors that they return are nobody else's.
    unsafe {
        let id = libc::syscall(libc::SYS_pidfd_open, process, 0);
        ensure!(id >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        let process = OwnedFd::from_raw_fd(i32::try_from(id)?);
        let copy = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0);
        ensure!(copy >= 0, "pidfd_getfd: {}", std::io::Error::last_os_error());
        Ok(OwnedFd::from_raw_fd(i32::try_from(copy)?))
    }
}

/// The kernel forgets the redirect and the next word is the peer's: CLOSE on both sides, and nothing
/// of it on the wire. Where it is the client's, the session goes on: `fail_closed.rs` has that.
#[test]
fn h4_a_session_ends_when_the_peer_speaks_first_after_a_flush() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        assert_served(&mut client, &mut session).await?;
        let mut flush = scene.lab.host.command("conntrack");
        flush.arg("-F");
        output(flush)?;
        session.send_message("inv", &[1; 61]).await?;
        session.wire.rest().await?;
        // What the client says now meets no session any more.
        let _ = client.write(&message("inv", &[1; 61])?).await;
        ensure!(client.rest().await?.1 == End::Reset, "the client's end");
        let (mut client, mut session) = scene.open().await?;
        assert_served(&mut client, &mut session).await
    })
}

#[test]
fn h7_ipv6() -> Result<()> {
    scene(&[], async |scene| {
        let peer = Peer::in_lab(scene.lab, Family::V6.peer())?;
        let (mut client, mut session) = peer.open(scene.lab, MAGIC).await?;
        ensure!(session.wire.stream.peer_addr()?.ip() == Family::V6.host());
        assert_served(&mut client, &mut session).await
    })
}

/// A destination with a scope keeps the socket to that device, which no redirect changes: the client
/// gets no connection, and nothing leaves the host.
#[test]
fn h7_a_link_local_destination_is_never_reached() -> Result<()> {
    Lab::run(|lab| {
        let peer = link_local(lab, &lab.peer)?;
        let listener = lab.peer.run(|| Ok(std::net::TcpListener::bind("[::]:8333")?))?;
        let reach = |lab: &Lab, group| {
            lab.host.run_as_group(group, || {
                let scope = nix::net::if_::if_nametoindex(WIRE)?;
                let to = SocketAddr::V6(SocketAddrV6::new(peer, PORT, 0, scope));
                Ok(TcpStream::connect_timeout(&to, Duration::from_secs(3)).map(drop))
            })
        };
        rules::up(lab)?;
        let _daemon = bip324_testkit::daemon::Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;
        let refused = reach(lab, client_gid()?)?;
        ensure!(refused.is_err(), "the client was connected");
        capture.stop()?.require_silence()?;
        // Others reach it: it is there.
        reach(lab, nix::unistd::Gid::from_raw(0))?.context("without the group")?;
        drop(listener);
        Ok(())
    })
}

fn link_local(lab: &Lab, namespace: &bip324_testkit::namespace::Namespace) -> Result<Ipv6Addr> {
    // Usable on both ends only when duplicate detection is over.
    for end in [&lab.host, &lab.peer] {
        wait_for("duplicate detection to end", PATIENCE, || {
            let mut command = end.command("ip");
            command.args(["-6", "addr", "show", "dev", WIRE, "scope", "link"]);
            let text = String::from_utf8(output(command)?.stdout)?;
            Ok((text.contains("fe80::") && !text.contains("tentative")).then_some(()))
        })?;
    }
    let mut command = namespace.command("ip");
    command.args(["-6", "-o", "addr", "show", "dev", WIRE, "scope", "link"]);
    let text = String::from_utf8(output(command)?.stdout)?;
    let address = text.split_whitespace().find_map(|word| word.strip_suffix("/64"));
    Ok(address.context("no link-local address")?.parse()?)
}

/// A client in a network namespace of its own, as a container's, is not redirected by the host's
/// rules; `check` says so in there.
#[test]
fn h9_check_fails_in_another_network_namespace() -> Result<()> {
    silent_scene(&[], async |scene| {
        let lab = scene.lab;
        let check = [lab.built("bip324-setup")?, "check".to_owned()];
        let outside = finish(lab.command(&lab.host, Identity::Setpriv, &check)?)?;
        ensure!(outside.status.success(), "on the host: {outside:?}");
        let inside = finish(lab.command(&lab.peer, Identity::Setpriv, &check)?)?;
        let said = String::from_utf8([inside.stdout, inside.stderr].concat())?;
        ensure!(!inside.status.success(), "in the other namespace: {said}");
        ensure!(said.contains("nothing listens on") || said.contains("no rules"), "{said}");

        // Nor are its connections: this one ends at the peer's own listener, as it is.
        let connect = || Ok(TcpStream::connect((Family::V4.peer(), PORT))?);
        let _client = lab.peer.run_as_group(client_gid()?, connect)?;
        scene.peer.accept().await?;
        ensure!(rules::counted(lab, "nat_output")? <= CANARIES, "it was redirected");
        Ok(())
    })
}

/// What `check` itself has redirected: one for each family.
const CANARIES: u64 = 2;
