//! E: what a client's first bytes say, and what is done about them.

use anyhow::{Result, ensure};
use bip324_proxy::stats::{Kind, Reason};
use bip324_proxy::{Config, Timeouts};
use bip324_testkit::peer::{End, Session, frame, long_form};
use bip324_transport::v1::Magic;
use tokio::time::Instant;

use crate::harness::*;

/// A client that starts with these bytes is refused, and nobody is dialled.
async fn assert_not_served(daemon: &Daemon, start: &[u8]) -> Result<()> {
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(start).await?;
    let rest = client.rest().await;
    ensure!(daemon.dials().is_empty(), "dialled for {}", start.escape_ascii());
    ensure!(rest?.0.is_empty(), "answered {}", start.escape_ascii());
    Ok(())
}

#[tokio::test]
async fn e1_the_prefix_one_byte_at_a_time() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    let message = version_message();
    let (prefix, rest) = message.split_at(16);
    for &byte in prefix {
        ensure!(daemon.dials().is_empty(), "dialled before the 16th byte");
        client.write(&[byte]).await?;
        tokio::task::yield_now().await;
    }
    let mut session = node.meet(MAGIC).await?;
    for &byte in rest {
        client.write(&[byte]).await?;
        tokio::task::yield_now().await;
    }
    let opening = session.opening(&[]);
    session.wire.write(&opening).await?;
    session.finish().await?;
    ensure!(session.message().await? == (command("version"), version()));
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn e1_fewer_than_16_bytes_dial_nothing() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    for start in [version_message(), vec![0x5A; 16]] {
        for length in 0..16 {
            let mut client = daemon.connect(&node).await?;
            client.write(&start[..length]).await?;
            client.finish().await?;
            ensure!(client.rest().await?.0.is_empty());
        }
    }
    ensure!(daemon.dials().is_empty(), "dialled {} times", daemon.dials().len());
    ensure!(daemon.stats.refused(Reason::Client) == 32);
    Ok(())
}

#[tokio::test]
async fn e2_a_client_that_speaks_v2_is_spliced_through() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let client = daemon.connect(&node).await?;
    let garbage = [0x5A; 1000];
    // Each waits for the other.
    let (client, session) =
        tokio::join!(Session::initiate(client, MAGIC, &garbage), node.session(MAGIC));
    let (mut client, mut session) = (client?, session?);
    ensure!(client.id == session.id, "somebody stands in between");
    for _ in 0..300 {
        client.send_message("inv", &[1; 61]).await?;
        ensure!(session.message().await? == (command("inv"), vec![1; 61]));
        session.send(&long_form("block", &[2; 5000])?).await?;
        ensure!(client.message().await? == (command("block"), vec![2; 5000]));
    }
    ensure!(daemon.stats.served(Kind::Passthrough) == 1);
    ensure!(daemon.stats.sessions()[0].beginning.session_id.is_none());
    client.wire.finish().await?;
    ensure!(session.wire.rest().await? == (vec![], End::Fin));
    Ok(())
}

#[tokio::test]
async fn e3_any_bytes_that_are_not_v1_are_spliced_unchanged() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    // Not v1: the padding of `version` is wrong.
    let almost = [&MAGIC_UNKNOWN, b"version\0\0\0\0\x01".as_slice()].concat();
    let key = vec![0x77; 4000];
    for start in [almost, key] {
        let node = daemon.node().await?;
        let mut client = daemon.connect(&node).await?;
        client.write(&start).await?;
        let mut peer = node.accept().await?;
        ensure!(peer.read(start.len()).await? == start);
        peer.write(&start).await?;
        ensure!(client.read(start.len()).await? == start);
        peer.finish().await?;
        ensure!(client.rest().await? == (vec![], End::Fin));
        client.write(b"the other half stays open").await?;
        client.finish().await?;
        ensure!(peer.rest().await? == (b"the other half stays open".to_vec(), End::Fin));
    }
    Ok(())
}

#[tokio::test]
async fn e3_passthrough_off_refuses_them() -> Result<()> {
    let daemon = Daemon::start(Config { passthrough: false, ..Config::default() }).await?;
    assert_not_served(&daemon, &[0x77; 64]).await?;
    assert_not_served(&daemon, &[0x77; 16]).await?;
    ensure!(daemon.stats.refused(Reason::PassthroughOff) == 2);
    // v1 clients are served as ever.
    let (mut client, mut session) = daemon.open().await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn e4_a_v1_message_other_than_version_is_refused_with_any_magic() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for name in NAMES {
        for magic in [MAGIC, Magic::BITCOIN, Magic::from_bytes(MAGIC_UNKNOWN)] {
            assert_not_served(&daemon, &frame(magic, name, &[])?).await?;
            // The 16th byte is enough to tell.
            assert_not_served(&daemon, &frame(magic, name, &[])?[..16]).await?;
        }
    }
    ensure!(daemon.stats.refused(Reason::NotVersion) == NAMES.len() as u64 * 3 * 2);
    Ok(())
}

