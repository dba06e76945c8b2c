//! What goes out first, and how it is cut: like Bitcoin Core's, or an observer could tell.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use bip324_proxy::{Config, Timeouts};
use bip324_testkit::peer::Wire;
use bip324_testkit::process::output;
use bip324_transport::limits::{GARBAGE_TERMINATOR_LEN, MAX_GARBAGE};
use bip324_transport::v2::{KEY_LEN, PACKET_OVERHEAD};
use socket2::SockRef;

use crate::harness::*;

#[tokio::test]
async fn i4_key_and_garbage_leave_in_one_write() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let mut lengths = Vec::new();
    for _ in 0..20 {
        let node = daemon.node().await?;
        let mut client = daemon.connect(&node).await?;
        client.write(&version_message()).await?;
        let mut peer = node.accept().await?;
        let first = peer.read_once().await?;
        ensure!(segments(&peer)? == 1, "key and garbage came apart");
        ensure!((KEY_LEN..=KEY_LEN + MAX_GARBAGE).contains(&first.len()), "{}", first.len());
        // Nothing may follow until the peer has answered.
        drop(client);
        let (behind, _) = peer.rest().await?;
        ensure!(behind.is_empty(), "{} bytes in a segment of their own", behind.len());
        lengths.push(first.len());
    }
    lengths.sort_unstable();
    lengths.dedup();
    ensure!(lengths.len() > 10, "garbage of always the same length: {lengths:?}");
    Ok(())
}

#[tokio::test]
async fn i4_terminator_version_packet_and_version_leave_in_one_write() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for _ in 0..20 {
        let node = daemon.node().await?;
        let mut client = daemon.connect(&node).await?;
        client.write(&version_message()).await?;
        let mut peer = node.accept().await?;
        let garbage = peer.read_once().await?.split_off(KEY_LEN);
        // The peer's key is any 64 bytes: what comes back has the same shape in any case.
        peer.write(&[0x55; KEY_LEN]).await?;
        let second = peer.read_once().await?;
        let version_packet = PACKET_OVERHEAD + 1 + 12 + version().len();
        ensure!(
            second.len() == GARBAGE_TERMINATOR_LEN + PACKET_OVERHEAD + version_packet,
            "{} bytes behind {} of garbage",
            second.len(),
            garbage.len()
        );
        ensure!(segments(&peer)? == 2, "the second flight came in pieces");
    }
    Ok(())
}

#[tokio::test]
async fn i4_the_garbage_is_authenticated() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()).await?;
    let mut session = node.meet(MAGIC).await?;
    let opening = session.opening(&[]);
    session.wire.write(&opening).await?;
    // Fails unless the first packet's tag covers all the garbage.
    session.finish().await?;
    Ok(())
}

#[tokio::test]
async fn i4_a_version_in_two_segments_waits_for_its_rest() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    let message = version_message();
    let (head, rest) = message.split_at(24);
    client.write(head).await?;
    // 24 bytes are enough to dial: the peer's answer takes a round trip anyway.
    let mut peer = node.accept().await?;
    peer.read_once().await?;
    peer.write(&[0x55; KEY_LEN]).await?;
    client.write(rest).await?;
    let second = peer.read_once().await?;
    ensure!(second.len() == GARBAGE_TERMINATOR_LEN + 2 * PACKET_OVERHEAD + 13 + version().len());
    ensure!(segments(&peer)? == 2, "the second flight came in pieces");
    Ok(())
}

#[tokio::test]
async fn i4_small_messages_are_never_held_back() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    daemon.network.keep_sockets();
    let (_client, _session) = daemon.open().await?;
    let sockets = daemon.network.take_sockets();
    ensure!(sockets.len() == 2, "{} sockets", sockets.len());
    for socket in sockets {
        ensure!(SockRef::from(&socket).tcp_nodelay()?, "Nagle's algorithm is on");
    }
    Ok(())
}

#[tokio::test]
async fn f5_both_sockets_are_set_to_find_a_black_hole() -> Result<()> {
    let timeouts = Timeouts { keepalive_idle: millis(7000), ..Timeouts::default() };
    let expected = timeouts.clone();
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    daemon.network.keep_sockets();
    let (_client, _session) = daemon.open().await?;
    let sockets = daemon.network.take_sockets();
    ensure!(sockets.len() == 2, "{} sockets", sockets.len());
    for socket in &sockets {
        let socket = SockRef::from(socket);
        ensure!(socket.keepalive()?);
        ensure!(socket.tcp_keepalive_time()? == expected.keepalive_idle);
        ensure!(socket.tcp_keepalive_interval()? == expected.keepalive_interval);
        ensure!(socket.tcp_keepalive_retries()? == expected.keepalive_probes);
        ensure!(socket.tcp_user_timeout()? == Some(expected.user_timeout));
    }
    Ok(())
}

/// Segments with data that have arrived on a connection. What was written at once comes in one:
/// loopback takes 64 KiB.
fn segments(wire: &Wire) -> Result<u32> {
    let (local, remote) = (wire.stream.local_addr()?, wire.stream.peer_addr()?);
    let mut command = Command::new("ss");
    command.args(["-Htin", "sport", "=", &format!(":{}", local.port())]);
    command.args(["and", "dport", "=", &format!(":{}", remote.port())]);
    let said = output(command).context("`ss` counts segments; it is in the package iproute2")?;
    let said = String::from_utf8(said.stdout)?;
    let count = said.split_whitespace().find_map(|word| word.strip_prefix("data_segs_in:"));
    Ok(count.with_context(|| format!("no segments in {said:?}"))?.parse()?)
}
