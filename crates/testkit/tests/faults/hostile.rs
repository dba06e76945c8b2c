//! F6, F7, F8, G2: peers that dawdle, flood or announce.

use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_testkit::peer::{Wire, within};
use tokio::time::{Instant, sleep, timeout};

use crate::scene::*;

/// CLOSE 10 s after the first byte, however many follow: a deadline, not a limit per read.
#[test]
fn f6_a_byte_a_second_does_not_stretch_the_handshake() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.meet().await?;
        let bytes = session.opening(&[7; 100]);
        let drip = async {
            let start = Instant::now();
            for byte in bytes {
                if session.wire.write(&[byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
            start.elapsed()
        };
        let refused = async {
            let start = Instant::now();
            timeout(2 * HANDSHAKE, client.stream.readable()).await??;
            assert_refused(&mut client).await?;
            Ok::<_, anyhow::Error>(start.elapsed())
        };
        let (refused, dripped) = tokio::join!(refused, drip);
        let limits = HANDSHAKE - Duration::from_secs(1)..HANDSHAKE + Duration::from_secs(2);
        let refused = refused?;
        ensure!(limits.contains(&refused), "the client was refused after {refused:?}");
        ensure!(
            dripped < limits.end + Duration::from_secs(2),
            "the peer was heard for {dripped:?}"
        );
        Ok(())
    })
}

/// CLOSE at byte 4111, with nothing kept of what follows; others are served.
#[test]
fn f7_garbage_without_end() -> Result<()> {
    scene(&[], async |scene| {
        let (mut other_client, mut other_session) = scene.open().await?;
        let before = scene.daemon.vitals()?.memory;
        for _ in 0..10 {
            let (mut client, mut session) = scene.meet().await?;
            let mut taken = 0;
            while session.wire.write(&[0xAA; 65536]).await.is_ok() {
                taken += 65536;
                ensure!(taken < 16 << 20, "16 MiB of garbage were taken");
            }
            assert_refused(&mut client).await?;
        }
        let used = scene.daemon.vitals()?.memory.saturating_sub(before);
        ensure!(used < 1024, "{used} KiB for garbage");
        assert_served(&mut other_client, &mut other_session).await
    })
}

/// CLOSE at the handshake's deadline; others are served meanwhile.
#[test]
fn f8_decoys_without_end_meet_the_handshake_s_deadline() -> Result<()> {
    scene(&[], async |scene| {
        let (mut other_client, mut other_session) = scene.open().await?;
        let before = scene.daemon.vitals()?.memory;
        let (mut client, mut session) = scene.meet().await?;
        session.wire.write(&[&session.key[..], &session.terminator].concat()).await?;
        let (start, mut most) = (Instant::now(), 0);
        loop {
            let decoy = session.seal.packet(0x80, &[0; 4000]);
            if session.wire.write(&decoy).await.is_err() {
                break;
            }
            ensure!(start.elapsed() < 2 * HANDSHAKE, "decoys stretch the handshake");
            assert_served(&mut other_client, &mut other_session).await?;
            most = most.max(scene.daemon.vitals()?.memory);
            // As fast as possible would be too much for the capture.
            sleep(Duration::from_millis(1)).await;
        }
        ensure!(start.elapsed() > HANDSHAKE - Duration::from_secs(1), "{:?}", start.elapsed());
        ensure!(most.saturating_sub(before) < 1024, "{} KiB for decoys", most - before);
        assert_refused(&mut client).await
    })
}

/// No memory growth, and the client gets what comes between.
#[test]
fn f8_decoys_later_cost_nothing_and_hide_nothing() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        let before = scene.daemon.vitals()?.memory;
        for _ in 0..200 {
            for _ in 0..10 {
                let decoy = session.seal.packet(0x80, &[0; 10_000]);
                session.wire.write(&decoy).await?;
            }
            assert_served(&mut client, &mut session).await?;
        }
        let used = scene.daemon.vitals()?.memory.saturating_sub(before);
        ensure!(used < 1024, "{used} KiB for 20 MB of decoys");
        Ok(())
    })
}

/// Memory follows what has arrived, not what was announced: 100 peers and clients announce the
/// longest legal message. The daemon may read 256 KiB ahead of what has arrived.
#[test]
fn g2_announcing_the_longest_message_costs_nothing() -> Result<()> {
    const SESSIONS: usize = 100;
    scene(&[], async |scene| {
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(scene.open().await?);
        }
        let before = scene.daemon.vitals()?.memory;
        let mut announced = message("block", &[])?;
        announced[16..20].copy_from_slice(&4_000_000u32.to_le_bytes());
        let mut most = 0;
        for (client, session) in &mut sessions {
            client.write(&announced).await?;
            let length = session.seal.length(4_000_001);
            session.wire.write(&length).await?;
        }
        for _ in 0..10 {
            for (client, session) in &mut sessions {
                client.write(&[0; 100]).await?;
                session.wire.write(&[0; 100]).await?;
            }
            most = most.max(scene.daemon.vitals()?.memory);
        }
        let each = most.saturating_sub(before) / SESSIONS as u64;
        ensure!(each < 300, "{each} KiB of memory for a session that announced 8 MB");
        Ok(())
    })
}

/// Over the limit: CLOSE on the header or the three bytes of a length.
#[test]
fn g2_announcing_more_than_that_ends_the_session() -> Result<()> {
    scene(&[], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        let mut announced = message("block", &[])?;
        announced[16..20].copy_from_slice(&4_000_001u32.to_le_bytes());
        client.write(&announced).await?;
        session.wire.rest().await?;
        let (client, mut session) = scene.open().await?;
        let length = session.seal.length((1 << 24) - 1);
        session.wire.write(&length).await?;
        ended(client).await
    })
}

async fn ended(mut client: Wire) -> Result<()> {
    within("the end", client.rest()).await?.map(drop)
}

/// What the daemon gives a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
