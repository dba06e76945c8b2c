//! Ends and jams: half-closed connections, sides that stop reading, bytes that come too early.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Result, ensure};
use bip324_testkit::peer::{End, Opener, long_form, within};
use bip324_transport::v2::{LENGTH_LEN, PACKET_OVERHEAD};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::*;

#[tokio::test]
async fn f3_the_peer_s_last_messages_reach_the_client_before_its_fin() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let blocks = message("block", &vec![7; 100_000]).repeat(40);
    for _ in 0..40 {
        let packet = session.seal.packet(0, &long_form("block", &vec![7; 100_000])?);
        // The client reads nothing yet: what fits nowhere must wait.
        if timeout(millis(200), session.wire.stream.write_all(&packet)).await.is_err() {
            anyhow::bail!("4 MB do not fit into the buffers of two connections");
        }
    }
    session.wire.finish().await?;
    ensure!(client.read(blocks.len()).await? == blocks);
    // The other half is still open: the client can answer.
    pass_to_peer(&mut client, &mut session).await?;
    client.finish().await?;
    ensure!(client.rest().await? == (vec![], End::Fin));
    ensure!(session.wire.rest().await? == (vec![], End::Fin));
    daemon.wait_until_idle().await
}

#[tokio::test]
async fn f3_the_client_s_last_messages_reach_the_peer_before_its_fin() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    client.write(&message("tx", &[9; 258]).repeat(1000)).await?;
    client.finish().await?;
    for number in 0..1000 {
        ensure!(session.message().await? == (command("tx"), vec![9; 258]), "{number}");
    }
    ensure!(session.wire.rest().await? == (vec![], End::Fin));
    pass_to_client(&mut session, &mut client).await?;
    session.wire.finish().await?;
    ensure!(client.rest().await? == (vec![], End::Fin));
    daemon.wait_until_idle().await
}

#[tokio::test]
async fn f4_a_peer_that_stops_reading_is_waited_for() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (client, mut session) = daemon.open().await?;
    let block = message("block", &vec![0xF4; BLOCK]);
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut from_client, to_daemon) = client.stream.into_split();
    let writer = tokio::spawn(write_many(to_daemon, block, Arc::clone(&sent)));
    wait_until_stuck(&sent).await?;
    ensure!(sent.load(Relaxed) < BLOCKS, "{BLOCKS} blocks disappeared into buffers");

    // The way back is free.
    session.send_message("ping", b"8 bytes!").await?;
    let ping = message("ping", b"8 bytes!");
    let mut arrived = vec![0; ping.len()];
    within("a message the other way", from_client.read_exact(&mut arrived)).await??;
    ensure!(arrived == ping);

    read_packets(&mut session.wire.stream, &mut session.open).await?;
    writer.await?
}

#[tokio::test]
async fn f4_both_directions_full_do_not_wait_for_each_other() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (client, session) = daemon.open().await?;
    let (sent_up, sent_down) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let block = message("block", &vec![0xF4; BLOCK]);
    let (mut from_daemon, to_daemon) = client.stream.into_split();
    let up = tokio::spawn(write_many(to_daemon, block.clone(), Arc::clone(&sent_up)));

    let (mut peer_read, mut peer_write) = session.wire.stream.into_split();
    let (mut seal, mut open, count) = (session.seal, session.open, Arc::clone(&sent_down));
    let down = tokio::spawn(async move {
        for _ in 0..BLOCKS {
            let packet = seal.packet(0, &long_form("block", &vec![0xF4; BLOCK])?);
            peer_write.write_all(&packet).await?;
            count.fetch_add(1, Relaxed);
        }
        anyhow::Ok(peer_write)
    });
    wait_until_stuck(&sent_up).await?;
    wait_until_stuck(&sent_down).await?;
    ensure!(sent_up.load(Relaxed) < BLOCKS && sent_down.load(Relaxed) < BLOCKS);

    let read_client = async {
        let mut arrived = vec![0; block.len()];
        for number in 0..BLOCKS {
            within("a block at the client", from_daemon.read_exact(&mut arrived)).await??;
            ensure!(arrived == block, "block {number} is damaged");
        }
        Ok(())
    };
    tokio::try_join!(read_client, read_packets(&mut peer_read, &mut open))?;
    up.await??;
    down.await??;
    Ok(())
}

