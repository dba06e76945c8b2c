//! What holds for any messages, any cutting and any input.

use bip324_transport::command::Command;
use bip324_transport::v1::{Header, Magic};
use bip324_transport::v2::{Error, KeyExchange, KeyPair, Role};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::peer::{
    Inbox, MAGIC, Outbox, ROLES, established, long, message, raw_message, receiver, sender, short,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// B9 and B11: our own two ends, both directions, every stream cut anywhere.
    #[test]
    fn b9_messages_survive_any_fragmentation(
        messages in [messages(), messages()],
        client_reads in [sizes(), sizes()],
        peer_reads in [sizes(), sizes()],
    ) {
        let [initiator, responder] = sessions();
        let mut outboxes = [initiator.0, responder.0];
        let mut inboxes = [responder.1, initiator.1];
        for direction in 0..2 {
            let stream = messages[direction].concat();
            let (outbox, inbox) = (&mut outboxes[direction], &mut inboxes[direction]);
            outbox.feed_in(&client_reads[direction], &stream).unwrap();
            inbox.feed_in(&peer_reads[direction], &outbox.take()).unwrap();
            prop_assert!(inbox.receiver.is_established());
            prop_assert_eq!(inbox.take(), stream);
            prop_assert_eq!(outbox.sender.counts().messages, messages[direction].len() as u64);
        }
    }

    /// Garbage of any length, decoys anywhere, either role.
    #[test]
    fn b9_messages_survive_garbage_and_decoys(
        role in select(&ROLES),
        garbage in vec(any::<u8>(), 0..=4095),
        early in vec(vec(any::<u8>(), 0..100), 0..5),
        packets in vec((0x80..=u8::MAX, vec(any::<u8>(), 0..200), any_message()), 0..20),
        reads in sizes(),
    ) {
        let (mut inbox, mut peer) = receiver(role);
        let mut stream = [garbage.as_slice(), &peer.terminator].concat();
        let mut aad = garbage.as_slice();
        for decoy in &early {
            stream.extend(peer.packet(0x80, decoy, aad));
            aad = b"";
        }
        stream.extend(peer.packet(0, b"", aad));
        let mut expected = Vec::new();
        for (header, decoy, message) in &packets {
            stream.extend(peer.packet(*header, decoy, b""));
            let (command, payload) = (message[4..16].try_into().unwrap(), &message[24..]);
            stream.extend(peer.genuine(&long(command, payload)));
            expected.extend_from_slice(message);
        }
        inbox.feed_in(&reads, &stream).unwrap();
        prop_assert_eq!(inbox.delivered, expected);
        prop_assert_eq!(inbox.receiver.counts().decoys, (early.len() + packets.len()) as u64);
    }

    #[test]
    fn a7_sessions_of_different_networks_never_complete(
        ours in any::<[u8; 4]>(),
        theirs in any::<[u8; 4]>(),
        role in select(&ROLES),
    ) {
        prop_assume!(ours != theirs);
        let [ours, theirs] = [ours, theirs].map(Magic::from_bytes);
        let keys = KeyPair::generate().unwrap();
        let exchange = KeyExchange::new(role, ours).unwrap();
        let first_flight = exchange.first_flight();
        let other = if role == Role::Initiator { Role::Responder } else { Role::Initiator };
        let derived = keys.derive(first_flight.first_chunk().unwrap(), other, theirs);
        let session = exchange.complete(keys.public(), &mut Vec::new());
        prop_assert_ne!(session.id, derived.id);

        let mut inbox = Inbox::new(session.receiver);
        inbox.feed(&derived.send_terminator).unwrap();
        prop_assert_eq!(inbox.feed(&[0; 4095]), Err(Error::GarbageTerminatorMissing(4111)));
        prop_assert!(!inbox.receiver.is_established());
    }

    #[test]
    fn a5_one_flipped_bit_anywhere_delivers_nothing_after_it(
        messages in vec(any_message(), 1..10),
        bit in any::<prop::sample::Index>(),
        reads in sizes(),
    ) {
        let [(mut outbox, _), (_, mut inbox)] = sessions();
        let stream = messages.concat();
        outbox.feed(&stream).unwrap();
        let mut packets = outbox.take();
        let bit = bit.index(packets.len() * 8);
        packets[bit / 8] ^= 1 << (bit % 8);
        // A length made greater, or a lost terminator, waits for as much.
        packets.resize(packets.len() + (1 << 22), 0);
        let result = inbox.feed(&packets[..1]).and_then(|()| inbox.feed_in(&reads, &packets[1..9]));
        prop_assert!(result.and_then(|()| inbox.feed(&packets[9..])).is_err());
        prop_assert!(stream.starts_with(&inbox.delivered));
        prop_assert!(inbox.delivered.len() < stream.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Before the terminator, before the version packet, and after it.
    #[test]
    fn no_input_makes_a_receiver_panic(
        noise in vec(any::<u8>(), 0..6000),
        reads in sizes(),
        state in 0..3,
    ) {
        let mut inbox = match state {
            0 => receiver(Role::Initiator).0,
            1 => {
                let (mut inbox, peer) = receiver(Role::Initiator);
                inbox.feed(&peer.terminator).unwrap();
                inbox
            }
            _ => established().0,
        };
        // An authentic packet is out of reach of noise.
        let _ = inbox.feed_in(&reads, &noise);
        prop_assert!(inbox.delivered.is_empty());
    }

    #[test]
    fn no_authentic_contents_make_a_receiver_panic(
        contents in vec((any::<u8>(), vec(any::<u8>(), 0..40)), 1..20),
    ) {
        let (mut inbox, mut peer) = established();
        for (header, contents) in &contents {
            inbox.feed(&peer.packet(*header, contents, b"")).unwrap();
        }
        let counts = inbox.receiver.counts();
        prop_assert_eq!(counts.messages + counts.decoys + counts.dropped, contents.len() as u64);
    }

    #[test]
    fn no_input_makes_a_sender_panic(
        start in prop_oneof![Just(MAGIC.to_bytes()), any::<[u8; 4]>()],
        noise in vec(any::<u8>(), 0..2000),
        reads in sizes(),
    ) {
        let (mut outbox, _) = sender();
        let _ = outbox.feed_in(&reads, &[&start[..], &noise].concat());
        prop_assert!(outbox.sent.is_empty());
    }

    /// Right magic and a length that is there, but any type and checksum.
    #[test]
    fn no_framed_input_makes_a_sender_panic(
        frames in vec((any::<[u8; 12]>(), vec(any::<u8>(), 0..50), any::<[u8; 4]>()), 1..10),
        reads in sizes(),
    ) {
        let (mut outbox, _) = sender();
        for (command, payload, checksum) in &frames {
            let command = Command::from_bytes(*command);
            let header = Header { checksum: *checksum, ..Header::for_payload(MAGIC, command, payload) };
            outbox.feed_in(&reads, &[&header.encode(), payload.as_slice()].concat()).unwrap();
        }
        let counts = outbox.sender.counts();
        let counted = counts.messages + counts.dropped_checksum + counts.dropped_type;
        prop_assert_eq!(counted, frames.len() as u64);
    }

    /// Whatever a peer says, a client is given valid v1 messages only.
    #[test]
    fn everything_delivered_is_what_a_v1_receiver_accepts(
        contents in vec(prop_oneof![
            (any::<u8>(), vec(any::<u8>(), 0..40)).prop_map(|(id, payload)| short(id, &payload)),
            (any::<[u8; 12]>(), vec(any::<u8>(), 0..40)).prop_map(|(c, payload)| long(c, &payload)),
        ], 1..20),
    ) {
        let (mut inbox, mut peer) = established();
        for contents in &contents {
            inbox.feed(&peer.genuine(contents)).unwrap();
        }
        let (mut outbox, _) = sender();
        outbox.feed(&inbox.delivered).unwrap();
        prop_assert_eq!(outbox.sender.counts().messages, inbox.receiver.counts().messages);
    }
}

/// Sending and receiving half of two sessions of ours with each other. What either half has sent
/// since its key is in its outbox.
fn sessions() -> [(Outbox, Inbox); 2] {
    let [initiator, responder] = ROLES.map(|role| KeyExchange::new(role, MAGIC).unwrap());
    let flights = [initiator.first_flight(), responder.first_flight()];
    let open = |exchange: KeyExchange, ours: &[u8], theirs: &[u8]| {
        let mut sent = ours[64..].to_vec();
        let session = exchange.complete(theirs.first_chunk().unwrap(), &mut sent);
        let mut outbox = Outbox::new(session.sender);
        outbox.sent = sent;
        (outbox, Inbox::new(session.receiver))
    };
    [open(initiator, &flights[0], &flights[1]), open(responder, &flights[1], &flights[0])]
}

/// A valid v1 message of a known or unknown type.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let known = select(&["version", "verack", "inv", "tx", "block", "addrv2", "feature", "ping"]);
    let known = known.prop_map(|name| Command::new(name).unwrap());
    let unknown = "[ -~]{0,12}".prop_map(|name| Command::new(&name).unwrap());
    (prop_oneof![known, unknown], vec(any::<u8>(), 0..600))
        .prop_map(|(command, payload)| raw_message(command, &payload))
}

/// A conversation; now and then with a message longer than a batch.
fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let long = (0..600_000_usize).prop_map(|length| message("block", &vec![0xB1; length]));
    vec(prop_oneof![30 => any_message(), 1 => long], 0..20)
}

/// How much the reads of a stream return, over and over.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..40_usize, 40..5000_usize], 1..10)
}
