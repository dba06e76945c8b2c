//! D: when v1 is spoken to a peer, and when it is not.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_testkit::peer::{End, Peer, Wire};
use bip324_transport::v2::KEY_LEN;
use tokio::time::Instant;

use crate::stage::*;

/// What a peer does once it has the daemon's key.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// This many bytes, then a FIN.
    Fin(usize),
    /// This many bytes, then a RST.
    Reset(usize),
    /// Nothing, for ever.
    Silence,
}

impl Answer {
    async fn give(self, mut peer: Wire) -> Result<Option<Wire>> {
        peer.read(KEY_LEN).await?;
        match self {
            Self::Fin(bytes) => {
                peer.write(&vec![0x5A; bytes]).await?;
                peer.finish().await?;
            }
            Self::Reset(bytes) => {
                peer.write(&vec![0x5A; bytes]).await?;
                peer.reset()?;
                return Ok(None);
            }
            Self::Silence => {}
        }
        Ok(Some(peer))
    }
}

/// V1: the peer's first connection gets `answer`, and its second is the client's own.
async fn assert_falls_back(stage: &Stage<'_>, answer: Answer) -> Result<()> {
    let peer = stage.v1_peer(2)?;
    let (mut client, first) = stage.dial(&peer).await?;
    let start = Instant::now();
    let _first = answer.give(first).await?;
    assert_spliced_v1(&peer, &mut client).await?;
    ensure!(start.elapsed() < SILENCE.end, "{answer:?} took {:?}", start.elapsed());
    Ok(())
}

/// The peer's next connection is the client's own: VERSION as it was sent, once, and then whatever
/// either side says.
async fn assert_spliced_v1(peer: &Peer, client: &mut Wire) -> Result<()> {
    let mut peer = peer.accept().await?;
    let expected = version_message();
    ensure!(peer.read(expected.len()).await? == expected, "not the VERSION as it was sent");
    peer.write(b"anything a v1 peer says").await?;
    ensure!(client.read(23).await? == b"anything a v1 peer says");
    client.write(b"and a client").await?;
    ensure!(peer.read(12).await? == b"and a client", "something stood before it");
    client.finish().await?;
    ensure!(peer.rest_within(SECOND).await? == (vec![], End::Fin));
    peer.finish().await?;
    ensure!(client.rest_within(SECOND).await? == (vec![], End::Fin));
    Ok(())
}

/// CLOSE: the peer gives `answer`, and that was it.
async fn assert_no_fallback(stage: &Stage<'_>, answer: Answer) -> Result<()> {
    let (mut client, peer) = stage.dial(&stage.peer(1)?).await?;
    let _peer = answer.give(peer).await?;
    assert_reset(&mut client, &[]).await
}

#[test]
fn d1_a_peer_that_is_not_reached() -> Result<()> {
    assert_not_reached(V1)
}

#[test]
fn d1_under_reject_a_peer_that_is_not_reached() -> Result<()> {
    assert_not_reached(REJECT)
}

fn assert_not_reached(policy: &[&str]) -> Result<()> {
    Stage::run(policy, async |stage| {
        let refused = stage.nobody(1)?;
        let mut client = stage.connect_to(refused).await?;
        assert_reset(&mut client, &[]).await?;

        let unreachable = stage.nobody(1)?;
        stage.filter(unreachable.ip(), "reject with icmpx host-unreachable")?;
        let mut client = stage.connect_to(unreachable).await?;
        // Across a veth the first answer comes before connect(2) is done with the socket, which
        // then takes the second.
        assert_reset_after(&mut client, &[], Duration::ZERO..millis(2500)).await?;

        let silent = stage.nobody(1)?;
        stage.filter(silent.ip(), "drop")?;
        let mut client = stage.connect_to(silent).await?;
        assert_reset_after(&mut client, &[], CONNECT).await?;
        stage.stop_filtering()
    })
}

#[test]
fn d2_fin_without_a_byte() -> Result<()> {
    over_both_families(V1, async |stage| assert_falls_back(stage, Answer::Fin(0)).await)
}

#[test]
fn d2_under_reject_fin_without_a_byte() -> Result<()> {
    over_both_families(REJECT, async |stage| assert_no_fallback(stage, Answer::Fin(0)).await)
}

#[test]
fn d3_reset_without_a_byte() -> Result<()> {
    over_both_families(V1, async |stage| assert_falls_back(stage, Answer::Reset(0)).await)
}

#[test]
fn d3_under_reject_reset_without_a_byte() -> Result<()> {
    over_both_families(REJECT, async |stage| assert_no_fallback(stage, Answer::Reset(0)).await)
}

fn over_both_families(policy: &[&str], case: impl AsyncFn(&Stage<'_>) -> Result<()>) -> Result<()> {
    Stage::run(policy, async |stage| {
        case(stage).await?;
        case(stage).await
    })
}

#[test]
fn d4_three_seconds_of_silence_are_answered_in_v1() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.v1_peer(2)?;
        let (mut client, first) = stage.dial(&peer).await?;
        let start = Instant::now();
        let mut first = Answer::Silence.give(first).await?.unwrap();
        assert_spliced_v1(&peer, &mut client).await?;
        ensure!(SILENCE.contains(&start.elapsed()), "{:?}", start.elapsed());
        first.rest_within(SECOND).await?;
        Ok(())
    })
}

#[test]
fn d4_under_reject_three_seconds_of_silence_close() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        assert_reset_after(&mut client, &[], SILENCE).await?;
        peer.rest_within(SECOND).await?;
        Ok(())
    })
}

