//! E: what a client's first bytes say, and what is done about them.
//!
//! E7, what a responder tells from them, has no place here, because the daemon answers no peer:
//! tests of the transport's `detect` hold it.

use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use bip324_testkit::daemon;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT};
use bip324_testkit::peer::{End, Session, Wire, frame, long_form, version_to};
use bip324_testkit::process::output;
use bip324_testkit::wait::PATIENCE;
use bip324_transport::v1::Magic;

use crate::stage::*;

#[test]
fn e1_the_prefix_one_byte_at_a_time() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        let peer = stage.peer(1)?;
        let mut client = stage.connect(&peer)?;
        let message = version_message();
        for &byte in &message[..15] {
            client.write(&[byte]).await?;
            tokio::task::yield_now().await;
        }
        assert_quiet(&mut client).await?;
        ensure!(!stage.daemon.log()?.contains("dialling"), "dialled before the 16th byte");
        for &byte in &message[15..] {
            client.write(&[byte]).await?;
            tokio::task::yield_now().await;
        }
        let mut session = peer.session(MAGIC).await?;
        ensure!(session.message().await? == (command("version"), version()));
        assert_served(&mut client, &mut session).await
    })
}

#[test]
fn e1_fewer_than_16_bytes_and_an_end() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        let peer = stage.peer(0)?;
        for start in [version_message(), vec![0x5A; 16]] {
            for length in [0, 1, 4, 15] {
                let mut client = stage.connect(&peer)?;
                client.write(&start[..length]).await?;
                client.finish().await?;
                assert_reset(&mut client, &[]).await?;
            }
        }
        Ok(())
    })
}

#[test]
fn e2_a_client_that_speaks_v2_itself_is_spliced() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        for length in [0, 1000] {
            let peer = stage.peer(1)?;
            let garbage = vec![0x5A; length];
            let client = stage.connect(&peer)?;
            let (client, session) =
                tokio::join!(Session::initiate(client, MAGIC, &garbage), peer.session(MAGIC));
            let (mut client, mut session) = (client?, session?);
            ensure!(client.id == session.id, "somebody stands in between");
            for _ in 0..300 {
                client.send_message("inv", &[1; 61]).await?;
                ensure!(session.message().await? == (command("inv"), vec![1; 61]));
                session.send(&long_form("block", &[2; 5000])?).await?;
                ensure!(client.message().await? == (command("block"), vec![2; 5000]));
            }
            client.wire.finish().await?;
            ensure!(session.wire.rest_within(SECOND).await? == (vec![], End::Fin));
            session.wire.finish().await?;
            ensure!(client.wire.rest_within(SECOND).await? == (vec![], End::Fin));
        }
        Ok(())
    })
}

#[test]
fn e2_a_client_that_speaks_v2_itself_has_its_own_session_with_a_node() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        let node = Node::start(stage.lab, Network::Regtest, &[])?;
        for family in Family::BOTH {
            stage.expect_node(family, 1);
            let to = (family.peer(), PORT).into();
            let client = Wire::redirected(stage.lab, to)?;
            let mut client = Session::initiate(client, MAGIC, b"garbage").await?;
            client.send_message("version", &real_version()).await?;
            client.send_message("verack", &[]).await?;
            client.send_message("ping", b"8 bytes!").await?;
            while client.message().await? != (command("pong"), b"8 bytes!".to_vec()) {}
            let peer = node.wait_for_peer(PATIENCE)?;
            ensure!(peer.session_id == client.id.to_string(), "{peer:?} is not {}", client.id);
            drop(client);
            node.wait_for_no_peer(PATIENCE)?;
        }
        ensure!(stage.daemon.session_ids()?.is_empty(), "the daemon made a session of it");
        Ok(())
    })
}

#[test]
fn e3_bytes_that_are_not_v1_are_spliced_unchanged() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        for start in [vec![0x77; 16], vec![0x77; 4000], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
            let peer = stage.peer(1)?;
            let mut client = stage.connect(&peer)?;
            client.write(&start).await?;
            let mut peer = peer.accept().await?;
            ensure!(peer.read(start.len()).await? == start);
            peer.write(&start).await?;
            ensure!(client.read(start.len()).await? == start);
            peer.finish().await?;
            ensure!(client.rest_within(SECOND).await? == (vec![], End::Fin));
            client.write(b"the other half stays open").await?;
            client.finish().await?;
            let end = peer.rest_within(SECOND).await?;
            ensure!(end == (b"the other half stays open".to_vec(), End::Fin));
        }
        Ok(())
    })
}

#[test]
fn e3_passthrough_off_closes() -> Result<()> {
    Stage::run(&["--passthrough", "off"], async |stage| {
        assert_not_served(stage, &[0x77; 16]).await?;
        assert_not_served(stage, &[0x77; 4000]).await
    })
}

#[test]
fn e4_a_first_message_other_than_version() -> Result<()> {
    Stage::run(V1, async |stage| {
        for magic in [MAGIC, Magic::BITCOIN, Magic::from_bytes(UNKNOWN)] {
            for name in ["verack", "ping", "getdata", "sendheaders", "notyetknown"] {
                assert_not_served(stage, &frame(magic, name, &[0; 30])?).await?;
            }
        }
        // A magic that somebody uses is v1, whatever follows.
        for follows in [b"version\0\0\0\0\x01", b"\x81\x92\xa3\xb4\xc5\xd6\0\0\0\0\0\0"] {
            let start = [MAGIC.to_bytes().as_slice(), follows, &[0; 100]].concat();
            assert_not_served(stage, &start).await?;
        }
        Ok(())
    })
}

