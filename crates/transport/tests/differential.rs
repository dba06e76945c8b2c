//! Against the `bip324` crate, which shares no code with us but libsecp256k1. Checklist A6.

use bip324::{GarbageResult, Handshake, PacketType, Role as TheirRole, VersionResult};
use bip324_transport::v2::{KeyExchange, Role, Session};

use crate::peer::{Inbox, MAGIC, Outbox, ROLES, long, message, padded, short};

/// Messages each way, across 44 rekeys.
const MESSAGES: usize = 10_000;

#[test]
fn a6_ten_thousand_messages_to_the_crate() {
    for role in ROLES {
        let (session, theirs) = connect(role, b"", &[]);
        let (mut inbound, _) = theirs.into_split();
        let mut outbox = Outbox::new(session.sender);
        for number in 0..MESSAGES {
            let (sent, contents) = numbered(number);
            outbox.feed(&sent).unwrap();
            let mut packet = outbox.take();
            let (length, sealed) = packet.split_first_chunk_mut().unwrap();
            assert_eq!(inbound.decrypt_packet_len(*length), sealed.len(), "message {number}");
            let (kind, plaintext) = inbound.decrypt_in_place(sealed, None).unwrap();
            assert_eq!(kind, PacketType::Genuine);
            assert!(plaintext[1..] == contents, "message {number}");
        }
        assert_eq!(outbox.sender.counts().messages, MESSAGES as u64);
    }
}

#[test]
fn a6_ten_thousand_messages_from_the_crate() {
    for role in ROLES {
        let (session, theirs) = connect(role, b"", &[]);
        let (_, mut outbound) = theirs.into_split();
        let mut inbox = Inbox::new(session.receiver);
        for number in 0..MESSAGES {
            let (expected, contents) = numbered(number);
            if number % 7 == 0 {
                let decoy = outbound.encrypt_to_vec(&contents, PacketType::Decoy, None);
                inbox.feed(&decoy).unwrap();
            }
            let packet = outbound.encrypt_to_vec(&contents, PacketType::Genuine, None);
            inbox.feed(&packet).unwrap();
            assert!(inbox.take() == expected, "message {number}");
        }
        assert_eq!(inbox.receiver.counts().messages, MESSAGES as u64);
    }
}

#[test]
fn garbage_and_decoys_of_the_crate() {
    let decoys: [&[u8]; 4] = [b"", b"decoy", &[0x18; 300], &[0; 70_000]];
    for role in ROLES {
        for garbage in [0, 1, 15, 16, 100, 4094, 4095] {
            for decoys in [&decoys[..0], &decoys[..1], &decoys] {
                let (session, theirs) = connect(role, &vec![0x47; garbage], decoys);
                assert_eq!(session.id.to_bytes(), *theirs.id());
                assert_eq!(session.receiver.counts().decoys, decoys.len() as u64);
            }
        }
    }
}

/// Message `number` in v1, and as contents of a v2 packet. Sizes up to 1.5 MB, forms in turn.
fn numbered(number: usize) -> (Vec<u8>, Vec<u8>) {
    let length = match number % 1000 {
        999 => 150 * number,
        99 | 199 | 299 => 40_000 + number,
        small => small * 7919 % 700,
    };
    let mut payload = vec![number as u8; length];
    payload.iter_mut().zip(number.to_le_bytes()).for_each(|(place, byte)| *place = byte);
    match number % 3 {
        0 => (message("inv", &payload), short(14, &payload)),
        1 => (message("block", &payload), short(2, &payload)),
        _ => (message("wtxidrelay", &payload), long(padded("wtxidrelay"), &payload)),
    }
}

/// A session of ours in `role` with one of the crate's, the handshake done on both sides.
fn connect(role: Role, garbage: &[u8], decoys: &[&[u8]]) -> (Session, bip324::CipherSession) {
    let ours = KeyExchange::new(role, MAGIC).unwrap();
    let our_flight = ours.first_flight();
    let (our_key, our_garbage) = our_flight.split_first_chunk().unwrap();

    let their_role = match role {
        Role::Initiator => TheirRole::Responder,
        Role::Responder => TheirRole::Initiator,
    };
    let theirs = Handshake::new(MAGIC.to_bytes(), their_role).unwrap();
    let mut their_flight = vec![0; 64 + garbage.len()];
    let theirs =
        theirs.send_key(Some(garbage), &mut their_flight).unwrap_or_else(|e| panic!("{e}"));
    let theirs = theirs.receive_key(*our_key).unwrap_or_else(|e| panic!("{e}"));
    let packets: usize = decoys.iter().map(|decoy| decoy.len() + 20).sum();
    let mut second = vec![0; 16 + packets + 20];
    let theirs = theirs.send_version(&mut second, Some(decoys)).unwrap_or_else(|e| panic!("{e}"));

    let mut from_us = our_garbage.to_vec();
    let their_key = their_flight.first_chunk().unwrap();
    let mut session = ours.complete(their_key, &mut from_us);
    let mut from_them = [&their_flight[64..], &second].concat();
    let progress = session.receiver.translate(&mut from_them, &mut Vec::new()).unwrap();
    assert_eq!(progress.consumed, from_them.len());
    assert!(session.receiver.is_established());
    (session, their_end(theirs, &mut from_us))
}

/// The crate's side reads garbage, terminator and version packet of ours.
fn their_end(
    handshake: Handshake<bip324::SentVersion>,
    received: &mut [u8],
) -> bip324::CipherSession {
    let scanned = received.to_vec();
    let Ok(GarbageResult::FoundGarbage { mut handshake, consumed_bytes }) =
        handshake.receive_garbage(&scanned)
    else {
        panic!("the crate finds no terminator");
    };
    let (length, sealed) = received[consumed_bytes..].split_first_chunk_mut().unwrap();
    assert_eq!(handshake.decrypt_packet_len(*length).unwrap_or_default(), sealed.len());
    match handshake.receive_version(sealed) {
        Ok(VersionResult::Complete { cipher }) => cipher,
        Ok(VersionResult::Decoy(_)) => panic!("the crate takes our version packet for a decoy"),
        Err(error) => panic!("the crate refuses our version packet: {error}"),
    }
}
