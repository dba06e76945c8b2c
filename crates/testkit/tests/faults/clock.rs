//! F14: the calendar jumps; what the daemon does by the clock does not notice.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::{Wire, within};
use tokio::time::{Instant, sleep};

use crate::scene::*;
use crate::shim::shimmed_scene;

const DAY: i32 = 24 * 60 * 60;

/// Sessions go on, and the daemon's log shows that its calendar has jumped indeed.
#[test]
fn f14_sessions_survive_a_jump_of_the_clock() -> Result<()> {
    shimmed_scene(&[], async |scene, shim| {
        let (mut client, mut session) = scene.open().await?;
        let mut days = vec![last_day(&scene.daemon.log()?)?];
        for shift in [DAY, -DAY] {
            shim.shift_clock(shift)?;
            assert_served(&mut client, &mut session).await?;
            let (mut new, mut peer) = scene.open().await?;
            assert_served(&mut new, &mut peer).await?;
            days.push(last_day(&scene.daemon.log()?)?);
        }
        ensure!(days[0] != days[1] && days[1] != days[2], "the clock has not jumped: {days:?}");
        assert_served(&mut client, &mut session).await
    })
}

/// The deadline of a silent peer neither comes early nor late.
#[test]
fn f14_deadlines_do_not_follow_the_calendar() -> Result<()> {
    shimmed_scene(&[], async |scene, shim| {
        for shift in [DAY, -DAY] {
            shim.shift_clock(0)?;
            let (mut client, _silent) = scene.meet().await?;
            let start = Instant::now();
            sleep(Duration::from_millis(500)).await;
            shim.shift_clock(shift)?;
            assert_refused(&mut client).await?;
            let took = start.elapsed().as_millis();
            ensure!((2500..4500).contains(&took), "shifted by {shift} s: refused after {took} ms");
        }
        Ok(())
    })
}

/// A peer that spoke v2 is pinned for a day of uptime, whatever the calendar says.
#[test]
fn f14_pins_do_not_follow_the_calendar() -> Result<()> {
    shimmed_scene(&["--fallback", "v1"], async |scene, shim| {
        drop(scene.open().await?);
        shim.shift_clock(2 * DAY)?;
        let mut client = Wire::redirected(scene.lab, scene.peer.address()?)?;
        client.write(&message("version", &[0; 86])?).await?;
        // The peer, or somebody on the way, behaves as if it spoke v1 alone.
        drop(scene.peer.meet(MAGIC).await?);
        within("the refusal", assert_refused(&mut client)).await??;
        scene.wait_for_log("possible downgrade")
    })
}

/// The date on the last line.
fn last_day(log: &str) -> Result<String> {
    let line = log.lines().last().context("an empty log")?;
    Ok(line.split('T').next().unwrap_or_default().to_owned())
}
