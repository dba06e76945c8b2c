//! Checklist C, the peer's garbage, terminator and version packet.

use bip324_transport::v2::{Error, KeyExchange, KeyPair, Role, Session};

use crate::peer::{
    DECOY, GENUINE, Inbox, MAGIC, Peer, ROLES, connect, connect_with_garbage, message, receiver,
    short,
};

const MISSING: Error = Error::GarbageTerminatorMissing(4111);

#[test]
fn our_side_of_the_handshake() {
    for role in ROLES {
        for length in [0, 1, 4094, 4095] {
            let garbage = vec![0x6E; length];
            let (_, mut peer) = connect_with_garbage(role, garbage.clone());
            let flight = std::mem::take(&mut peer.received);
            let packet = &flight[length + 16..];
            assert_eq!(packet.len(), 20, "an empty version packet");
            assert_eq!(flight[..length], garbage);
            assert_eq!(flight[length..length + 16], peer.expected_terminator);
            assert_eq!(peer.open(&garbage, packet), [(GENUINE, vec![])]);
        }
    }
}

#[test]
fn c1_any_legal_garbage() {
    for role in ROLES {
        for length in [0, 1, 15, 16, 17, 4094, 4095] {
            let (mut inbox, mut peer) = receiver(role);
            inbox.feed(&peer.hello(&vec![0x55; length])).unwrap();
            assert!(inbox.receiver.is_established(), "{length} bytes");
            assert_lives(inbox, peer);
        }
    }
}

#[test]
fn c2_garbage_of_4096_bytes_fails_at_byte_4111() {
    for role in ROLES {
        let (mut inbox, mut peer) = receiver(role);
        let hello = peer.hello(&[0x55; 4096]);
        inbox.feed_in(&[1], &hello[..4110]).unwrap();
        assert_eq!(inbox.feed(&hello[4110..4111]), Err(MISSING));

        let (mut inbox, mut peer) = receiver(role);
        assert_eq!(inbox.feed(&peer.hello(&[0x55; 4096])), Err(MISSING), "all at once");
        assert!(!inbox.receiver.is_established());
    }
}

#[test]
fn c3_a_damaged_terminator_is_none() {
    for bit in 0..128 {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        let mut hello = peer.hello(&[0x55; 100]);
        hello[100 + bit / 8] ^= 1 << (bit % 8);
        inbox.feed(&hello).unwrap();
        assert!(!inbox.receiver.is_established());
        assert_eq!(inbox.feed(&[0; 4111]), Err(MISSING), "bit {bit}");
    }
}

