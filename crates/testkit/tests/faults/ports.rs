//! Source ports that connection tracking still remembers from another connection to the same peer: the
//! kernel applies no nat rule to the first packet of such a connection.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Result, ensure};
use bip324_testkit::namespace::Family;
use bip324_testkit::peer::Wire;
use bip324_testkit::prerequisite::client_gid;
use bip324_testkit::process::output;
use socket2::{Domain, Socket, Type};

use crate::scene::*;

/// A client comes by the port that the daemon had. The guard refuses it, or it is redirected; it never
/// speaks to anybody else.
#[test]
fn h4_a_client_with_a_port_that_the_daemon_had() -> Result<()> {
    scene(&[], async |scene| {
        for _ in 0..5 {
            let (mut client, session) = scene.open().await?;
            let port = session.wire.stream.peer_addr()?.port();
            session.wire.reset()?;
            client.rest().await?;

            let result = from_port(scene, port);
            let Ok(mut client) = result else { continue };
            client.write(&message("version", &[0; 86])?).await?;
            let mut session = scene.peer.session(MAGIC).await?;
            ensure!(session.message().await?.1 == [0; 86]);
        }
        Ok(())
    })
}

/// The daemon comes by the port that a client had, and is redirected to itself: there it looks like a
/// client that speaks v2, is spliced through, and has another port the next time. The client is served
/// or refused.
#[test]
fn h4_the_daemon_with_a_port_that_a_client_had() -> Result<()> {
    scene(&[], async |scene| {
        for port in [40000, 40002] {
            let mut client = from_port(scene, port)?;
            client.write(&message("verack", &[])?).await?;
            assert_refused(&mut client).await?;
        }
        // The kernel tries the even ones first.
        let mut sysctl = scene.lab.host.command("sysctl");
        sysctl.args(["-w", "net.ipv4.ip_local_port_range=40000 40003"]);
        output(sysctl)?;
        let mut client = from_port(scene, 50000)?;
        client.write(&message("version", &[0; 86])?).await?;
        tokio::select! {
            session = scene.peer.session(MAGIC) => {
                let mut session = session?;
                ensure!(session.message().await?.1 == [0; 86]);
                assert_served(&mut client, &mut session).await
            }
            refused = client.rest() => {
                ensure!(refused?.0.is_empty());
                Ok(())
            }
        }
    })
}

/// As [`Wire::redirected`], from this port.
fn from_port(scene: &Scene<'_>, port: u16) -> Result<Wire> {
    let std::net::IpAddr::V4(host) = Family::V4.host() else { unreachable!() };
    let to = scene.peer.address()?;
    let connect = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::V4(SocketAddrV4::new(host, port)).into())?;
        socket.connect(&to.into())?;
        socket.set_nonblocking(true)?;
        Ok(std::net::TcpStream::from(socket))
    };
    let stream = scene.lab.host.run_as_group(client_gid()?, connect)?;
    Wire::new(tokio::net::TcpStream::from_std(stream)?)
}
