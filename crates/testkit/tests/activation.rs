//! H6: who gets the port while the daemon is down, with and without a service manager that holds
//! its listeners.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, ensure};
use bip324_testkit::activation::Notifications;
use bip324_testkit::capture::Capture;
use bip324_testkit::daemon::{Daemon, PORT};
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::prerequisite::client_user;
use bip324_testkit::rules;
use bip324_testkit::v1::V1Client;
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::sys::signal::Signal;
use nix::unistd::setfsuid;
use socket2::{Domain, Socket, Type};

const NETWORK: Network = Network::Regtest;

/// The control: what the held listeners are for.
#[test]
fn h6_without_activation_any_user_takes_the_port_and_reads_the_clients() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        Daemon::start(lab, &[])?.end(Signal::SIGKILL)?;
        for family in Family::BOTH {
            let hijacker = hijack(lab, loopback(family), false)?;
            let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
            client.write(&client.version())?;
            let mut magic = [0; 4];
            hijacker.accept()?.0.read_exact(&mut magic)?;
            ensure!(magic == NETWORK.magic(), "{magic:02x?}");
        }
        Ok(())
    })
}

#[test]
fn h6_the_port_of_a_daemon_that_is_down_stays_its_own_and_its_clients_wait() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let [v4, v6] = hold(lab)?;
        let manager = Notifications::open(lab.folder())?;
        let start = || Daemon::start_passed(lab, &[v4.as_fd(), v6.as_fd()], &manager);
        let capture = Capture::start(lab)?;
        let mut daemon = start()?;
        for signal in [Signal::SIGKILL, Signal::SIGTERM] {
            daemon.end(signal)?;
            require_held(lab)?;
            let mut waiting = Vec::new();
            for family in Family::BOTH.repeat(5) {
                let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
                client.write(&client.version())?;
                waiting.push(client);
            }
            daemon = start()?;
            for client in &mut waiting {
                client.finish_handshake()?;
                client.ping(1)?;
            }
            require_held(lab)?;
        }
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// Restarts under load: sessions may be cut, but no client is refused.
#[test]
fn h6_no_client_is_refused_while_the_daemon_restarts() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let [v4, v6] = hold(lab)?;
        let manager = Notifications::open(lab.folder())?;
        let start = || Daemon::start_passed(lab, &[v4.as_fd(), v6.as_fd()], &manager);
        let capture = Capture::start(lab)?;
        let daemon = start()?;
        let over = AtomicBool::new(false);
        let (restarted, loads) = thread::scope(|scope| {
            let over = &over;
            let loads = Family::BOTH.map(|family| scope.spawn(move || load(lab, family, over)));
            let restarted = restart(daemon, start);
            over.store(true, Relaxed);
            (restarted, loads.map(|load| load.join().unwrap()))
        });
        restarted?;
        for load in loads {
            let (served, cut) = load?;
            ensure!(served > 0, "none served, {cut} cut");
        }
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// Ends the daemon and starts another, several times. Each serves somebody.
fn restart<'lab>(mut daemon: Daemon<'lab>, start: impl Fn() -> Result<Daemon<'lab>>) -> Result<()> {
    for signal in [Signal::SIGKILL, Signal::SIGTERM].repeat(3) {
        daemon.end(signal)?;
        daemon = start()?;
        let before = daemon.session_ids()?.len();
        wait_for("a session", PATIENCE, || {
            Ok((daemon.session_ids()?.len() > before).then_some(()))
        })?;
    }
    Ok(())
}

/// Connects until it is `over`, and fails where a connection is refused. Returns how many clients
/// were served and how many cut.
fn load(lab: &Lab, family: Family, over: &AtomicBool) -> Result<(u32, u32)> {
    let (mut served, mut cut) = (0, 0);
    while !over.load(Relaxed) {
        let mut client = V1Client::redirected(lab, NETWORK, family.peer())
            .with_context(|| format!("after {served} served and {cut} cut"))?;
        match client.handshake().and_then(|()| client.ping(1)) {
            Ok(()) => served += 1,
            Err(_) => cut += 1,
        }
    }
    Ok((served, cut))
}

/// The daemon's listeners, as a service manager opens them.
fn hold(lab: &Lab) -> Result<[TcpListener; 2]> {
    let listen = |family| lab.host.run(|| Ok(TcpListener::bind((loopback(family), PORT))?));
    Ok([listen(Family::V4)?, listen(Family::V6)?])
}

/// A listener of another user on the daemon's port.
fn hijack(lab: &Lab, ip: IpAddr, share: bool) -> Result<TcpListener> {
    let user = client_user()?.uid;
    let address = SocketAddr::new(ip, PORT);
    lab.host.run(|| {
        // Of this thread alone, which ends with the closure.
        setfsuid(user);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(share)?;
        socket.bind(&address.into())?;
        socket.listen(8)?;
        Ok(socket.into())
    })
}

/// Another user gets the port by no address and no option.
fn require_held(lab: &Lab) -> Result<()> {
    let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    for ip in Family::BOTH.map(loopback).into_iter().chain(wildcards) {
        for share in [false, true] {
            let error = hijack(lab, ip, share).err().with_context(|| format!("took {ip}"))?;
            let kind = error.downcast::<std::io::Error>()?.kind();
            ensure!(kind == ErrorKind::AddrInUse, "{ip}: {kind}");
        }
    }
    Ok(())
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}
