//! F1, F2, F3: either side ends, in order or not, at every stage of a session.

use anyhow::{Result, ensure};
use bip324_testkit::peer::{End, Session, Wire, long_form};

use crate::scene::*;

/// How far the peer's part of the handshake gets before something happens: key, garbage,
/// terminator, version packet and a message, cut after so many bytes.
const STAGES: [usize; 9] = [0, 1, 63, 64, 80, 164, 180, 199, 230];

/// Up to the end of the version packet.
const HANDSHAKE: usize = 64 + 100 + 16 + 20;

/// A client that has sent VERSION, and a peer whose answer is cut after `length` bytes.
async fn stop_at(scene: &Scene<'_>, length: usize) -> Result<(Wire, Session)> {
    let (client, mut session) = scene.meet().await?;
    let mut bytes = session.opening(&[7; 100]);
    bytes.extend(session.seal.packet(0, &long_form("inv", &[1; 61])?));
    session.wire.write(&bytes[..length]).await?;
    Ok((client, session))
}

/// CLOSE within a second: a reset, as from a peer that cannot be reached.
#[test]
fn f1_reset_by_the_peer_at_every_stage() -> Result<()> {
    scene(&[], async |scene| {
        let sockets = scene.daemon.vitals()?.sockets;
        for stage in STAGES {
            let (mut client, session) = stop_at(scene, stage).await?;
            session.wire.reset()?;
            let what = format!("after {stage} bytes");
            let (bytes, end) = ends_within_a_second(&mut client, &what).await?;
            ensure!(
                bytes.is_empty() && end == End::Reset,
                "{what}: {} bytes, {end:?}",
                bytes.len()
            );
        }
        let (mut client, session) = scene.open().await?;
        session.wire.reset()?;
        ends_within_a_second(&mut client, "established").await?;
        scene.wait_for_sockets(sockets)
    })
}

/// CLOSE within a second, both sides, and no socket is left.
#[test]
fn f1_fin_by_the_peer_at_every_stage() -> Result<()> {
    scene(&[], async |scene| {
        let sockets = scene.daemon.vitals()?.sockets;
        for stage in STAGES {
            let (mut client, mut session) = stop_at(scene, stage).await?;
            session.wire.finish().await?;
            // In a session the client's half stays open; before, it ends without a word of the client's.
            if stage > HANDSHAKE {
                client.finish().await?;
            }
            let what = format!("after {stage} bytes");
            ensure!(ends_within_a_second(&mut client, &what).await?.0.is_empty(), "{what}");
            ends_within_a_second(&mut session.wire, &what).await?;
        }
        scene.wait_for_sockets(sockets)
    })
}

/// The upstream is closed within a second.
#[test]
fn f2_the_client_vanishes_at_every_stage() -> Result<()> {
    scene(&[], async |scene| {
        let sockets = scene.daemon.vitals()?.sockets;
        for stage in STAGES {
            for reset in [true, false] {
                let (client, mut session) = stop_at(scene, stage).await?;
                leave(client, reset)?;
                let what = format!("after {stage} bytes, reset: {reset}");
                ends_within_a_second(&mut session.wire, &what).await?;
            }
        }
        for reset in [true, false] {
            let (client, mut session) = scene.open().await?;
            leave(client, reset)?;
            ends_within_a_second(&mut session.wire, "established").await?;
        }
        scene.wait_for_sockets(sockets)
    })
}

fn leave(client: Wire, reset: bool) -> Result<()> {
    if reset {
        return client.reset();
    }
    drop(client);
    Ok(())
}

/// All data of the side that has finished, then its FIN; the other way stays open meanwhile.
#[test]
fn f3_each_half_closes_by_itself_after_all_its_data() -> Result<()> {
    scene(&[], async |scene| {
        let sockets = scene.daemon.vitals()?.sockets;
        let (mut client, mut session) = scene.open().await?;
        for _ in 0..10 {
            session.send_message("block", &[7; 100_000]).await?;
        }
        session.wire.finish().await?;
        let blocks = message("block", &[7; 100_000])?.repeat(10);
        ensure!(client.rest().await? == (blocks, End::Fin), "the peer's last blocks");
        client.write(&message("tx", &[9; 258])?.repeat(1000)).await?;
        client.finish().await?;
        for number in 0..1000 {
            ensure!(session.message().await?.1 == [9; 258], "transaction {number}");
        }
        ensure!(session.wire.rest().await? == (vec![], End::Fin), "the client's FIN");

        let (mut client, mut session) = scene.open().await?;
        client.finish().await?;
        ensure!(session.wire.rest().await? == (vec![], End::Fin), "the client's FIN, first");
        session.send_message("inv", b"still here").await?;
        session.wire.finish().await?;
        let last = message("inv", b"still here")?;
        ensure!(client.rest().await? == (last, End::Fin), "the peer's last message");
        scene.wait_for_sockets(sockets)
    })
}
