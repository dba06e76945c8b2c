//! H and I: loops, strangers, and where nobody may send the daemon.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bip324_proxy::stats::Reason;
use bip324_proxy::{Config, Direct, Errno};
use bip324_testkit::peer::{End, Wire};

use crate::harness::*;

fn direct(direct: Direct) -> Config {
    Config { direct, ..Config::default() }
}

/// A client that was not redirected, and asks for `destination` in its VERSION.
async fn ask_for(daemon: &Daemon, destination: SocketAddr) -> Result<Wire> {
    let mut client = daemon.connect_direct().await?;
    client.write(&message("version", &version_to(destination, "/light:1.0/"))).await?;
    Ok(client)
}

#[tokio::test]
async fn i1_direct_off_refuses_a_stranger_before_it_speaks() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Off)).await?;
    let mut client = daemon.connect_direct().await?;
    ensure!(client.rest().await? == (vec![], End::Reset));
    let node = daemon.node().await?;
    let mut client = ask_for(&daemon, node.public).await?;
    assert_refused(&mut client).await?;
    ensure!(daemon.dials().is_empty());
    ensure!(daemon.stats.refused(Reason::NotRedirected) == 2);
    // With any conntrack rule on the host, the kernel answers with our own address instead.
    let mut client = daemon.connect_as(Some(Ok(daemon.address))).await?;
    ensure!(client.rest().await? == (vec![], End::Reset));
    // The redirected are served.
    let (mut client, mut session) = daemon.open().await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn i2_direct_public_dials_no_address_that_is_not_globally_routable() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Public)).await?;
    for ip in NOT_GLOBAL {
        let destination = SocketAddr::new(ip.parse()?, 8333);
        let mut client = ask_for(&daemon, destination).await?;
        assert_refused(&mut client).await?;
        ensure!(daemon.dials().is_empty(), "{ip} was dialled");
    }
    ensure!(daemon.stats.refused(Reason::Destination) == NOT_GLOBAL.len() as u64);
    Ok(())
}

#[tokio::test]
async fn i2_direct_public_dials_no_other_port() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Public)).await?;
    for port in [0, 22, 25, 80, 443, 8332, 8334, 65535] {
        for ip in ["8.8.8.8", "2a00::8"] {
            let mut client = ask_for(&daemon, SocketAddr::new(ip.parse()?, port)).await?;
            assert_refused(&mut client).await?;
            ensure!(daemon.dials().is_empty(), "port {port} was dialled");
        }
    }
    Ok(())
}

#[tokio::test]
async fn i2_direct_public_serves_a_public_address() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Public)).await?;
    let node = daemon.node().await?;
    let v6 = "[2a00:1450::5]:18333".parse()?;
    daemon.network.set_route(v6, Route::To(node.address()?));
    for destination in [node.public, v6] {
        let mut client = ask_for(&daemon, destination).await?;
        let mut session = node.session(MAGIC).await?;
        let expected = version_to(destination, "/light:1.0/");
        ensure!(session.message().await? == (command("version"), expected), "not unchanged");
        assert_served(&mut client, &mut session).await?;
    }
    ensure!(daemon.dials() == [node.public, v6]);
    Ok(())
}

#[tokio::test]
async fn i2_direct_any_serves_loopback_but_never_the_daemon_itself() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Any)).await?;
    let node = daemon.node().await?;
    daemon.network.set_route(node.address()?, Route::To(node.address()?));
    let mut client = ask_for(&daemon, node.address()?).await?;
    let mut session = node.session(MAGIC).await?;
    session.message().await?;
    assert_served(&mut client, &mut session).await?;

    let port = daemon.address.port();
    for ip in ["127.0.0.1", "127.0.0.2", "::1", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255"] {
        let mut client = ask_for(&daemon, SocketAddr::new(ip.parse()?, port)).await?;
        assert_refused(&mut client).await?;
    }
    ensure!(daemon.dials() == [node.address()?]);
    Ok(())
}

#[tokio::test]
async fn i2_a_stranger_cannot_use_the_splice() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Any)).await?;
    let mut client = daemon.connect_direct().await?;
    client.write(&[0x77; 64]).await?;
    assert_refused(&mut client).await?;
    // A VERSION that ends before addr_recv names no destination.
    let mut client = daemon.connect_direct().await?;
    client.write(&message("version", &version()[..45])).await?;
    assert_refused(&mut client).await?;
    ensure!(daemon.dials().is_empty());
    Ok(())
}