#[tokio::test]
async fn e4_a_known_magic_followed_by_anything_but_version_is_refused() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let magics = [Magic::BITCOIN, Magic::TESTNET3, Magic::TESTNET4, Magic::SIGNET, Magic::REGTEST];
    for magic in magics {
        for command in
            [b"unknowntype\0", b"version\0\0\0\0\x01", b"\x81\x92\xa3\xb4\xc5\xd6\0\0\0\0\0\0"]
        {
            let start = [magic.to_bytes().as_slice(), command, &[0; 100]].concat();
            assert_not_served(&daemon, &start).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn e4_a_version_that_no_node_would_read_is_refused() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for length in [4_000_001, u32::MAX] {
        let mut header = version_message()[..24].to_vec();
        header[16..20].copy_from_slice(&length.to_le_bytes());
        assert_not_served(&daemon, &header).await?;
    }
    let mut damaged = version_message();
    damaged[30] ^= 1;
    assert_not_served(&daemon, &damaged).await
}

#[tokio::test]
async fn e5_a_silent_client_is_let_go() -> Result<()> {
    let timeouts = Timeouts { client_prefix: millis(300), ..Timeouts::default() };
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    let node = daemon.node().await?;
    for start in [&[][..], &version_message()[..15]] {
        let begin = Instant::now();
        let mut client = daemon.connect(&node).await?;
        client.write(start).await?;
        assert_refused(&mut client).await?;
        ensure!(begin.elapsed() >= millis(290), "only {:?}", begin.elapsed());
    }
    ensure!(daemon.dials().is_empty(), "a dial was wasted on it");
    Ok(())
}

#[tokio::test]
async fn e5_a_silent_stranger_is_let_go_sooner() -> Result<()> {
    let timeouts = Timeouts { direct_prefix: millis(300), ..Timeouts::default() };
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    for start in [&[][..], &version_message()[..60]] {
        let mut client = daemon.connect_direct().await?;
        client.write(start).await?;
        assert_refused(&mut client).await?;
    }
    Ok(())
}

#[tokio::test]
async fn e5_a_byte_now_and_then_does_not_buy_time() -> Result<()> {
    let timeouts = Timeouts { client_prefix: millis(300), ..Timeouts::default() };
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    let begin = Instant::now();
    for byte in &version_message()[..15] {
        if client.write(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(millis(50)).await;
    }
    let _ = client.rest().await?;
    ensure!(begin.elapsed() < millis(1500), "{:?}", begin.elapsed());
    ensure!(daemon.dials().is_empty(), "a dial was wasted on it");
    Ok(())
}

#[tokio::test]
async fn e5_half_a_version_does_not_hold_the_peer() -> Result<()> {
    let daemon = Daemon::start(handshake_within(millis(300))).await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()[..30]).await?;
    let mut session = node.meet(MAGIC).await?;
    let opening = session.opening(&[]);
    session.wire.write(&opening).await?;
    assert_refused(&mut client).await?;
    session.wire.rest().await?;
    Ok(())
}

#[tokio::test]
async fn e6_every_network_without_configuration() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let magics = [
        Magic::BITCOIN,
        Magic::TESTNET3,
        Magic::TESTNET4,
        Magic::SIGNET,
        Magic::REGTEST,
        // A custom signet's: four bytes of a hash.
        Magic::from_bytes(MAGIC_UNKNOWN),
        Magic::from_bytes([0; 4]),
        Magic::from_bytes([0xFF; 4]),
    ];
    for magic in magics {
        let node = daemon.node().await?;
        let mut client = daemon.connect(&node).await?;
        client.write(&frame(magic, "version", &version())?).await?;
        let mut session = node.session(magic).await?;
        ensure!(session.message().await? == (command("version"), version()));
        session.send_message("verack", &[]).await?;
        ensure!(client.message(magic).await? == (command("verack"), vec![]));
    }
    Ok(())
}

#[tokio::test]
async fn e6_both_sides_must_mean_the_same_network() -> Result<()> {
    let daemon = Daemon::start(handshake_within(millis(300))).await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()).await?;
    let mut session = node.meet(Magic::BITCOIN).await?;
    let opening = session.opening(&[]);
    session.wire.write(&opening).await?;
    assert_refused(&mut client).await
}

#[tokio::test]
async fn e6_the_magic_may_not_change_on_the_way() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    client.write(&frame(Magic::BITCOIN, "ping", b"8 bytes!")?).await?;
    assert_refused(&mut client).await?;
    let (bytes, _) = session.wire.rest().await?;
    ensure!(bytes.is_empty(), "{} bytes went out", bytes.len());
    Ok(())
}

/// A magic of no network that has a name.
const MAGIC_UNKNOWN: [u8; 4] = [0x5A, 0x01, 0xC7, 0x9E];

/// Types of v1 messages: with a short id in v2, without, and one that nobody knows.
const NAMES: [&str; 26] = [
    "verack",
    "ping",
    "pong",
    "getheaders",
    "headers",
    "inv",
    "getdata",
    "tx",
    "block",
    "addr",
    "addrv2",
    "getaddr",
    "sendheaders",
    "sendaddrv2",
    "wtxidrelay",
    "sendcmpct",
    "feefilter",
    "getcfilters",
    "cfheaders",
    "filterload",
    "mempool",
    "notfound",
    "reject",
    "alert",
    "feature",
    "notyetknown",
];