#[test]
fn d5_one_byte_and_an_end() -> Result<()> {
    Stage::run(V1, async |stage| {
        assert_no_fallback(stage, Answer::Fin(1)).await?;
        assert_no_fallback(stage, Answer::Reset(1)).await
    })
}

#[test]
fn d5_one_byte_and_silence_meet_the_handshake_s_deadline() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        peer.write(&[1]).await?;
        assert_reset_after(&mut client, &[], HANDSHAKE).await?;
        peer.rest_within(SECOND).await?;
        Ok(())
    })
}

#[test]
fn d6_63_bytes_and_an_end() -> Result<()> {
    Stage::run(V1, async |stage| {
        assert_no_fallback(stage, Answer::Fin(63)).await?;
        assert_no_fallback(stage, Answer::Reset(63)).await
    })
}

#[test]
fn d7_a_bad_tag() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.meet().await?;
        let mut opening = session.opening(&[]);
        *opening.last_mut().unwrap() ^= 1;
        session.wire.write(&opening).await?;
        assert_closed(&mut client, &mut session.wire, &[]).await
    })
}

#[test]
fn d8_the_end_of_an_established_session() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, session) = stage.open().await?;
        session.wire.reset()?;
        assert_reset(&mut client, &[]).await?;

        let (mut client, mut session) = stage.open().await?;
        session.wire.finish().await?;
        ensure!(client.rest_within(SECOND).await? == (vec![], End::Fin));
        client.finish().await?;
        ensure!(session.wire.rest_within(SECOND).await? == (vec![], End::Fin));
        Ok(())
    })
}

#[test]
fn d9_a_second_dial_that_fails() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.peer(2)?;
        let (mut client, first) = stage.dial(&peer).await?;
        // Nobody listens any more.
        drop(peer);
        Answer::Fin(0).give(first).await?;
        assert_reset(&mut client, &[]).await
    })
}

/// bitcoinj gives up 5.0 s after its connect.
#[test]
fn d9_a_second_dial_that_hangs_ends_within_the_client_s_patience() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.peer(2)?;
        let (mut client, first) = stage.dial(&peer).await?;
        stage.filter(peer.address()?.ip(), "drop")?;
        Answer::Fin(0).give(first).await?;
        assert_reset_after(&mut client, &[], CONNECT).await?;
        stage.stop_filtering()
    })
}

#[test]
fn d10_everything_the_client_said_goes_out_once_and_unchanged() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.v1_peer(2)?;
        let mut client = stage.connect(&peer)?;
        // Even a damaged message: after the fallback nothing is looked at any more.
        let said = [version_message(), message("verack", &[]), vec![0xAB; 500]].concat();
        client.write(&said).await?;
        Answer::Fin(0).give(peer.accept().await?).await?;
        let mut second = peer.accept().await?;
        client.finish().await?;
        let (arrived, end) = second.rest().await?;
        ensure!(arrived == said, "{} bytes of {}", arrived.len(), said.len());
        ensure!(end == End::Fin);
        Ok(())
    })
}

#[test]
fn d11_a_peer_that_spoke_v2_before_is_not_spoken_to_in_v1() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.peer(3)?;
        let (client, session) = stage.open_to(&peer).await?;
        drop((client, session));
        for answer in [Answer::Fin(0), Answer::Reset(0)] {
            let (mut client, next) = stage.dial(&peer).await?;
            answer.give(next).await?;
            assert_reset(&mut client, &[]).await?;
        }
        let log = stage.daemon.log()?;
        ensure!(log.contains("possible downgrade"), "nobody is told");
        // Another peer is none of its business.
        assert_falls_back(stage, Answer::Fin(0)).await
    })
}

#[test]
fn d12_one_fallback_for_a_client_s_connection() -> Result<()> {
    Stage::run(V1, async |stage| {
        let peer = stage.v1_peer(4)?;
        let (mut client, first) = stage.dial(&peer).await?;
        Answer::Fin(0).give(first).await?;
        let mut second = peer.accept().await?;
        second.read(version_message().len()).await?;
        second.reset()?;
        assert_reset(&mut client, &[]).await?;

        // Its next connection gets one of its own.
        let (mut client, first) = stage.dial(&peer).await?;
        Answer::Fin(0).give(first).await?;
        assert_spliced_v1(&peer, &mut client).await
    })
}

/// Whatever the peer says or does not say. What the others see on the wire under `--fallback v1`
/// shows that this would be seen, too.
#[test]
fn d13_under_reject_no_v1_byte_leaves() -> Result<()> {
    Stage::run(REJECT, async |stage| {
        for bytes in [0, 1, 63, 64, 5000] {
            assert_ends_unanswered(stage, &vec![0x5A; bytes]).await?;
        }
        assert_ends_unanswered(stage, &version_message()).await
    })
}

/// The peer sends `answer` and a FIN. The client gets a reset.
async fn assert_ends_unanswered(stage: &Stage<'_>, answer: &[u8]) -> Result<()> {
    let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
    // The daemon may have hung up before it has taken all.
    let _ = peer.write(answer).await;
    let _ = peer.finish().await;
    assert_reset(&mut client, &[]).await
}

/// How long TCP gets to connect, within all that a client waits.
const CONNECT: Range<Duration> = millis(3800)..millis(4900);
/// When a peer that says nothing is given up.
const SILENCE: Range<Duration> = millis(2900)..millis(4500);
