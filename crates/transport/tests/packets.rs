//! Checklist A5 and C, packets after the handshake: decoys, damage, replay, truncation.

use std::cmp::Ordering;

use bip324_transport::v2::{Error, LENGTH_LEN, Role};

use crate::peer::{GENUINE, established, message, receiver, short};

#[test]
fn c8_bit_7_alone_marks_a_decoy() {
    let (mut inbox, mut peer) = established();
    for header in 0..=u8::MAX {
        inbox.feed(&peer.packet(header, &short(18, &[header]), b"")).unwrap();
        let expected = if header < 0x80 { message("ping", &[header]) } else { vec![] };
        assert_eq!(inbox.take(), expected, "header {header:#04x}");
    }
    assert_eq!(inbox.receiver.counts().decoys, 128);
    assert_eq!(inbox.receiver.counts().messages, 128);
}

#[test]
fn c8_bit_7_alone_marks_a_decoy_in_the_handshake() {
    for (header, established) in
        [(0x00, true), (0x01, true), (0x7F, true), (0x80, false), (0x81, false), (0xFF, false)]
    {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        let first = peer.packet(header, b"", b"");
        inbox.feed(&[peer.terminator.as_slice(), &first].concat()).unwrap();
        assert_eq!(inbox.receiver.is_established(), established, "header {header:#04x}");
    }
}

#[test]
fn c8_decoys_of_any_contents_between_messages() {
    let (mut inbox, mut peer) = established();
    for contents in [vec![], short(18, b"no ping"), vec![0xFF; 5], vec![0; 300_000]] {
        inbox.feed(&peer.packet(0x80, &contents, b"")).unwrap();
        inbox.feed(&peer.genuine(&short(18, b"ping"))).unwrap();
        assert_eq!(inbox.take(), message("ping", b"ping"));
    }
    assert_eq!(inbox.receiver.counts().dropped, 0);
}

#[test]
fn a5_any_damaged_bit_ends_the_session() {
    let contents = short(18, b"sixteen bytes...");
    let bits = 8 * (LENGTH_LEN + 1 + contents.len() + 16);
    for bit in 0..bits {
        let (mut inbox, mut peer) = established();
        inbox.feed(&peer.genuine(&short(19, b"before"))).unwrap();
        let mut packet = peer.genuine(&contents);
        packet[bit / 8] ^= 1 << (bit % 8);
        if bit < 8 * LENGTH_LEN {
            // A length made greater waits for as much.
            packet.resize(packet.len() + (1 << 22), 0);
        }
        inbox.feed(&packet).unwrap_err();
        assert_eq!(inbox.delivered, message("pong", b"before"), "bit {bit}");
    }
}

#[test]
fn c15_an_endless_packet_ends_the_session_at_its_length() {
    const ENDLESS: usize = (1 << 24) - 1;
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    inbox.feed(&peer.terminator).unwrap();
    assert_eq!(inbox.feed(&peer.length(ENDLESS)), Err(Error::ContentsTooLong(ENDLESS)));
    let (mut inbox, mut peer) = established();
    assert_eq!(inbox.feed(&peer.length(ENDLESS)), Err(Error::ContentsTooLong(ENDLESS)));
}

#[test]
fn c16_nothing_of_a_bad_packet_or_after_it_is_delivered() {
    // The version packet was number 0: a key ends with number 223.
    for bad in [1, 2, 222, 223, 224, 225, 447, 448, 1000] {
        let (mut inbox, mut peer) = established();
        let mut stream = Vec::new();
        let mut before = Vec::new();
        for number in 1_u32..bad + 3 {
            let mut packet = peer.genuine(&short(18, &number.to_le_bytes()));
            match number.cmp(&bad) {
                Ordering::Less => before.extend(message("ping", &number.to_le_bytes())),
                Ordering::Equal => *packet.last_mut().unwrap() ^= 1,
                Ordering::Greater => {}
            }
            stream.extend(packet);
        }
        assert_eq!(inbox.feed(&stream), Err(Error::AuthenticationFailed));
        assert_eq!(inbox.delivered, before, "packet {bad}");
    }
}

#[test]
fn c17_a_truncated_packet_is_never_delivered() {
    let (mut inbox, mut peer) = established();
    let whole = peer.genuine(&short(18, b"whole"));
    let cut = peer.genuine(&short(2, &[7; 1000]));
    inbox.feed(&whole).unwrap();
    inbox.feed_in(&[1], &cut[..cut.len() - 1]).unwrap();
    assert_eq!(inbox.delivered, message("ping", b"whole"));
    inbox.feed(&cut[cut.len() - 1..]).unwrap();
    assert!(inbox.delivered.ends_with(&message("block", &[7; 1000])), "its last byte completes it");
}

#[test]
fn c18_replayed_reordered_and_missing_packets_end_the_session() {
    let three = || {
        let (inbox, mut peer) = established();
        let packets = [b"a", b"b", b"c"].map(|payload| peer.genuine(&short(18, payload)));
        (inbox, packets)
    };
    for (order, delivered) in [
        (&[0, 0][..], 1),
        (&[0, 1, 1], 2),
        (&[0, 1, 0], 2),
        (&[1], 0),
        (&[0, 2], 1),
        (&[2, 1, 0], 0),
    ] {
        let (mut inbox, packets) = three();
        let stream: Vec<u8> = order.iter().flat_map(|&i: &usize| packets[i].clone()).collect();
        // The length of a packet out of place decrypts to anything: feed as much as that may ask for.
        let result = inbox.feed(&stream).and_then(|()| inbox.feed(&vec![0; 1 << 22]));
        assert!(result.is_err(), "{order:?}");
        let expected = [b"a", b"b", b"c"].map(|payload| message("ping", payload));
        assert_eq!(inbox.delivered, expected[..delivered].concat(), "{order:?}");
    }
}

#[test]
fn c19_messages_before_version_pass_as_in_v1() {
    let (mut inbox, mut peer) = established();
    inbox.feed(&peer.packet(GENUINE, &short(14, b"early"), b"")).unwrap();
    assert_eq!(inbox.delivered, message("inv", b"early"));
}