#[tokio::test]
async fn e8_what_comes_before_the_peer_is_kept_and_bounded() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let gate = Arc::new(Notify::new());
    daemon.network.set_route(node.public, Route::Gated(node.address()?, Arc::clone(&gate)));
    let client = daemon.connect(&node).await?;
    let (_from_daemon, mut to_daemon) = client.stream.into_split();
    to_daemon.write_all(&version_message()).await?;
    let sent = Arc::new(AtomicUsize::new(0));
    let block = message("block", &vec![0xF4; BLOCK]);
    let writer = tokio::spawn(write_many(to_daemon, block, Arc::clone(&sent)));
    wait_until_stuck(&sent).await?;
    ensure!(sent.load(Relaxed) < BLOCKS, "{BLOCKS} blocks disappeared into buffers");

    gate.notify_one();
    let mut session = node.session(MAGIC).await?;
    ensure!(session.message().await? == (command("version"), version()));
    read_packets(&mut session.wire.stream, &mut session.open).await?;
    writer.await?
}

#[tokio::test]
async fn e8_several_messages_in_the_first_segment() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let gate = Arc::new(Notify::new());
    daemon.network.set_route(node.public, Route::Gated(node.address()?, Arc::clone(&gate)));
    let mut client = daemon.connect(&node).await?;
    let early = [version_message(), message("verack", &[]), message("ping", b"8 bytes!")];
    client.write(&early.concat()).await?;
    let dialled = || daemon.dials().len() == 1;
    eventually("the dial", dialled).await?;
    gate.notify_one();
    let mut session = node.session(MAGIC).await?;
    for (name, payload) in
        [("version", version()), ("verack", vec![]), ("ping", b"8 bytes!".into())]
    {
        ensure!(session.message().await? == (command(name), payload), "{name}");
    }
    assert_served(&mut client, &mut session).await
}

/// Writes [`BLOCKS`] times, and counts.
async fn write_many(
    mut to: impl AsyncWrite + Unpin,
    block: Vec<u8>,
    sent: Arc<AtomicUsize>,
) -> Result<()> {
    for _ in 0..BLOCKS {
        to.write_all(&block).await?;
        sent.fetch_add(1, Relaxed);
    }
    to.shutdown().await?;
    Ok(())
}

/// Reads [`BLOCKS`] packets and checks every byte.
async fn read_packets(from: &mut (impl AsyncRead + Unpin), open: &mut Opener) -> Result<()> {
    let expected = [&[2], vec![0xF4; BLOCK].as_slice()].concat();
    for number in 0..BLOCKS {
        let mut length = [0; LENGTH_LEN];
        within("a packet at the peer", from.read_exact(&mut length)).await??;
        let mut sealed = vec![0; open.length(length) + PACKET_OVERHEAD - LENGTH_LEN];
        within("a packet at the peer", from.read_exact(&mut sealed)).await??;
        ensure!(open.packet(&[], &mut sealed)?.contents == expected, "block {number}");
    }
    Ok(())
}

/// Waits until nothing has been written for a while: every buffer on the way is full.
async fn wait_until_stuck(sent: &AtomicUsize) -> Result<()> {
    within("the buffers to fill", async {
        let (mut last, mut since) = (0, Instant::now());
        while last == 0 || since.elapsed() < millis(500) {
            let now = sent.load(Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            sleep(millis(10)).await;
        }
    })
    .await
}

/// 64 MB: the kernel's buffers of two connections hold about 20.
const BLOCKS: usize = 64;
const BLOCK: usize = 1_000_000;
