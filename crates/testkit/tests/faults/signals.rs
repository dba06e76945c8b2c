//! F11: the daemon is told to stop while sessions carry data. F10 is in `fail_closed.rs`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bip324_testkit::peer::{End, Wire};
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::sys::signal::Signal;

use crate::scene::*;

/// What is under way arrives, whole and in order, and both sides get a FIN; nobody new is accepted.
#[test]
fn f11_data_in_flight_arrives_before_the_end() -> Result<()> {
    const BLOCKS: usize = 8;
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        let block = vec![0xF1; 1_000_000];
        let blocks = message("block", &block)?.repeat(BLOCKS);
        let receive = async {
            // The first one shows that the others are on their way.
            ensure!(session.message().await?.1 == block);
            scene.daemon.signal(Signal::SIGTERM)?;
            scene.wait_for_log("stopping")?;
            // The line comes before the listeners are closed.
            let peer = scene.peer.address()?;
            wait_for("new clients to be refused", PATIENCE, || {
                Ok(Wire::redirected(scene.lab, peer).is_err().then_some(()))
            })?;
            for number in 1..BLOCKS {
                ensure!(session.message().await?.1 == block, "block {number}");
            }
            ensure!(session.wire.rest().await? == (vec![], End::Fin));
            session.wire.finish().await
        };
        let send = async {
            client.write(&blocks).await?;
            client.finish().await?;
            ensure!(client.rest().await? == (vec![], End::Fin));
            Ok(())
        };
        tokio::try_join!(receive, send)?;
        let status = scene.daemon.wait_for_end(Duration::from_secs(5))?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
}

/// A session that does not end by itself is closed when the drain is over: 10 s.
#[test]
fn f11_the_drain_has_a_limit() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        let start = Instant::now();
        scene.daemon.signal(Signal::SIGTERM)?;
        assert_served(&mut client, &mut session).await?;
        let status = scene.daemon.wait_for_end(PATIENCE)?;
        let took = start.elapsed().as_secs();
        ensure!(status.success() && (9..13).contains(&took), "{status} after {took} s");
        client.rest().await?;
        session.wire.rest().await.map(drop)
    })
}
