//! C: the handshake with a scripted responder.
//!
//! The daemon runs with `--fallback v1`: that it does not dial again, and speaks no v1, then is its
//! own judgement of what the peer did.

use anyhow::{Result, ensure};
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::peer::{End, Session, long_form};
use bip324_testkit::v1::V1Client;
use bip324_testkit::wait::PATIENCE;
use bip324_transport::limits::MAX_CONTENTS;
use bip324_transport::v2::KEY_LEN;

use crate::stage::*;

/// The peer's handshake goes out as `opening` makes it of each variant, and the session works.
fn accepted<T>(
    variants: impl IntoIterator<Item = T>,
    opening: impl Fn(&mut Session, T) -> Vec<u8>,
) -> Result<()> {
    Stage::run(V1, async |stage| {
        for variant in variants {
            let (mut client, mut session) = stage.meet().await?;
            let bytes = opening(&mut session, variant);
            session.wire.write(&bytes).await?;
            assert_handshake_done(&mut session).await?;
            assert_served(&mut client, &mut session).await?;
        }
        Ok(())
    })
}

/// The peer's handshake goes out as `opening` makes it of each variant, and closes the session: the
/// client gets nothing. Memory that it costs must not show.
fn rejected<T>(
    variants: impl IntoIterator<Item = T>,
    opening: impl Fn(&mut Session, T) -> Vec<u8>,
) -> Result<()> {
    Stage::run(V1, async |stage| {
        stage.warm_up().await?;
        let before = stage.start_memory_watch()?;
        for variant in variants {
            let (mut client, mut session) = stage.meet().await?;
            let bytes = opening(&mut session, variant);
            // The daemon may be gone before it has read everything.
            let _ = session.wire.write(&bytes).await;
            assert_closed(&mut client, &mut session.wire, &[]).await?;
        }
        stage.assert_little_memory_since(before)
    })
}

#[test]
fn c1_garbage_of_every_legal_length() -> Result<()> {
    accepted([0, 1, 4094, 4095], |session, length| session.opening(&vec![0x5A; length]))
}

#[test]
fn c2_garbage_of_4096_bytes() -> Result<()> {
    rejected([4096], |session, length| session.opening(&vec![0x5A; length]))
}

#[test]
fn c2_garbage_is_waited_out_up_to_byte_4110_and_not_beyond() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.meet().await?;
        let bytes = [session.key.as_slice(), &[0x5A; 4110]].concat();
        session.wire.write(&bytes).await?;
        assert_quiet(&mut client).await?;
        session.wire.write(&[0x5A]).await?;
        assert_closed(&mut client, &mut session.wire, &[]).await
    })
}

#[test]
fn c3_a_terminator_with_a_flipped_bit() -> Result<()> {
    rejected([0, 63, 127], |session, bit| {
        session.terminator[bit / 8] ^= 1 << (bit % 8);
        // Enough behind it for the search to come to its end.
        [session.opening(&[7; 100]), vec![0; 4111]].concat()
    })
}

#[test]
fn c3_a_flipped_terminator_and_silence_meet_the_deadline() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.meet().await?;
        session.terminator[0] ^= 1;
        let bytes = session.opening(&[7; 100]);
        session.wire.write(&bytes).await?;
        assert_reset_after(&mut client, &[], HANDSHAKE).await?;
        session.wire.rest_within(SECOND).await?;
        Ok(())
    })
}

#[test]
fn c4_garbage_tampered_with() -> Result<()> {
    rejected([0, 50, 99], |session, position| {
        let mut bytes = session.opening(&[7; 100]);
        bytes[KEY_LEN + position] ^= 1;
        bytes
    })
}

#[test]
fn c5_a_first_packet_that_does_not_authenticate_the_garbage() -> Result<()> {
    rejected([1, 4095], |session, length| {
        let version = session.seal.packet(0, &[]);
        [&session.key[..], &vec![7; length], &session.terminator, &version].concat()
    })
}

#[test]
fn c6_a_version_packet_with_contents() -> Result<()> {
    accepted([5, 1000], |session, length| {
        let version = session.seal.packet_with(0, &vec![0xC6; length], b"garbage");
        [&session.key[..], b"garbage", &session.terminator, &version].concat()
    })
}

#[test]
fn c7_decoys_before_the_version_packet() -> Result<()> {
    accepted([0, 1, 1000], |session, count| {
        let mut bytes = [&session.key[..], b"garbage", &session.terminator].concat();
        let mut garbage: &[u8] = b"garbage";
        for _ in 0..count {
            bytes.extend(session.seal.packet_with(DECOY, &[1, 2, 3], garbage));
            garbage = &[];
        }
        bytes.extend(session.seal.packet_with(0, &[], garbage));
        bytes
    })
}

#[test]
fn c7_a_first_decoy_that_does_not_authenticate_the_garbage() -> Result<()> {
    rejected([DECOY], |session, header| {
        let decoy = session.seal.packet(header, &[1, 2, 3]);
        let version = session.seal.packet_with(0, &[], b"garbage");
        [&session.key[..], b"garbage", &session.terminator, &decoy, &version].concat()
    })
}

#[test]
fn c8_a_decoy_before_the_version_packet_whatever_its_other_bits() -> Result<()> {
    accepted([0x80, 0x81, 0xFF], |session, header| {
        let decoy = session.seal.packet(header, b"decoy");
        // Were it not the version packet, the client would get it as a message.
        let version = session.seal.packet(0x7F, &long_form("inv", b"ignored").unwrap());
        [&session.key[..], &session.terminator, &decoy, &version].concat()
    })
}

