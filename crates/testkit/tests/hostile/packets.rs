//! C: the packets of an established session with a scripted responder.

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::{Session, long_form};
use bip324_transport::limits::{MAX_CONTENTS, MAX_PAYLOAD};
use bip324_transport::v2::{LENGTH_LEN, PACKET_OVERHEAD};

use crate::stage::*;

/// The peer of an established session sends these bytes, which close it. Until then the client
/// gets `delivered`.
async fn assert_breaks(
    stage: &Stage<'_>,
    bytes: impl FnOnce(&mut Session) -> Result<Vec<u8>>,
    delivered: &[u8],
) -> Result<()> {
    let (mut client, mut session) = stage.open().await?;
    let bytes = bytes(&mut session)?;
    session.wire.write(&bytes).await?;
    assert_closed(&mut client, &mut session.wire, delivered).await
}

#[test]
fn c8_only_the_top_bit_of_the_header_makes_a_decoy() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.open().await?;
        for genuine in [0x00, 0x01, 0x7F] {
            for header in [0x80, 0x81, 0xFF] {
                let decoy = session.seal.packet(header, &long_form("inv", b"decoy")?);
                session.wire.write(&decoy).await?;
            }
            let packet = session.seal.packet(genuine, &long_form("inv", &[genuine])?);
            session.wire.write(&packet).await?;
            ensure!(client.message(MAGIC).await? == (command("inv"), vec![genuine]));
        }
        assert_served(&mut client, &mut session).await
    })
}

#[test]
fn c15_a_huge_packet_announced_later() -> Result<()> {
    Stage::run(V1, async |stage| {
        stage.warm_up().await?;
        let before = stage.start_memory_watch()?;
        for length in [MAX_CONTENTS + 1, (1 << 24) - 1] {
            let huge =
                |session: &mut Session| Ok([&session.seal.length(length)[..], &[0; 1000]].concat());
            assert_breaks(stage, huge, &[]).await?;
        }
        stage.assert_little_memory_since(before)
    })
}

/// The control of the figures in the other tests: what does arrive is seen in them.
#[test]
fn c15_the_largest_packet_passes_and_takes_memory() -> Result<()> {
    Stage::run(V1, async |stage| {
        stage.warm_up().await?;
        let (mut client, mut session) = stage.open().await?;
        let before = stage.start_memory_watch()?;
        let payload = vec![0xB6; MAX_PAYLOAD];
        let (sent, arrived) =
            tokio::join!(session.send_message("block", &payload), client.message(MAGIC));
        sent?;
        ensure!(arrived? == (command("block"), payload), "it arrived damaged");
        let more = stage.peak_memory()?.saturating_sub(before);
        ensure!(more > 1024, "it took {more} KiB only");
        Ok(())
    })
}

#[test]
fn c16_nothing_of_a_bad_packet_or_behind_it_arrives() -> Result<()> {
    Stage::run(V1, async |stage| {
        // The version packet was the first one; keys change after 224.
        for bad in [2, 224, 225, 226, 500] {
            let good: Vec<_> = (2..bad).map(u32::to_le_bytes).collect();
            let bytes = |session: &mut Session| {
                let mut bytes = Vec::new();
                for payload in &good {
                    bytes.extend(session.seal.packet(0, &long_form("inv", payload)?));
                }
                bytes.extend(session.seal.packet(0, &long_form("inv", b"bad")?));
                *bytes.last_mut().context("the tag")? ^= 1;
                bytes.extend(session.seal.packet(0, &long_form("inv", b"behind")?));
                Ok(bytes)
            };
            let delivered = good.iter().flat_map(|payload| message("inv", payload));
            let delivered: Vec<_> = delivered.collect();
            assert_breaks(stage, bytes, &delivered)
                .await
                .with_context(|| format!("packet {bad}"))?;
        }
        Ok(())
    })
}

#[test]
fn c17_a_truncated_packet_is_never_delivered() -> Result<()> {
    Stage::run(V1, async |stage| {
        let whole = long_form("inv", &[1; 61])?;
        for cut in [1, 3, 4, 40, 93] {
            let (mut client, mut session) = stage.open().await?;
            let first = session.seal.packet(0, &whole);
            let second = session.seal.packet(0, &whole);
            let (part, _) = second.split_at_checked(cut).context("the cut lies inside")?;
            session.wire.write(&[&first, part].concat()).await?;
            session.wire.finish().await?;
            let delivered = message("inv", &[1; 61]);
            let closed = assert_closed(&mut client, &mut session.wire, &delivered).await;
            closed.with_context(|| format!("cut at {cut}"))?;
        }
        Ok(())
    })
}

#[test]
fn c18_a_replayed_packet() -> Result<()> {
    Stage::run(V1, async |stage| {
        let replay = |session: &mut Session| {
            let packet = session.seal.packet(0, &long_form("inv", b"once")?);
            // With the length that belongs here: a wrong one could be that of megabytes to come.
            let length = session.seal.length(packet.len() - PACKET_OVERHEAD);
            Ok([&packet[..], &length, &packet[LENGTH_LEN..]].concat())
        };
        assert_breaks(stage, replay, &message("inv", b"once")).await
    })
}

#[test]
fn c18_packets_out_of_order() -> Result<()> {
    Stage::run(V1, async |stage| {
        let swapped = |session: &mut Session| {
            let first = session.seal.packet(0, &long_form("inv", b"first.")?);
            let second = session.seal.packet(0, &long_form("inv", b"second")?);
            // The lengths stay in place, as above.
            let (length, rest) = second.split_at(LENGTH_LEN);
            Ok([&first[..LENGTH_LEN], rest, length, &first[LENGTH_LEN..]].concat())
        };
        assert_breaks(stage, swapped, &[]).await
    })
}

#[test]
fn c19_a_message_before_version_passes() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.meet().await?;
        let opening = session.opening(&[]);
        session.wire.write(&opening).await?;
        session.send_message("ping", b"early").await?;
        ensure!(client.message(MAGIC).await? == (command("ping"), b"early".to_vec()));
        assert_handshake_done(&mut session).await?;
        assert_served(&mut client, &mut session).await
    })
}

#[test]
fn c19_what_v1_cannot_say_is_dropped_and_an_unknown_type_passes() -> Result<()> {
    Stage::run(V1, async |stage| {
        let (mut client, mut session) = stage.open().await?;
        let mut unprintable = long_form("blocktxn", b"x")?;
        unprintable[3] = 0x7F;
        let mut padding = long_form("blocktxn", b"x")?;
        padding[12] = b'a';
        for dropped in
            [&[][..], &[29, 1], &[36], &[38, 1], &[255], b"\0inv", &unprintable, &padding]
        {
            session.send(dropped).await?;
        }
        session.send_message("fromthefutur", b"unknown").await?;
        let arrived = client.message(MAGIC).await?;
        ensure!(arrived == (command("fromthefutur"), b"unknown".to_vec()), "{arrived:?}");
        assert_served(&mut client, &mut session).await
    })
}
