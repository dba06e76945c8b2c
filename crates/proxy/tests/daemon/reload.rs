//! Other settings while the daemon runs: what they change for new sessions, and that old ones go on.

use anyhow::{Result, ensure};
use bip324_proxy::stats::Reason;
use bip324_proxy::{Config, Direct, Fallback};
use bip324_testkit::peer::{End, Wire};

use crate::harness::*;

/// A client that was not redirected and asks for this node.
async fn ask_for(daemon: &Daemon, node: &Node) -> Result<Wire> {
    let mut client = daemon.connect_direct().await?;
    client.write(&message("version", &version_to(node.public, "/light:1.0/"))).await?;
    Ok(client)
}

async fn assert_reset(client: Result<Wire>) -> Result<()> {
    // So early, perhaps, that connect(2) tells of it.
    if let Ok(mut client) = client {
        ensure!(client.rest().await? == (vec![], End::Reset));
    }
    Ok(())
}

#[tokio::test]
async fn the_direct_policy_is_another_one_for_new_sessions() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let mut old = ask_for(&daemon, &node).await?;
    let mut session = node.session(MAGIC).await?;
    ensure!(session.message().await?.0 == command("version"));

    daemon.reload(Config { direct: Direct::Off, ..Config::default() });
    assert_reset(daemon.connect_direct().await).await?;
    ensure!(daemon.stats.refused(Reason::NotRedirected) == 1);
    assert_served(&mut old, &mut session).await?;

    daemon.reload(Config { ports: vec![1], ..Config::default() });
    assert_reset(ask_for(&daemon, &node).await).await?;
    ensure!(daemon.stats.refused(Reason::Destination) == 1);

    daemon.reload(Config { direct: Direct::Any, ports: vec![1], ..Config::default() });
    let _client = ask_for(&daemon, &node).await?;
    ensure!(node.session(MAGIC).await?.message().await?.0 == command("version"));
    Ok(())
}

#[tokio::test]
async fn max_sessions_rises_and_falls() -> Result<()> {
    let of = |max_sessions| Config { max_sessions, ..Config::default() };
    let daemon = Daemon::start(of(1)).await?;
    let (mut client, mut session) = daemon.open().await?;
    let node = daemon.node().await?;
    assert_reset(daemon.connect(&node).await).await?;

    daemon.reload(of(3));
    let others = [daemon.open().await?, daemon.open().await?];
    assert_reset(daemon.connect(&node).await).await?;

    daemon.reload(of(2));
    assert_served(&mut client, &mut session).await?;
    assert_reset(daemon.connect(&node).await).await?;
    drop(others);
    eventually("two sessions to end", || daemon.stats.sessions().len() == 1).await?;
    let _second = daemon.open().await?;
    assert_reset(daemon.connect(&node).await).await?;
    ensure!(daemon.stats.refused(Reason::Full) == 4);
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn max_direct_per_user_rises_and_falls() -> Result<()> {
    let of = |max_direct_per_user| Config { max_direct_per_user, ..Config::default() };
    let daemon = Daemon::start(of(1)).await?;
    let _first = daemon.connect_direct_as(Some(1000)).await?;
    assert_reset(daemon.connect_direct_as(Some(1000)).await).await?;
    daemon.reload(of(2));
    let _second = daemon.connect_direct_as(Some(1000)).await?;
    assert_reset(daemon.connect_direct_as(Some(1000)).await).await?;
    daemon.reload(of(1));
    assert_reset(daemon.connect_direct_as(Some(1000)).await).await?;
    ensure!(daemon.stats.refused(Reason::UserFull) == 3);
    Ok(())
}

#[tokio::test]
async fn max_memory_falls_and_rises() -> Result<()> {
    let of = |max_memory| Config { max_memory, ..Config::default() };
    let daemon = Daemon::start(of(64 << 20)).await?;
    let (mut client, mut session) = daemon.open().await?;
    daemon.reload(of(1));
    // It is told to the memory by a task of its own.
    let node = daemon.node().await?;
    while daemon.stats.refused(Reason::Memory) == 0 {
        drop(daemon.connect(&node).await);
    }
    daemon.reload(of(64 << 20));
    eventually("room again", || daemon.stats.sessions().len() == 1).await?;
    loop {
        let refused = daemon.stats.refused(Reason::Memory);
        let opened = daemon.open().await;
        if daemon.stats.refused(Reason::Memory) == refused {
            let (mut client, mut session) = opened?;
            assert_served(&mut client, &mut session).await?;
            break;
        }
    }
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn fallback_and_passthrough_are_others_for_new_sessions() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    daemon.reload(fallback_to_v1());
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()).await?;
    // A peer of v1 that closes at once is dialled again.
    node.accept().await?.finish().await?;
    let mut plain = node.accept().await?;
    ensure!(plain.message(MAGIC).await? == (command("version"), version()));

    daemon.reload(Config { passthrough: false, fallback: Fallback::Reject, ..Config::default() });
    let mut client = daemon.connect(&node).await?;
    client.write(&[0x5a; 64]).await?;
    assert_refused(&mut client).await?;
    ensure!(daemon.stats.refused(Reason::PassthroughOff) == 1);
    Ok(())
}
