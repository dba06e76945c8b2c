//! F: peers and clients that vanish, dawdle or flood, and what they do to others: nothing.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bip324_proxy::stats::Reason;
use bip324_proxy::{Config, Errno, OriginalDst, Tcp, Timeouts, owner_of, serve};
use bip324_testkit::peer::{End, PATIENCE, Session, Wire, long_form, within};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::*;

/// How far the peer's part of the handshake gets before something happens: key, garbage,
/// terminator, version packet and a message, cut after so many bytes.
const STAGES: [usize; 9] = [0, 1, 63, 64, 80, 164, 180, 199, 230];

/// Up to the end of the version packet.
const HANDSHAKE: usize = 64 + 100 + 16 + 20;

/// A client that has sent VERSION, and a peer whose answer is cut after `length` bytes.
async fn stop_at(daemon: &Daemon, length: usize) -> Result<(Wire, Session)> {
    let (client, mut session) = daemon.meet().await?;
    let mut bytes = session.opening(&[7; 100]);
    bytes.extend(session.seal.packet(0, &long_form("inv", &[1; 61])?));
    session.wire.write(&bytes[..length]).await?;
    Ok((client, session))
}

/// The connection ends within a second, as every end must.
async fn assert_ends_within_a_second(wire: &mut Wire, what: &str) -> Result<(Vec<u8>, End)> {
    let start = Instant::now();
    let rest = wire.rest().await?;
    ensure!(start.elapsed() < millis(1000), "{what}: took {:?}", start.elapsed());
    Ok(rest)
}

#[tokio::test]
async fn f1_reset_by_the_peer_at_every_stage() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for stage in STAGES {
        let (mut client, session) = stop_at(&daemon, stage).await?;
        session.wire.reset()?;
        let what = format!("after {stage} bytes");
        let (bytes, end) = assert_ends_within_a_second(&mut client, &what).await?;
        ensure!(bytes.is_empty() && end == End::Reset, "{what}: {} bytes, {end:?}", bytes.len());
    }
    daemon.wait_until_idle().await
}

#[tokio::test]
async fn f1_fin_by_the_peer_at_every_stage() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for stage in STAGES {
        let (mut client, mut session) = stop_at(&daemon, stage).await?;
        session.wire.finish().await?;
        let what = format!("after {stage} bytes");
        // In a session the client's half stays open; before, it ends without a word of the client's.
        if stage > HANDSHAKE {
            client.finish().await?;
        }
        let (bytes, _) = assert_ends_within_a_second(&mut client, &what).await?;
        ensure!(bytes.is_empty(), "{what}: {} bytes", bytes.len());
        assert_ends_within_a_second(&mut session.wire, &what).await?;
    }
    daemon.wait_until_idle().await
}

#[tokio::test]
async fn f2_the_client_vanishes_at_every_stage() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for stage in STAGES {
        for reset in [true, false] {
            let (client, mut session) = stop_at(&daemon, stage).await?;
            if reset {
                client.reset()?;
            } else {
                drop(client);
            }
            let what = format!("after {stage} bytes, reset: {reset}");
            assert_ends_within_a_second(&mut session.wire, &what).await?;
        }
    }
    daemon.wait_until_idle().await
}

#[tokio::test]
async fn f2_the_client_half_closes_at_every_stage() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for stage in STAGES {
        let (mut client, mut session) = stop_at(&daemon, stage).await?;
        client.finish().await?;
        let what = format!("after {stage} bytes");
        assert_ends_within_a_second(&mut session.wire, &what).await?;
    }
    Ok(())
}

#[tokio::test]
async fn f2_the_client_vanishes_while_its_peer_is_dialled() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let destination = daemon.network.add_route(Route::Nowhere);
    for number in 1..=4 {
        let mut client = daemon.connect_to(destination).await?;
        client.write(&version_message()).await?;
        eventually("the dial", || daemon.dials().len() == number).await?;
        if number % 2 == 0 {
            client.reset()?;
        } else {
            drop(client);
        }
        let start = Instant::now();
        daemon.wait_until_idle().await?;
        ensure!(start.elapsed() < millis(1000), "dialled on for {:?}", start.elapsed());
    }
    Ok(())
}

#[tokio::test]
async fn f2_the_client_vanishes_from_an_established_session() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for reset in [true, false] {
        let (client, mut session) = daemon.open().await?;
        if reset {
            client.reset()?;
        } else {
            drop(client);
        }
        assert_ends_within_a_second(&mut session.wire, "established").await?;
        drop(session);
    }
    daemon.wait_until_idle().await
}

#[tokio::test]
async fn f2_the_client_is_reset_before_it_is_accepted() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    for _ in 0..50 {
        daemon.connect(&node).await?.reset()?;
    }
    let (mut client, mut session) = daemon.open_to(&node).await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn f6_a_byte_now_and_then_does_not_stretch_the_handshake() -> Result<()> {
    let timeouts = Timeouts { handshake: millis(500), ..Timeouts::default() };
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    let (mut client, mut session) = stop_at(&daemon, 1).await?;
    let bytes = session.opening(&[7; 1000]);
    let start = Instant::now();
    let drip = async {
        for &byte in bytes.iter().cycle() {
            if session.wire.write(&[byte]).await.is_err() {
                break;
            }
            sleep(millis(40)).await;
        }
    };
    let (refused, ()) = tokio::join!(assert_refused(&mut client), drip);
    refused?;
    let took = start.elapsed();
    ensure!((millis(450)..millis(2500)).contains(&took), "{took:?}");
    ensure!(daemon.stats.refused(Reason::Handshake) == 1);
    Ok(())
}

