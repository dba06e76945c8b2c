//! F4: sides that stop reading, one of them and both at once.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_testkit::peer::{Opener, long_form, within};
use bip324_transport::v2::{LENGTH_LEN, PACKET_OVERHEAD};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::scene::*;

/// What is sent: far more than the buffers of four sockets take.
const BLOCKS: usize = 30;
const BLOCK: usize = 1_000_000;

/// What the daemon may need for both directions, KiB: the message at hand, 256 KiB more, and the
/// translated copy of what is ready.
const MEMORY: u64 = 8 * 1024;

/// Backpressure both ways with bounded memory; then everything arrives, in order and whole.
#[test]
fn f4_both_directions_full_do_not_wait_for_each_other() -> Result<()> {
    scene(&[], async |scene| {
        let before = scene.daemon.vitals()?.memory;
        let (client, session) = scene.open().await?;
        let (mut from_daemon, to_daemon) = client.stream.into_split();
        let (from_peer, to_peer) = session.wire.stream.into_split();
        let (mut seal, open) = (session.seal, session.open);
        let block = message("block", &[0xF4; BLOCK])?;
        let blocks = vec![block.clone(); BLOCKS];
        let packets = (0..BLOCKS)
            .map(|_| Ok(seal.packet(0, &long_form("block", &[0xF4; BLOCK])?)))
            .collect::<Result<Vec<_>>>()?;

        let sent = [Cell::new(0), Cell::new(0)];
        let write = async {
            tokio::try_join!(
                write_all(to_daemon, blocks, &sent[0]),
                write_all(to_peer, packets, &sent[1])
            )
        };
        let read = async {
            wait_until_stuck(&sent).await?;
            let [up, down] = sent.each_ref().map(Cell::get);
            ensure!(up < BLOCKS * BLOCK && down < BLOCKS * BLOCK, "{up} and {down} bytes vanished");
            let used = scene.daemon.vitals()?.memory - before;
            ensure!(used < MEMORY, "{used} KiB for one session");
            let client = async {
                let mut arrived = vec![0; block.len()];
                for number in 0..BLOCKS {
                    within("a block at the client", from_daemon.read_exact(&mut arrived)).await??;
                    ensure!(arrived == block, "block {number} is damaged");
                }
                Ok(())
            };
            tokio::try_join!(client, read_packets(from_peer, open))
        };
        tokio::try_join!(write, read).map(drop)
    })
}

/// The way back is free while a peer reads nothing.
#[test]
fn f4_a_peer_that_stops_reading_can_still_speak() -> Result<()> {
    scene(&[], async |scene| {
        let (client, mut session) = scene.open().await?;
        let (mut from_daemon, to_daemon) = client.stream.into_split();
        let sent = [Cell::new(0)];
        let write = write_all(to_daemon, vec![message("block", &[0xF4; BLOCK])?; BLOCKS], &sent[0]);
        let speak = async {
            wait_until_stuck(&sent).await?;
            let inv = message("inv", &[1; 61])?;
            let mut arrived = vec![0; inv.len()];
            session.send_message("inv", &[1; 61]).await?;
            within("a message the other way", from_daemon.read_exact(&mut arrived)).await??;
            ensure!(arrived == inv);
            read_packets(&mut session.wire.stream, session.open).await
        };
        tokio::try_join!(write, speak).map(drop)
    })
}

async fn write_all(
    mut to: impl AsyncWrite + Unpin,
    blocks: Vec<Vec<u8>>,
    sent: &Cell<usize>,
) -> Result<()> {
    for block in blocks {
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let count = to.write(rest).await?;
            sent.set(sent.get() + count);
            rest = &rest[count..];
        }
    }
    // Dropped, a half would send a FIN.
    std::mem::forget(to);
    Ok(())
}

async fn read_packets(mut from: impl AsyncRead + Unpin, mut open: Opener) -> Result<()> {
    for number in 0..BLOCKS {
        let mut length = [0; LENGTH_LEN];
        within("a block at the peer", from.read_exact(&mut length)).await??;
        let mut sealed = vec![0; PACKET_OVERHEAD - LENGTH_LEN + open.length(length)];
        within("a block at the peer", from.read_exact(&mut sealed)).await??;
        let contents = open.packet(&[], &mut sealed)?.contents;
        let payload = &contents[contents.len() - BLOCK..];
        ensure!(payload.iter().all(|&byte| byte == 0xF4), "block {number} is damaged");
    }
    Ok(())
}

/// Returns once nothing has got on for half a second.
async fn wait_until_stuck<const N: usize>(sent: &[Cell<usize>; N]) -> Result<()> {
    let (start, mut last, mut since) = (Instant::now(), [0; N], Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        let now = sent.each_ref().map(Cell::get);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        ensure!(start.elapsed() < Duration::from_secs(30), "it does not get stuck");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
