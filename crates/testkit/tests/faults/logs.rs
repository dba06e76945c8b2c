//! F17, I5: what the daemon's log holds at its default level, and how much of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::PORT;
use bip324_testkit::peer::Wire;

use crate::local_users;
use crate::scene::*;

/// At most five lines of each kind in ten seconds: here three kinds, 1800 connections.
#[test]
fn f17_a_flood_of_connections_is_no_flood_of_log_lines() -> Result<()> {
    scene_with(quiet, async |scene| {
        let start = Instant::now();
        let nobody = std::net::SocketAddr::new(Family::V4.address(2), PORT);
        // At its first address nobody listens any more.
        scene.peer = scene.another_peer(3)?;
        for _ in 0..600 {
            for (to, first) in [(nobody, "version"), (nobody, "verack")] {
                let mut client = Wire::redirected(scene.lab, to)?;
                client.write(&message(first, &[0; 86])?).await?;
                assert_refused(&mut client).await?;
            }
            local_users::stranger(scene, nobody).await?;
        }
        let windows = start.elapsed().as_secs() / 10 + 2;
        let log = scene.daemon.log()?;
        let lines = log.lines().filter(|line| line.contains("refused")).count() as u64;
        ensure!(lines >= 3 && lines <= 3 * 5 * windows, "{lines} lines, {windows} windows:\n{log}");
        ensure!(start.elapsed() < Duration::from_secs(60), "took {:?}", start.elapsed());
        Ok(())
    })
}

/// No address but the daemon's own listeners, no session id, nothing that clients or peers said.
#[test]
fn i5_the_log_names_no_address_and_no_session() -> Result<()> {
    scene_with(quiet, async |scene| {
        let (mut client, mut session) = scene.open().await?;
        assert_served(&mut client, &mut session).await?;
        let (mut refused, mut hostile) = scene.meet().await?;
        hostile.wire.write(&[0xAA; 64 + 4111]).await?;
        assert_refused(&mut refused).await?;
        local_users::stranger(scene, scene.peer.address()?).await?;
        scene.wait_for_log("refused")?;

        let log = scene.daemon.log()?;
        // Without the times, in which any digits turn up.
        let lines: Vec<_> = log.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        ensure!(lines.len() == log.lines().count(), "a line without its time:\n{log}");
        let log = lines.join("\n");
        let rest = log.replace("listening on 127.0.0.1:1324, [::1]:1324", "");
        ensure!(rest.len() < log.len(), "no line about the listeners:\n{log}");
        let port = client.stream.local_addr()?.port();
        for secret in [
            session.id.to_string(),
            scene.peer.address()?.ip().to_string(),
            Family::V4.host().to_string(),
            format!(":{port}"),
            "127.0.0.1".to_owned(),
            "8333".to_owned(),
            "to the peer".to_owned(),
        ] {
            ensure!(!rest.contains(&secret), "{secret} is in the log:\n{log}");
        }
        Ok(())
    })
}

/// The same at level debug does name them: the test above can fail.
#[test]
fn i5_the_debug_log_does() -> Result<()> {
    scene(&[], async |scene| {
        let (_client, session) = scene.open().await?;
        scene.wait_for_log(&session.id.to_string())?;
        scene.wait_for_log(&scene.peer.address()?.to_string())
    })
}

fn quiet(lab: &bip324_testkit::lab::Lab) -> Result<Daemon<'_>> {
    Daemon::start_quietly(lab, &[])
}
