//! H2, I1, I2: other users of the host, who connect to the daemon itself.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bip324_testkit::daemon;
use bip324_testkit::namespace::{Namespace, WIRE};
use bip324_testkit::node::PORT;
use bip324_testkit::peer::{Peer, Wire, version_to};
use bip324_testkit::process::output;

use crate::scene::*;

/// Some other user connects, and names `wanted` as the peer; it is refused, with a reset.
pub(crate) async fn stranger(scene: &Scene<'_>, wanted: SocketAddr) -> Result<()> {
    let mut client = connect(scene)?;
    client.write(&message("version", &version_to(wanted))?).await?;
    assert_refused(&mut client).await.with_context(|| format!("who wanted {wanted}"))
}

fn connect(scene: &Scene<'_>) -> Result<Wire> {
    Wire::direct(scene.lab, SocketAddr::from((Ipv4Addr::LOCALHOST, daemon::PORT)))
}

/// Who names no peer has none; with `--direct off` nobody is even listened to.
#[test]
fn i1_a_stranger_is_refused() -> Result<()> {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    silent_scene(&[], async |scene| {
        stranger(scene, nowhere).await?;
        stranger(scene, scene.peer.address()?).await?;
        let mut native = connect(scene)?;
        native.write(&[0x77; 64]).await?;
        assert_refused(&mut native).await
    })?;
    silent_scene(&["--direct", "off"], async |scene| {
        match connect(scene) {
            Ok(mut silent) => assert_refused(&mut silent).await,
            // Even before connect(2) has returned.
            Err(error) => {
                let kind = error.downcast_ref().map(io::Error::kind);
                ensure!(kind == Some(io::ErrorKind::ConnectionReset), "{error:#}");
                Ok(())
            }
        }
    })
}

/// Where `--direct any` lets a stranger name loopback, the daemon itself is still refused, and dialled
/// by nobody.
#[test]
fn h2_a_stranger_cannot_lead_the_daemon_to_itself() -> Result<()> {
    silent_scene(&["--direct", "any"], async |scene| {
        let sent = sent_by_the_host(scene)?;
        for ip in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            stranger(scene, SocketAddr::new(ip.parse()?, daemon::PORT)).await?;
        }
        let more = sent_by_the_host(scene)? - sent;
        ensure!(more == 0, "{more} connections were tried");
        Ok(())
    })
}

/// None of these is dialled; the last ones are addresses of this host and ports other than Bitcoin's.
#[test]
fn i2_a_stranger_reaches_no_address_that_is_not_globally_routable() -> Result<()> {
    silent_scene(&[], async |scene| {
        give(&scene.lab.host, OWN)?;
        let sent = sent_by_the_host(scene)?;
        for ip in REFUSED {
            stranger(scene, SocketAddr::new(ip.parse()?, PORT)).await?;
        }
        for port in [0, 22, 25, 1324, 8332] {
            stranger(scene, SocketAddr::new(PUBLIC.parse()?, port)).await?;
        }
        for port in [PORT, daemon::PORT] {
            stranger(scene, SocketAddr::new(OWN.parse()?, port)).await?;
        }
        let more = sent_by_the_host(scene)? - sent;
        ensure!(more == 0, "{more} connections were tried");
        Ok(())
    })
}

/// A global address on a Bitcoin port is dialled: the test above can fail.
#[test]
fn i2_a_stranger_reaches_a_global_address() -> Result<()> {
    scene(&[], async |scene| {
        give(&scene.lab.peer, PUBLIC)?;
        let mut route = scene.lab.host.command("ip");
        route.args(["route", "add", PUBLIC, "dev", WIRE]);
        output(route)?;
        let peer = Peer::in_lab(scene.lab, PUBLIC.parse()?)?;
        let sent = sent_by_the_host(scene)?;
        let mut client = connect(scene)?;
        client.write(&message("version", &version_to(peer.address()?))?).await?;
        let mut session = peer.session(MAGIC).await?;
        session.message().await?;
        assert_served(&mut client, &mut session).await?;
        ensure!(sent_by_the_host(scene)? > sent, "the count does not count");
        Ok(())
    })
}

fn give(namespace: &Namespace, ip: &str) -> Result<()> {
    let mut command: Command = namespace.command("ip");
    command.args(["addr", "add", ip, "dev", WIRE]);
    output(command).map(drop)
}

/// Connections that were begun in the host's namespace, those of the test's clients (one each, to
/// the daemon) left out: the kernel's ActiveOpens less PassiveOpens.
fn sent_by_the_host(scene: &Scene<'_>) -> Result<i64> {
    let mut command = scene.lab.host.command("cat");
    command.arg("/proc/net/snmp");
    let text = String::from_utf8(output(command)?.stdout)?;
    let mut rows = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = rows.next().context("no TCP counts")?.split(' ');
    let values = rows.next().context("no TCP counts")?.split(' ');
    let value = |wanted| {
        let mut pairs = names.clone().zip(values.clone());
        let (_, value) = pairs.find(|(name, _)| *name == wanted).context("no such count")?;
        Ok::<i64, anyhow::Error>(value.parse()?)
    };
    Ok(value("ActiveOpens")? - value("PassiveOpens")?)
}

/// Of the host and of the peer in these tests.
const OWN: &str = "9.9.9.9";
const PUBLIC: &str = "8.8.4.4";

const REFUSED: [&str; 24] = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "203.0.113.2",
    "198.18.0.1",
    "240.0.0.1",
    "fe80::1",
    "fc00::1",
    "fd00:b324::2",
    "ff02::1",
    "224.0.0.1",
    "255.255.255.255",
    "2002:7f00:1::",
    "64:ff9b::127.0.0.1",
    // OnionCat.
    "fd87:d87e:eb43::1",
    "2001:db8::1",
];