#[test]
fn c4_tampered_garbage_fails() {
    for bit in 0..8 * 32 {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        let mut hello = peer.hello(&[0x55; 32]);
        hello[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(inbox.feed(&hello), Err(Error::AuthenticationFailed), "bit {bit}");
    }
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    let hello = peer.hello(&[0x55; 32]);
    assert_eq!(inbox.feed(&hello[1..]), Err(Error::AuthenticationFailed), "a byte removed");
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    let hello = [vec![0x55], peer.hello(&[0x55; 32])].concat();
    assert_eq!(inbox.feed(&hello), Err(Error::AuthenticationFailed), "a byte added");
}

#[test]
fn c5_first_packet_without_the_garbage_as_associated_data_fails() {
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    let version = peer.packet(GENUINE, b"", b"");
    let hello = [b"garbage", peer.terminator.as_slice(), &version].concat();
    assert_eq!(inbox.feed(&hello), Err(Error::AuthenticationFailed));
}

#[test]
fn c5_second_packet_with_the_garbage_as_associated_data_fails() {
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    inbox.feed(&peer.hello(b"garbage")).unwrap();
    let packet = peer.packet(GENUINE, &short(18, b""), b"garbage");
    assert_eq!(inbox.feed(&packet), Err(Error::AuthenticationFailed));
}

#[test]
fn c6_contents_of_the_version_packet_are_ignored() {
    for contents in [vec![7; 5], vec![0; 1000], short(18, b"looks like a ping")] {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        let version = peer.packet(GENUINE, &contents, b"garbage");
        inbox.feed(&[b"garbage", peer.terminator.as_slice(), &version].concat()).unwrap();
        assert!(inbox.receiver.is_established());
        assert!(inbox.delivered.is_empty());
        assert_lives(inbox, peer);
    }
}

#[test]
fn c7_decoys_before_the_version_packet() {
    for decoys in [1, 2, 223, 224, 225, 1000] {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        inbox.feed(b"garbage").unwrap();
        inbox.feed(&peer.terminator.clone()).unwrap();
        inbox.feed(&peer.packet(DECOY, b"first", b"garbage")).unwrap();
        for i in 1..decoys {
            inbox.feed(&peer.packet(DECOY, &vec![0; i % 50], b"")).unwrap();
        }
        assert!(!inbox.receiver.is_established());
        inbox.feed(&peer.genuine(b"")).unwrap();
        assert!(inbox.receiver.is_established());
        assert_eq!(inbox.receiver.counts().decoys, decoys as u64);
        assert_lives(inbox, peer);
    }
}

#[test]
fn c9_the_terminator_s_beginning_inside_the_garbage() {
    for length in 1..16 {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        // Else the terminator would begin within its own beginning.
        if peer.terminator[length..] != peer.terminator[..16 - length] {
            let garbage = [&[1; 40], &peer.terminator[..length]].concat();
            inbox.feed_in(&[1], &peer.hello(&garbage)).unwrap();
            assert_lives(inbox, peer);
        }

        let (mut inbox, mut peer) = receiver(Role::Initiator);
        let garbage = [&peer.terminator[..length], &[1; 40]].concat();
        inbox.feed(&peer.hello(&garbage)).unwrap();
        assert_lives(inbox, peer);
    }
}

#[test]
fn c10_the_flight_cut_at_every_byte() {
    for cut in 0..150 {
        let (mut inbox, mut peer) = receiver(Role::Initiator);
        let mut flight = peer.hello(&[0x55; 60]);
        flight.extend(peer.genuine(&short(18, b"a message in the same segment")));
        inbox.feed(&flight[..cut.min(flight.len())]).unwrap();
        inbox.feed(&flight[cut.min(flight.len())..]).unwrap();
        assert_eq!(inbox.take(), message("ping", b"a message in the same segment"), "{cut}");
        assert_lives(inbox, peer);
    }
}

#[test]
fn c12_c13_our_own_bytes_come_back() {
    for role in ROLES {
        let exchange = KeyExchange::new(role, MAGIC).unwrap();
        let mut echo = exchange.first_flight();
        let key = *echo.first_chunk().unwrap();
        let session = exchange.complete(&key, &mut echo);
        let mut inbox = Inbox::new(session.receiver);
        inbox.feed(&echo[64..]).unwrap_or_else(|error| assert_eq!(error, MISSING));
        assert!(!inbox.receiver.is_established());
    }
}

/// Any 64 bytes are a key. Who does not know its secret cannot go on from it.
#[test]
fn c14_degenerate_keys_end_without_a_terminator() {
    let ours = KeyPair::generate().unwrap();
    for key in [[0; 64], [0xFF; 64], [1; 64], *ours.public()] {
        let exchange = KeyExchange::new(Role::Initiator, MAGIC).unwrap();
        let Session { receiver, .. } = exchange.complete(&key, &mut Vec::new());
        let mut inbox = Inbox::new(receiver);
        inbox.feed(&[0; 4110]).unwrap();
        assert_eq!(inbox.feed(&[0]), Err(MISSING));
    }
}

#[test]
fn session_ids_differ_between_sessions() {
    let (a, _) = connect(Role::Initiator);
    let (b, _) = connect(Role::Initiator);
    assert_ne!(a.id, b.id);
}

/// The session still carries a message.
#[track_caller]
fn assert_lives(mut inbox: Inbox, mut peer: Peer) {
    inbox.feed(&peer.genuine(&short(19, b"8 bytes."))).unwrap();
    assert_eq!(inbox.delivered, message("pong", b"8 bytes."));
}