#[test]
fn c9_the_garbage_holds_most_of_the_terminator() -> Result<()> {
    accepted([0, 1, 3], |session, repeat| {
        let mut almost = session.terminator.to_vec();
        almost[15] ^= 1;
        let mut garbage = almost.repeat(repeat);
        // Straight before the terminator, unless that then began where these 15 bytes do.
        if session.terminator[0] != session.terminator[15] {
            garbage.extend(&session.terminator[..15]);
        }
        session.opening(&garbage)
    })
}

#[test]
fn c10_every_byte_in_a_write_of_its_own() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.meet().await?;
        let mut bytes = session.opening(b"some garbage");
        bytes.extend(session.seal.packet(0, &long_form("verack", &[])?));
        for byte in bytes {
            session.wire.write(&[byte]).await?;
            tokio::task::yield_now().await;
        }
        ensure!(client.message(MAGIC).await? == (command("verack"), vec![]));
        assert_handshake_done(&mut session).await?;
        assert_served(&mut client, &mut session).await
    })
}

#[test]
fn c10_the_handshake_and_the_first_messages_in_one_segment() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.meet().await?;
        let mut bytes = session.opening(b"some garbage");
        for number in 0..10 {
            bytes.extend(session.seal.packet(0, &long_form("inv", &[number])?));
        }
        // The last is cut.
        let next = session.seal.packet(0, &long_form("inv", &[10])?);
        let (now, later) = next.split_at(7);
        bytes.extend(now);
        session.wire.write(&bytes).await?;
        for number in 0..10 {
            ensure!(client.message(MAGIC).await? == (command("inv"), vec![number]));
        }
        session.wire.write(later).await?;
        ensure!(client.message(MAGIC).await? == (command("inv"), vec![10]));
        assert_handshake_done(&mut session).await?;
        assert_served(&mut client, &mut session).await
    })
}

/// A v1 node hangs up on what looks like noise to it, having sent its own VERSION or not.
#[test]
fn c11_the_peer_answers_in_v1_and_hangs_up() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        peer.write(&version_message()).await?;
        peer.finish().await?;
        assert_closed(&mut client, &mut peer, &[]).await
    })
}

/// Its bytes are taken for a key and garbage, which has to end.
#[test]
fn c11_the_peer_answers_in_v1_and_goes_on() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        peer.write(&version_message().repeat(50)).await?;
        assert_closed(&mut client, &mut peer, &[]).await
    })
}

#[test]
fn c11_the_peer_answers_in_v1_and_waits() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        peer.write(&version_message()).await?;
        assert_reset_after(&mut client, &[], HANDSHAKE).await?;
        peer.rest_within(SECOND).await?;
        Ok(())
    })
}

#[test]
fn c12_the_peer_echoes_everything() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        let echo = async {
            while let Ok(bytes) = peer.read_once().await {
                if peer.write(&bytes).await.is_err() {
                    break;
                }
            }
        };
        // Either the echoed garbage is too long for a handshake, or the handshake never ends.
        let (end, ()) = tokio::join!(client.rest_within(HANDSHAKE.end), echo);
        ensure!(end? == (vec![], End::Reset));
        Ok(())
    })
}

#[test]
fn c13_the_peer_claims_our_own_key() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut peer) = stage.dial(&stage.peer(1)?).await?;
        let key = peer.read(KEY_LEN).await?;
        let _ = peer.write(&[key, vec![0; 4111]].concat()).await;
        assert_closed(&mut client, &mut peer, &[]).await
    })
}

#[test]
fn c14_keys_of_zeros_and_of_ones() -> Result<()> {
    rejected([0x00, 0xFF], |_, byte| vec![byte; KEY_LEN + 4111])
}

#[test]
fn c15_a_huge_packet_announced_in_the_handshake() -> Result<()> {
    rejected([MAX_CONTENTS + 1, (1 << 24) - 1], |session, length| {
        let announced = session.seal.length(length);
        [&session.key[..], &session.terminator, &announced, &[0; 1000]].concat()
    })
}

#[test]
fn c16_a_version_packet_with_a_bad_tag() -> Result<()> {
    rejected([1, 0x80], |session, flipped| {
        let mut bytes = session.opening(&[]);
        *bytes.last_mut().unwrap() ^= flipped;
        [bytes, session.seal.packet(0, &long_form("inv", b"behind").unwrap())].concat()
    })
}

/// Whoever sat between the two would have to have two sessions.
#[test]
fn c20_daemon_and_node_name_the_same_session() -> Result<()> {
    Stage::run(V1, async |stage| {
        let node = Node::start(stage.lab, Network::Regtest, &[])?;
        for family in Family::BOTH {
            stage.expect_node(family, 1);
            let mut client = V1Client::redirected(stage.lab, Network::Regtest, family.peer())?;
            client.handshake()?;
            client.ping(1)?;
            let peer = node.wait_for_peer(PATIENCE)?;
            ensure!(peer.transport_protocol_type == "v2", "{peer:?}");
            let ours = stage.daemon.session_ids()?;
            ensure!(ours.last() == Some(&peer.session_id), "{peer:?} is none of {ours:?}");
            drop(client);
            node.wait_for_no_peer(PATIENCE)?;
        }
        Ok(())
    })
}

/// Header of a packet that means nothing.
const DECOY: u8 = 0x80;
