//! C: the handshake with a scripted responder.

use anyhow::{Result, ensure};
use bip324_proxy::stats::Reason;
use bip324_testkit::peer::{Session, Wire, long_form};
use bip324_transport::limits::MAX_CONTENTS;
use bip324_transport::v2::KEY_LEN;

use crate::harness::*;

/// The peer's handshake goes out as `opening`, and the session works.
async fn assert_accepted(
    daemon: &Daemon,
    opening: impl FnOnce(&mut Session) -> Vec<u8>,
) -> Result<()> {
    let (mut client, mut session) = daemon.meet().await?;
    let bytes = opening(&mut session);
    session.wire.write(&bytes).await?;
    session.finish().await?;
    ensure!(session.message().await? == (command("version"), version()));
    assert_served(&mut client, &mut session).await
}

/// The peer's handshake goes out as `opening`, and ends the session: both sides are closed, the
/// client has got nothing, and v1 is not tried although the policy would let it.
async fn assert_rejected(opening: impl FnOnce(&mut Session) -> Vec<u8>) -> Result<()> {
    let daemon = Daemon::start(fallback_to_v1()).await?;
    let (mut client, mut session) = daemon.meet().await?;
    let bytes = opening(&mut session);
    // The daemon may be gone before it has read everything.
    let _ = session.wire.write(&bytes).await;
    assert_hung_up(&daemon, &mut client, &mut session.wire).await
}

async fn assert_hung_up(daemon: &Daemon, client: &mut Wire, peer: &mut Wire) -> Result<()> {
    assert_refused(client).await?;
    peer.rest().await?;
    ensure!(daemon.dials().len() == 1, "dialled {} times", daemon.dials().len());
    ensure!(daemon.stats.refused(Reason::Handshake) == 1, "not counted as a handshake failure");
    ensure!(daemon.stats.panics() == 0, "a session panicked");
    Ok(())
}

#[tokio::test]
async fn c1_garbage_of_every_legal_length() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for length in [0, 1, 15, 16, 17, 4094, 4095] {
        assert_accepted(&daemon, |session| session.opening(&vec![0x5A; length])).await?;
    }
    Ok(())
}

#[tokio::test]
async fn c2_garbage_one_byte_too_long() -> Result<()> {
    assert_rejected(|session| session.opening(&[0x5A; 4096])).await
}

#[tokio::test]
async fn c2_garbage_ends_the_session_at_byte_4111() -> Result<()> {
    assert_rejected(|session| [session.key.as_slice(), &[0x5A; 4111]].concat()).await
}

#[tokio::test]
async fn c2_garbage_may_still_end_after_byte_4110() -> Result<()> {
    let daemon = Daemon::start(handshake_within(millis(400))).await?;
    let (mut client, mut session) = daemon.meet().await?;
    let bytes = [session.key.as_slice(), &[0x5A; 4110]].concat();
    let start = tokio::time::Instant::now();
    session.wire.write(&bytes).await?;
    assert_refused(&mut client).await?;
    ensure!(start.elapsed() >= millis(390), "closed before the deadline: {:?}", start.elapsed());
    Ok(())
}