#[tokio::test]
async fn h2_a_redirect_that_leads_back_is_refused() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let port = daemon.address.port();
    for destination in ["127.0.0.2", "::1", "::ffff:127.0.0.3"] {
        let destination = SocketAddr::new(destination.parse()?, port);
        let mut client = daemon.connect_to(destination).await?;
        let _ = client.write(&version_message()).await;
        assert_refused(&mut client).await?;
    }
    ensure!(daemon.dials().is_empty());
    ensure!(daemon.stats.refused(Reason::Destination) == 3);
    Ok(())
}

#[tokio::test]
async fn h2_a_connection_that_ends_at_the_daemon_or_at_itself_is_dropped() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for route in [Route::To(daemon.address), Route::ToItself] {
        let destination = daemon.network.add_route(route);
        let mut client = daemon.connect_to(destination).await?;
        client.write(&version_message()).await?;
        assert_refused(&mut client).await?;
    }
    ensure!(daemon.dials().len() == 2);
    ensure!(daemon.stats.refused(Reason::Destination) == 2);
    Ok(())
}

#[tokio::test]
async fn h3_without_the_kernel_s_answer_nothing_is_dialled() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for errno in [Errno::EINVAL, Errno::EPERM, Errno::ENOTCONN] {
        let mut client = daemon.connect_as(Some(Err(errno))).await?;
        let _ = client.write(&version_message()).await;
        assert_refused(&mut client).await?;
    }
    ensure!(daemon.dials().is_empty());
    ensure!(daemon.stats.refused(Reason::Untracked) == 3);
    Ok(())
}

#[tokio::test]
async fn destinations_of_redirected_connections_may_have_any_port() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let destination = "10.1.2.3:39388".parse()?;
    daemon.network.set_route(destination, Route::To(node.address()?));
    // addr_recv says something else, and nobody asks it.
    let mut client = daemon.connect_to(destination).await?;
    client.write(&message("version", &version_to("8.8.8.8:8333".parse()?, "/x/"))).await?;
    node.session(MAGIC).await?;
    ensure!(daemon.dials() == [destination]);
    Ok(())
}

#[tokio::test]
async fn h7_a_client_over_ipv6_is_served() -> Result<()> {
    let daemon = Daemon::start_on("::1", direct(Direct::Off)).await?;
    let node = daemon.node().await?;
    let destination = "[fd00:b324::2]:8333".parse()?;
    daemon.network.set_route(destination, Route::To(node.address()?));
    let mut client = daemon.connect_to(destination).await?;
    client.write(&version_message()).await?;
    let mut session = node.session(MAGIC).await?;
    ensure!(session.message().await? == (command("version"), version()));
    assert_served(&mut client, &mut session).await?;
    ensure!(daemon.dials() == [destination]);
    let mut stranger = daemon.connect_direct().await?;
    ensure!(stranger.rest().await? == (vec![], End::Reset));
    Ok(())
}

#[tokio::test]
async fn the_canary_is_answered_with_one_line() -> Result<()> {
    let daemon = Daemon::start(direct(Direct::Off)).await?;
    for canary in ["127.0.0.1:324", "[::1]:324"] {
        assert_answers_canary(&daemon, canary).await?;
    }
    ensure!(daemon.stats.canaries() == 2 && daemon.dials().is_empty());
    Ok(())
}

#[tokio::test]
async fn the_canary_is_answered_when_all_sessions_are_taken() -> Result<()> {
    let daemon = Daemon::start(Config { max_sessions: 1, ..Config::default() }).await?;
    let (mut client, mut session) = daemon.open().await?;
    let node = daemon.node().await?;
    assert_refused(&mut daemon.connect(&node).await?).await?;
    assert_answers_canary(&daemon, "127.0.0.1:324").await?;
    ensure!(daemon.stats.refused(Reason::Full) == 1);
    assert_served(&mut client, &mut session).await
}

async fn assert_answers_canary(daemon: &Daemon, canary: &str) -> Result<()> {
    let mut client = daemon.connect_to(canary.parse()?).await?;
    let (line, end) = client.rest().await?;
    let line = String::from_utf8(line)?;
    ensure!(line.starts_with("bip324-proxy ") && line.ends_with(" canary\n"), "{line:?}");
    ensure!(line.lines().count() == 1 && end == End::Fin);
    Ok(())
}

/// What a VERSION's addr_recv may not make the daemon dial: loopback, private, shared, link-local,
/// multicast, reserved, and what embeds or encodes another address.
const NOT_GLOBAL: [&str; 36] = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "10.0.0.1",
    "10.255.255.255",
    "::ffff:10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.2",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:b324::2",
    "ff00::1",
    "ff02::1",
    "2002:7f00:1::",
    "64:ff9b::127.0.0.1",
    // OnionCat and the range in which Bitcoin Core encodes names.
    "fd87:d87e:eb43::1",
    "fd6b:88c0:8724::1",
    "2001:db8::1",
    "::127.0.0.1",
];
