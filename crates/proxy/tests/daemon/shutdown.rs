//! F11: how the daemon ends.

use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_proxy::{Config, Timeouts};
use bip324_testkit::peer::{End, within};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::*;

fn draining_for(drain: Duration) -> Config {
    let timeouts = Timeouts { drain, ..Timeouts::default() };
    Config { timeouts, ..Config::default() }
}

#[tokio::test]
async fn f11_without_sessions_it_ends_at_once() -> Result<()> {
    let mut daemon = Daemon::start_default().await?;
    daemon.stop();
    within("the daemon to end", &mut daemon.task).await???;
    ensure!(TcpStream::connect(daemon.address).await.is_err(), "it still listens");
    Ok(())
}

#[tokio::test]
async fn f11_sessions_may_end_by_themselves() -> Result<()> {
    let mut daemon = Daemon::start(draining_for(millis(60_000))).await?;
    let (mut client, mut session) = daemon.open().await?;
    daemon.stop();
    refuses_connections(&daemon).await?;
    assert_served(&mut client, &mut session).await?;
    ensure!(!daemon.task.is_finished(), "it ended before its session");

    client.finish().await?;
    ensure!(session.wire.rest().await? == (vec![], End::Fin));
    session.wire.finish().await?;
    ensure!(client.rest().await? == (vec![], End::Fin));
    within("the daemon to end", &mut daemon.task).await???;
    Ok(())
}

#[tokio::test]
async fn f11_what_does_not_end_is_closed() -> Result<()> {
    let mut daemon = Daemon::start(draining_for(millis(300))).await?;
    let (mut client, mut session) = daemon.open().await?;
    // One more, whose peer never answers.
    let node = daemon.node().await?;
    let mut waiting = daemon.connect(&node).await?;
    waiting.write(&version_message()).await?;
    let mut silent = node.accept().await?;

    let start = Instant::now();
    daemon.stop();
    within("the daemon to end", &mut daemon.task).await???;
    let took = start.elapsed();
    ensure!((millis(290)..millis(1500)).contains(&took), "{took:?}");
    for wire in [&mut client, &mut session.wire, &mut waiting, &mut silent] {
        wire.rest().await?;
    }
    daemon.wait_until_idle().await
}

/// The listener is gone: a connection either fails or is reset by it.
async fn refuses_connections(daemon: &Daemon) -> Result<()> {
    within("the listener to close", async {
        while TcpStream::connect(daemon.address).await.is_ok() {
            tokio::time::sleep(millis(5)).await;
        }
    })
    .await
}