#[test]
fn e4_a_version_that_no_node_would_read() -> Result<()> {
    Stage::run(V1, async |stage| {
        for length in [4_000_001, u32::MAX] {
            let mut header = version_message()[..24].to_vec();
            header[16..20].copy_from_slice(&length.to_le_bytes());
            assert_not_served(stage, &header).await?;
        }
        let mut damaged = version_message();
        damaged[30] ^= 1;
        assert_not_served(stage, &damaged).await
    })
}

/// A client that starts with these bytes is reset, and nobody is dialled for it.
async fn assert_not_served(stage: &Stage<'_>, start: &[u8]) -> Result<()> {
    let mut client = stage.connect(&stage.peer(0)?)?;
    client.write(start).await?;
    assert_reset(&mut client, &[]).await
}

#[test]
fn e5_a_client_that_stays_silent() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        let peer = stage.peer(0)?;
        let start = Instant::now();
        let (mut silent, mut slow) = (stage.connect(&peer)?, stage.connect(&peer)?);
        let limits = || {
            let left = |limit| millis(limit).saturating_sub(start.elapsed());
            left(29_500)..left(31_000)
        };
        // Nothing buys it time.
        let drip = async {
            for byte in &version_message()[..15] {
                slow.write(&[*byte]).await?;
                tokio::time::sleep(millis(1500)).await;
            }
            assert_reset_after(&mut slow, &[], limits()).await
        };
        let (silent, dripped) = tokio::join!(assert_reset_after(&mut silent, &[], limits()), drip);
        silent.and(dripped)
    })
}

/// Any local user can be one.
#[test]
fn e5_a_stranger_that_stays_silent_is_let_go_sooner() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        for address in ["127.0.0.1", "::1"] {
            let to = (address.parse::<IpAddr>()?, daemon::PORT).into();
            let mut client = Wire::direct(stage.lab, to)?;
            client.write(&version_message()[..60]).await?;
            assert_reset_after(&mut client, &[], millis(4500)..millis(6500)).await?;
        }
        Ok(())
    })
}

#[test]
fn e6_any_magic_in_front_of_version_will_do() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        let unnamed = [UNKNOWN, [0; 4], [0xFF; 4]].map(Magic::from_bytes);
        let named = [Magic::BITCOIN, Magic::TESTNET4, Magic::SIGNET];
        for magic in [&unnamed[..], &named].concat() {
            let peer = stage.peer(1)?;
            let mut client = stage.connect(&peer)?;
            client.write(&frame(magic, "version", &version())?).await?;
            let mut session = peer.session(magic).await?;
            ensure!(session.message().await? == (command("version"), version()));
            session.send_message("verack", &[]).await?;
            ensure!(client.message(magic).await? == (command("verack"), vec![]));
        }
        Ok(())
    })
}

#[test]
fn e6_both_sides_must_mean_the_same_network() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.peer(1)?;
        let (mut client, wire) = stage.dial(&peer).await?;
        let mut session = Session::meet(wire, Magic::BITCOIN).await?;
        let opening = [session.opening(&[]), vec![0; 4111]].concat();
        let _ = session.wire.write(&opening).await;
        assert_closed(&mut client, &mut session.wire, &[]).await
    })
}

#[test]
fn e6_the_magic_may_not_change_on_the_way() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.open().await?;
        client.write(&frame(Magic::BITCOIN, "ping", b"8 bytes!")?).await?;
        assert_reset(&mut client, &[]).await?;
        let (sent, _) = session.wire.rest_within(SECOND).await?;
        ensure!(sent.is_empty(), "{} bytes went out", sent.len());
        Ok(())
    })
}

/// The peer's host answers with the second SYN only.
#[test]
fn e8_what_a_client_sends_before_its_peer_is_connected_waits_in_the_kernel() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        stage.warm_up().await?;
        let peer = stage.peer(1)?;
        stage.filter(peer.address()?.ip(), "drop")?;
        let mut client = stage.connect(&peer)?;
        let before = stage.start_memory_watch()?;
        let inv = message("inv", &[7; 36_000]);
        let said = [version_message(), message("verack", &[]), inv.repeat(MESSAGES)].concat();
        let serve = async {
            // More than the daemon takes, or nothing would be left for the kernel.
            eventually("the daemon to stop reading", || unread(stage)).await?;
            stage.assert_little_memory_since(before)?;
            stage.stop_filtering()?;
            let mut session = peer.session(MAGIC).await?;
            ensure!(session.message().await? == (command("version"), version()));
            ensure!(session.message().await? == (command("verack"), vec![]));
            for _ in 0..MESSAGES {
                ensure!(session.message().await? == (command("inv"), vec![7; 36_000]));
            }
            Ok(session)
        };
        let (wrote, session) = tokio::join!(client.write(&said), serve);
        wrote?;
        assert_served(&mut client, &mut session?).await
    })
}

/// Whether bytes wait in the kernel that the daemon has not read.
fn unread(stage: &Stage<'_>) -> Result<bool> {
    let mut ss = stage.lab.host.command("ss");
    ss.args(["-Htn", "state", "established", &format!("sport = :{}", daemon::PORT)]);
    let text = String::from_utf8(output(ss)?.stdout)?;
    let waiting = |line: &str| line.split_whitespace().next().is_some_and(|bytes| bytes != "0");
    Ok(text.lines().any(waiting))
}

/// A VERSION that a real node takes.
fn real_version() -> Vec<u8> {
    version_to(([0, 0, 0, 0], 0).into())
}

/// A magic of no network that has a name.
const UNKNOWN: [u8; 4] = [0x5A, 0x01, 0xC7, 0x9E];

/// How many messages of 36 kB are sent early.
const MESSAGES: usize = 200;