#[tokio::test]
async fn c3_terminator_with_a_flipped_bit() -> Result<()> {
    for bit in [0, 63, 127] {
        assert_rejected(|session| {
            session.terminator[bit / 8] ^= 1 << (bit % 8);
            // Enough behind it for the search to come to its end.
            [session.opening(&[7; 100]), vec![0; 4111]].concat()
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c3_terminator_that_never_comes_meets_the_deadline() -> Result<()> {
    let daemon = Daemon::start(handshake_within(millis(300))).await?;
    let (mut client, mut session) = daemon.meet().await?;
    session.wire.write(&[session.key.as_slice(), &[7; 100]].concat()).await?;
    assert_hung_up(&daemon, &mut client, &mut session.wire).await
}

#[tokio::test]
async fn c4_garbage_tampered_with() -> Result<()> {
    for position in [0, 50, 99] {
        assert_rejected(|session| {
            let mut bytes = session.opening(&[7; 100]);
            bytes[KEY_LEN + position] ^= 1;
            bytes
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c4_a_bit_more_or_less_of_garbage() -> Result<()> {
    for authenticated in [99, 101] {
        assert_rejected(|session| {
            let version = session.seal.packet_with(0, &[], &vec![7; authenticated]);
            [&session.key[..], &[7; 100], &session.terminator, &version].concat()
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c5_first_packet_that_does_not_authenticate_the_garbage() -> Result<()> {
    assert_rejected(|session| {
        let version = session.seal.packet(0, &[]);
        [&session.key[..], &[7; 100], &session.terminator, &version].concat()
    })
    .await
}

#[tokio::test]
async fn c6_version_packet_with_contents() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for length in [5, 1000] {
        assert_accepted(&daemon, |session| {
            let version = session.seal.packet_with(0, &vec![0xC6; length], b"garbage");
            [&session.key[..], b"garbage", &session.terminator, &version].concat()
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c7_decoys_before_the_version_packet() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for count in [0, 1, 2, 1000] {
        assert_accepted(&daemon, |session| {
            let mut bytes = [&session.key[..], b"garbage", &session.terminator].concat();
            let mut garbage: &[u8] = b"garbage";
            for _ in 0..count {
                bytes.extend(session.seal.packet_with(DECOY, &[1, 2, 3], garbage));
                garbage = &[];
            }
            bytes.extend(session.seal.packet_with(0, &[], garbage));
            bytes
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c7_a_decoy_as_long_as_any_message_before_the_version_packet() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    assert_accepted(&daemon, |session| {
        let decoy = session.seal.packet(DECOY, &vec![0; MAX_CONTENTS]);
        let version = session.seal.packet(0, &[]);
        [&session.key[..], &session.terminator, &decoy, &version].concat()
    })
    .await
}

#[tokio::test]
async fn c8_a_decoy_header_of_0x81_is_no_version_packet() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    assert_accepted(&daemon, |session| {
        let decoy = session.seal.packet(0x81, b"decoy");
        // Were it taken for a message, the client would get it.
        let version = session.seal.packet(0x7F, &long_form("inv", b"ignored").unwrap());
        [&session.key[..], &session.terminator, &decoy, &version].concat()
    })
    .await
}

#[tokio::test]
async fn c9_the_garbage_holds_most_of_the_terminator() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for repeat in [1, 3] {
        assert_accepted(&daemon, |session| {
            // Ends otherwise than the terminator, whose last byte may well be its first one, too.
            let mut almost = session.terminator.to_vec();
            almost[15] ^= 1;
            session.opening(&[b"before".to_vec(), almost.repeat(repeat)].concat())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c10_every_byte_of_the_handshake_in_a_segment_of_its_own() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.meet().await?;
    let mut bytes = session.opening(b"some garbage");
    bytes.extend(session.seal.packet(0, &long_form("verack", &[])?));
    for byte in bytes {
        session.wire.write(&[byte]).await?;
        tokio::task::yield_now().await;
    }
    ensure!(client.message(MAGIC).await? == (command("verack"), vec![]));
    session.finish().await?;
    ensure!(session.message().await? == (command("version"), version()));
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn c10_the_handshake_and_the_first_messages_in_one_segment() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.meet().await?;
    let mut bytes = session.opening(b"some garbage");
    for number in 0..10 {
        bytes.extend(session.seal.packet(0, &long_form("inv", &[number])?));
    }
    let next = session.seal.packet(0, &long_form("inv", &[10])?);
    let (now, later) = next.split_at(7);
    bytes.extend(now);
    session.wire.write(&bytes).await?;
    for number in 0..10 {
        ensure!(client.message(MAGIC).await? == (command("inv"), vec![number]));
    }
    session.wire.write(later).await?;
    ensure!(client.message(MAGIC).await? == (command("inv"), vec![10]));
    session.finish().await?;
    ensure!(session.message().await? == (command("version"), version()));
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn c11_peer_answers_in_v1() -> Result<()> {
    let timeouts = handshake_within(millis(500)).timeouts;
    let daemon = Daemon::start(bip324_proxy::Config { timeouts, ..fallback_to_v1() }).await?;
    let (mut client, session) = daemon.meet().await?;
    let mut peer = session.wire;
    peer.write(&version_message()).await?;
    assert_hung_up(&daemon, &mut client, &mut peer).await
}

#[tokio::test]
async fn c12_peer_echoes_everything() -> Result<()> {
    let timeouts = handshake_within(millis(500)).timeouts;
    let daemon = Daemon::start(bip324_proxy::Config { timeouts, ..fallback_to_v1() }).await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()).await?;
    let mut peer = node.accept().await?;
    while let Ok(bytes) = peer.read_once().await {
        if peer.write(&bytes).await.is_err() {
            break;
        }
    }
    assert_hung_up(&daemon, &mut client, &mut peer).await
}

#[tokio::test]
async fn c13_peer_claims_our_own_key() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()).await?;
    let mut peer = node.accept().await?;
    let key = peer.read(KEY_LEN).await?;
    let _ = peer.write(&[key, vec![0; 4111]].concat()).await;
    assert_hung_up(&daemon, &mut client, &mut peer).await
}

#[tokio::test]
async fn c14_keys_of_zeros_and_of_ones() -> Result<()> {
    for byte in [0x00, 0xFF] {
        assert_rejected(|_| vec![byte; KEY_LEN + 4111]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn c15_a_huge_packet_announced_in_the_handshake() -> Result<()> {
    for length in [MAX_CONTENTS + 1, (1 << 24) - 1] {
        assert_rejected(|session| {
            let announced = session.seal.length(length);
            [&session.key[..], &session.terminator, &announced].concat()
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn c16_a_version_packet_with_a_bad_tag() -> Result<()> {
    assert_rejected(|session| {
        let mut bytes = session.opening(&[]);
        *bytes.last_mut().unwrap() ^= 1;
        [bytes, session.seal.packet(0, &long_form("inv", b"behind").unwrap())].concat()
    })
    .await
}

/// Header of a packet that means nothing.
const DECOY: u8 = 0x80;
