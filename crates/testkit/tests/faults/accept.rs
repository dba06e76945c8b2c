//! F12, F13: accept fails for want of descriptors or memory, or because a client is gone already.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::identity::Identity;
use bip324_testkit::peer::{Session, Wire, within};
use bip324_testkit::process::output;
use nix::errno::Errno;
use tokio::time::{Instant, sleep};

use crate::scene::*;
use crate::shim::shimmed_scene;

/// Without descriptors the daemon neither spins nor ends, serves those that it has, and accepts
/// again as soon as it can.
#[test]
fn f12_emfile_while_running() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        limit_descriptors(scene, free_descriptor(scene, 0)?)?;
        let mut waiting = Wire::redirected(scene.lab, scene.peer.address()?)?;
        waiting.write(&message("version", &[0; 86])?).await?;
        scene.wait_for_log("cannot accept connections")?;
        serve_without_spinning(scene, (&mut client, &mut session)).await?;

        limit_descriptors(scene, ENOUGH)?;
        let mut late = scene.peer.session(MAGIC).await?;
        ensure!(late.message().await?.1 == [0; 86]);
        assert_served(&mut waiting, &mut late).await
    })
}

/// One descriptor is enough for the client and not for its peer: it is refused as it would be where
/// the peer cannot be reached.
#[test]
fn f12_emfile_while_dialling() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        limit_descriptors(scene, free_descriptor(scene, 1)?)?;
        let mut unlucky = Wire::redirected(scene.lab, scene.peer.address()?)?;
        unlucky.write(&message("version", &[0; 86])?).await?;
        assert_refused(&mut unlucky).await?;
        assert_served(&mut client, &mut session).await?;
        limit_descriptors(scene, ENOUGH)?;
        let (mut client, mut session) = scene.open().await?;
        assert_served(&mut client, &mut session).await
    })
}

/// Every client is served in the end, whatever accept says first.
#[test]
fn f13_accept_fails_now_and_then() -> Result<()> {
    shimmed_scene(&[], async |scene, shim| {
        let (mut client, mut session) = scene.open().await?;
        for errno in FAILURES {
            shim.fail_accept(errno, 3)?;
            let (mut late, mut peer) = scene.open().await?;
            ensure!(shim.failures_left()? == 0, "accept did not fail with {errno}");
            assert_served(&mut late, &mut peer).await?;
            assert_served(&mut client, &mut session).await?;
        }
        let lines = scene.daemon.log()?.matches("cannot accept connections").count();
        ensure!(lines == 1, "{lines} lines for one episode");
        Ok(())
    })
}

/// No spinning while it goes on failing, and no end of the daemon.
#[test]
fn f13_accept_goes_on_failing() -> Result<()> {
    shimmed_scene(&[], async |scene, shim| {
        for errno in FAILURES {
            let (mut client, mut session) = scene.open().await?;
            shim.fail_accept(errno, i32::MAX)?;
            let mut waiting = Wire::redirected(scene.lab, scene.peer.address()?)?;
            waiting.write(&message("version", &[0; 86])?).await?;
            eventually("accept to fail", || Ok(shim.failures_left()? < i32::MAX)).await?;
            serve_without_spinning(scene, (&mut client, &mut session)).await?;
            let calls = i32::MAX - shim.failures_left()?;
            ensure!(calls < 20, "{calls} calls of accept in less than 3 s of {errno}");

            shim.fail_accept(errno, 0)?;
            let mut late = scene.peer.session(MAGIC).await?;
            ensure!(late.message().await?.1 == [0; 86]);
            assert_served(&mut waiting, &mut late).await?;
        }
        Ok(())
    })
}

/// For a second and a half an established session is served, at little processor time.
async fn serve_without_spinning(
    scene: &Scene<'_>,
    (client, session): (&mut Wire, &mut Session),
) -> Result<()> {
    let (start, before) = (Instant::now(), scene.daemon.vitals()?.processor);
    while start.elapsed() < Duration::from_millis(1500) {
        within("service", assert_served(client, session)).await??;
        sleep(Duration::from_millis(50)).await;
    }
    let used = scene.daemon.vitals()?.processor - before;
    ensure!(used < Duration::from_millis(400), "{used:?} of processor time while accept fails");
    Ok(())
}

/// The number of a free descriptor of the daemon, of which this many come before it.
fn free_descriptor(scene: &Scene<'_>, before: usize) -> Result<usize> {
    let folder = format!("/proc/{}/fd", scene.daemon.id());
    let free = (0..).filter(|number| !Path::new(&folder).join(number.to_string()).is_symlink());
    free.take(before + 1).last().context("no free descriptor")
}

/// Descriptors below `count` may be used.
fn limit_descriptors(scene: &Scene<'_>, count: usize) -> Result<()> {
    let pid = format!("--pid={}", scene.daemon.id());
    // The soft limit alone, as the daemon's own user: that needs no privilege.
    let words = ["prlimit".to_owned(), pid, format!("--nofile={count}:")];
    output(scene.lab.command(&scene.lab.host, Identity::Daemon, &words)?).map(drop)
}

const ENOUGH: usize = 1024;

const FAILURES: [Errno; 4] = [Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::ECONNABORTED];