#[tokio::test]
async fn f7_garbage_without_end() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut other_client, mut other_session) = daemon.open().await?;
    let (mut client, mut session) = stop_at(&daemon, 64).await?;
    let mut taken = 0;
    while session.wire.write(&[0xAA; 65536]).await.is_ok() {
        taken += 65536;
        ensure!(taken < 64 << 20, "64 MiB of garbage were taken");
        tokio::task::yield_now().await;
    }
    assert_refused(&mut client).await?;
    assert_served(&mut other_client, &mut other_session).await
}

#[tokio::test]
async fn f8_decoys_without_end_meet_the_handshake_s_deadline() -> Result<()> {
    let timeouts = Timeouts { handshake: millis(500), ..Timeouts::default() };
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    let (mut other_client, mut other_session) = daemon.open().await?;
    let (mut client, mut session) = daemon.meet().await?;
    session.wire.write(&[&session.key[..], &session.terminator].concat()).await?;
    let start = Instant::now();
    loop {
        let decoy = session.seal.packet(0x80, &[0; 4000]);
        if session.wire.write(&decoy).await.is_err() {
            break;
        }
        ensure!(start.elapsed() < PATIENCE, "decoys stretch the handshake");
        tokio::task::yield_now().await;
    }
    assert_refused(&mut client).await?;
    assert_served(&mut other_client, &mut other_session).await
}

#[tokio::test]
async fn f8_decoys_later_do_not_keep_the_client_waiting() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    for _ in 0..500 {
        for _ in 0..20 {
            let decoy = session.seal.packet(0x80, &[0; 500]);
            session.wire.write(&decoy).await?;
        }
        assert_served(&mut client, &mut session).await?;
    }
    Ok(())
}

#[tokio::test]
async fn f15_a_panic_ends_one_session_alone() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut other_client, mut other_session) = daemon.open().await?;
    let destination = daemon.network.add_route(Route::Panics);
    let mut client = daemon.connect_to(destination).await?;
    client.write(&version_message()).await?;
    assert_refused(&mut client).await?;
    eventually("the panic to be counted", || daemon.stats.panics() == 1).await?;
    assert_served(&mut other_client, &mut other_session).await?;
    let (mut client, mut session) = daemon.open().await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn f15_a_panic_while_accepting_ends_the_daemon() -> Result<()> {
    struct Panics;
    impl OriginalDst for Panics {
        fn lookup(&self, _: &TcpStream, _: SocketAddr) -> Result<SocketAddr, Errno> {
            panic!("the test asked for it")
        }
    }
    let listeners =
        [TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?];
    let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
    let daemon = serve(
        listeners.into(),
        watch::channel(Arc::default()).1,
        Panics,
        owner_of(),
        Tcp,
        Arc::default(),
        pending(),
    );
    let daemon = tokio::spawn(daemon);
    let _client = TcpStream::connect(addresses[1]).await?;
    ensure!(within("the daemon to end", daemon).await??.is_err(), "it ended as if all were well");
    within("both listeners to close", async {
        for address in addresses {
            while TcpStream::connect(address).await.is_ok() {
                sleep(millis(5)).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn g3_one_session_too_many_is_reset_at_once() -> Result<()> {
    let daemon = Daemon::start(Config { max_sessions: 2, ..Config::default() }).await?;
    let first = daemon.open().await?;
    let (mut client, mut session) = daemon.open().await?;
    let node = daemon.node().await?;
    let mut third = daemon.connect(&node).await?;
    let (bytes, end) = assert_ends_within_a_second(&mut third, "one too many").await?;
    ensure!(bytes.is_empty() && end == End::Reset, "{end:?}");
    ensure!(daemon.stats.refused(Reason::Full) == 1);
    assert_served(&mut client, &mut session).await?;

    drop(first);
    eventually("the place to be free again", || daemon.stats.sessions().len() == 1).await?;
    drop((client, session));
    daemon.wait_until_idle().await?;
    let (mut client, mut session) = daemon.open().await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn half_open_peers_meet_their_deadlines_and_nobody_else_notices() -> Result<()> {
    let timeouts = Timeouts { handshake: millis(400), silence: millis(400), ..Timeouts::default() };
    let daemon = Daemon::start(Config { timeouts, ..Config::default() }).await?;
    let (mut other_client, mut other_session) = daemon.open().await?;
    let mut stalled = Vec::new();
    for stage in STAGES.into_iter().filter(|&stage| stage < 200).cycle().take(80) {
        stalled.push(stop_at(&daemon, stage).await?);
    }
    let answered =
        timeout(millis(1000), assert_served(&mut other_client, &mut other_session)).await;
    answered??;
    for (client, _) in &mut stalled {
        assert_refused(client).await?;
    }
    assert_served(&mut other_client, &mut other_session).await?;
    drop((other_client, other_session));
    daemon.wait_until_idle().await
}
