//! C: the packets of an established session with a scripted responder.

use anyhow::{Result, ensure};
use bip324_testkit::peer::long_form;
use bip324_transport::limits::{MAX_CONTENTS, MAX_PAYLOAD};
use bip324_transport::v2::{LENGTH_LEN, PACKET_OVERHEAD};

use crate::harness::*;

#[tokio::test]
async fn c8_only_the_top_bit_of_the_header_makes_a_decoy() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    for header in [0x80, 0x81, 0xFF, 0xC0] {
        let decoy = session.seal.packet(header, &long_form("inv", b"decoy")?);
        session.wire.write(&decoy).await?;
    }
    for header in [0x00, 0x01, 0x7F] {
        let packet = session.seal.packet(header, &long_form("inv", &[header])?);
        session.wire.write(&packet).await?;
        ensure!(client.message(MAGIC).await? == (command("inv"), vec![header]));
    }
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn c15_a_huge_packet_announced_later() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    for length in [MAX_CONTENTS + 1, (1 << 24) - 1] {
        let (mut client, mut session) = daemon.open().await?;
        let announced = session.seal.length(length);
        session.wire.write(&announced).await?;
        assert_refused(&mut client).await?;
        session.wire.rest().await?;
    }
    Ok(())
}

#[tokio::test]
async fn c15_the_largest_message_passes() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let payload = vec![0xB6; MAX_PAYLOAD];
    let (sent, arrived) =
        tokio::join!(session.send_message("block", &payload), client.message(MAGIC));
    sent?;
    ensure!(arrived? == (command("block"), payload.clone()));
    let largest = message("block", &payload);
    let (sent, arrived) = tokio::join!(client.write(&largest), session.message());
    sent?;
    ensure!(arrived? == (command("block"), payload));
    Ok(())
}

#[tokio::test]
async fn c16_nothing_of_a_bad_packet_or_behind_it_arrives() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    // The version packet is the first one and `open` sends one more; keys change after 224.
    for bad in [3, 224, 225, 226, 500] {
        let (mut client, mut session) = daemon.open().await?;
        let mut expected = Vec::new();
        let mut bytes = Vec::new();
        for number in 3..bad {
            let payload = u32::to_le_bytes(number);
            bytes.extend(session.seal.packet(0, &long_form("inv", &payload)?));
            expected.extend(message("inv", &payload));
        }
        let mut packet = session.seal.packet(0, &long_form("inv", b"bad")?);
        *packet.last_mut().unwrap() ^= 1;
        bytes.extend(packet);
        bytes.extend(session.seal.packet(0, &long_form("inv", b"behind")?));
        session.wire.write(&bytes).await?;
        let (arrived, _) = client.rest().await?;
        ensure!(arrived == expected, "packet {bad}: {} bytes arrived", arrived.len());
        session.wire.rest().await?;
    }
    Ok(())
}

#[tokio::test]
async fn c17_a_truncated_packet_is_never_delivered() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let whole = long_form("inv", &[1; 61])?;
    for cut in [1, 3, 4, 40, 93] {
        let (mut client, mut session) = daemon.open().await?;
        let mut bytes = session.seal.packet(0, &whole);
        let last = session.seal.packet(0, &whole);
        bytes.extend(&last[..last.len().min(cut)]);
        session.wire.write(&bytes).await?;
        session.wire.finish().await?;
        let (arrived, _) = client.rest().await?;
        ensure!(arrived == message("inv", &[1; 61]), "cut at {cut}: {} bytes", arrived.len());
        session.wire.rest().await?;
    }
    Ok(())
}

#[tokio::test]
async fn c18_a_replayed_packet() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let packet = session.seal.packet(0, &long_form("inv", b"once")?);
    // With the length that belongs here: on a wrong one a receiver could wait for megabytes.
    let length = session.seal.length(packet.len() - PACKET_OVERHEAD);
    session.wire.write(&[&packet[..], &length, &packet[LENGTH_LEN..]].concat()).await?;
    let (arrived, _) = client.rest().await?;
    ensure!(arrived == message("inv", b"once"));
    Ok(())
}

#[tokio::test]
async fn c18_packets_out_of_order() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let first = session.seal.packet(0, &long_form("inv", b"first.")?);
    let second = session.seal.packet(0, &long_form("inv", b"second")?);
    // The lengths stay in place, as above.
    let (length, rest) = second.split_at(LENGTH_LEN);
    session
        .wire
        .write(&[&first[..LENGTH_LEN], rest, length, &first[LENGTH_LEN..]].concat())
        .await?;
    assert_refused(&mut client).await
}

#[tokio::test]
async fn c19_a_message_before_version_passes() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.meet().await?;
    let opening = session.opening(&[]);
    session.wire.write(&opening).await?;
    session.send_message("ping", b"early").await?;
    ensure!(client.message(MAGIC).await? == (command("ping"), b"early".to_vec()));
    Ok(())
}

#[tokio::test]
async fn c19_what_v1_cannot_say_is_dropped_and_an_unknown_type_passes() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (mut client, mut session) = daemon.open().await?;
    let mut unprintable = long_form("blocktxn", b"x")?;
    unprintable[3] = 0x7F;
    let mut padding = long_form("blocktxn", b"x")?;
    padding[12] = b'a';
    let too_long = [&[14], vec![0; MAX_PAYLOAD + 1].as_slice()].concat();
    for dropped in [&[][..], &[200], &[29, 1], b"\0inv", &unprintable, &padding] {
        session.send(dropped).await?;
    }
    session.send(&too_long).await?;
    session.send_message("fromthefutur", b"unknown").await?;
    let arrived = client.message(MAGIC).await?;
    ensure!(arrived == (command("fromthefutur"), b"unknown".to_vec()), "{arrived:?}");
    session.send(&[37, 1]).await?;
    ensure!(client.message(MAGIC).await? == (command("feature"), vec![1]));
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn c20_session_ids_are_equal() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let (_client, session) = daemon.open().await?;
    let ids: Vec<_> =
        daemon.stats.sessions().iter().map(|live| live.beginning.session_id).collect();
    ensure!(ids == [Some(session.id)], "{ids:?}, not {:?}", session.id);
    Ok(())
}
