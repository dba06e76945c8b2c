//! Checklist B: message types, sizes, and what is dropped or ends the session.

use bip324_transport::command::{COMMAND_LEN, Command};
use bip324_transport::limits::{MAX_CONTENTS, MAX_PAYLOAD};
use bip324_transport::v1::{self, HEADER_LEN, Header, Magic};
use bip324_transport::v2;

use crate::peer::{
    DECOY, GENUINE, MAGIC, established, long, message, padded, raw_message, sender, short,
};

/// BIP324's table, written down once more.
const TABLE: [(u8, &str); 28] = [
    (1, "addr"),
    (2, "block"),
    (3, "blocktxn"),
    (4, "cmpctblock"),
    (5, "feefilter"),
    (6, "filteradd"),
    (7, "filterclear"),
    (8, "filterload"),
    (9, "getblocks"),
    (10, "getblocktxn"),
    (11, "getdata"),
    (12, "getheaders"),
    (13, "headers"),
    (14, "inv"),
    (15, "mempool"),
    (16, "merkleblock"),
    (17, "notfound"),
    (18, "ping"),
    (19, "pong"),
    (20, "sendcmpct"),
    (21, "tx"),
    (22, "getcfilters"),
    (23, "cfilter"),
    (24, "getcfheaders"),
    (25, "cfheaders"),
    (26, "getcfcheckpt"),
    (27, "cfcheckpt"),
    (28, "addrv2"),
];

/// Types without a short id that go out in long form, `feature` too: older peers know no id 37.
const LONG: [&str; 7] =
    ["version", "verack", "sendheaders", "wtxidrelay", "feature", "x", "twelve_bytes"];

#[test]
fn b1_short_ids_in_both_directions() {
    let (mut outbox, mut peer) = sender();
    for (id, name) in TABLE {
        outbox.feed(&message(name, b"payload")).unwrap();
        let packets = peer.open(b"", &outbox.take());
        assert_eq!(packets, [(GENUINE, short(id, b"payload"))], "{name}");
    }

    let (mut inbox, mut peer) = established();
    for (id, name) in TABLE.into_iter().chain([(37, "feature")]) {
        inbox.feed(&peer.genuine(&short(id, b"payload"))).unwrap();
        assert_eq!(inbox.take(), message(name, b"payload"), "{name}");
    }
    assert_eq!(inbox.receiver.counts().messages, 29);
}

#[test]
fn b2_long_form_equals_short_form() {
    let (mut inbox, mut peer) = established();
    for name in TABLE.map(|(_, name)| name).into_iter().chain(LONG) {
        inbox.feed(&peer.genuine(&long(padded(name), b"payload"))).unwrap();
        assert_eq!(inbox.take(), message(name, b"payload"), "{name}");
    }

    let (mut outbox, mut peer) = sender();
    for name in LONG {
        outbox.feed(&message(name, b"payload")).unwrap();
        let packets = peer.open(b"", &outbox.take());
        assert_eq!(packets, [(GENUINE, long(padded(name), b"payload"))], "{name}");
    }
}

#[test]
fn b3_undefined_ids_are_dropped() {
    let undefined: Vec<u8> = (29..=36).chain(38..=255).collect();
    let contents = undefined.iter().map(|&id| short(id, b"twelve bytes and more"));
    assert_eq!(dropped(contents), undefined.len() as u64);
}

#[test]
fn b4_empty_contents_and_short_types_are_dropped() {
    let contents = (0..COMMAND_LEN).map(|length| short(0, &b"verack\0\0\0\0\0\0"[..length]));
    assert_eq!(dropped(contents.chain([vec![]])), 13);
}

#[test]
fn b5_bad_type_characters_are_dropped() {
    let with = |at: usize, byte: u8| {
        let mut command = padded("blocktxn");
        command[at] = byte;
        long(command, b"payload")
    };
    let bad = [0x01, 0x1F, 0x7F, 0x80, 0xFF].map(|byte| with(0, byte));
    let bad = bad.into_iter().chain([with(11, b'a'), with(11, 0x7F), with(2, 0)]);
    assert_eq!(dropped(bad), 8);
}

/// How many of these contents are dropped; none may be delivered or harm the message after it.
fn dropped(contents: impl IntoIterator<Item = Vec<u8>>) -> u64 {
    let (mut inbox, mut peer) = established();
    for contents in contents {
        inbox.feed(&peer.genuine(&contents)).unwrap();
        inbox.feed(&peer.genuine(&short(18, b"8 bytes."))).unwrap();
        assert_eq!(inbox.take(), message("ping", b"8 bytes."), "after {contents:?}");
    }
    inbox.receiver.counts().dropped
}

#[test]
fn b6_payloads_of_a_client_up_to_the_limit() {
    let (mut outbox, mut peer) = sender();
    for (name, id) in [("block", Some(2)), ("twelve_bytes", None)] {
        for length in [0, 1, MAX_PAYLOAD - 1, MAX_PAYLOAD] {
            let payload = vec![0x5A; length];
            outbox.feed(&message(name, &payload)).unwrap();
            let contents = match id {
                Some(id) => short(id, &payload),
                None => long(padded(name), &payload),
            };
            let packets = peer.open(b"", &outbox.take());
            assert!(packets == [(GENUINE, contents)], "{name} of {length} bytes");
        }
    }
}

#[test]
fn b6_a_client_s_payload_over_the_limit_ends_the_session_unread() {
    let (mut outbox, mut peer) = sender();
    outbox.feed(&message("ping", b"before")).unwrap();
    for length in [MAX_PAYLOAD as u32 + 1, u32::MAX] {
        let header = Header { length, ..Header::for_payload(MAGIC, Command::VERSION, b"") };
        let result = outbox.sender.translate(&header.encode(), &mut Vec::new());
        assert_eq!(result, Err(v1::Error::PayloadTooLong { length }));
    }
    assert_eq!(peer.open(b"", &outbox.sent), [(GENUINE, short(18, b"before"))]);
}

#[test]
fn b6_contents_of_a_peer_up_to_the_limit() {
    let (mut inbox, mut peer) = established();
    for length in [0, 1, MAX_PAYLOAD - 1, MAX_PAYLOAD] {
        let payload = vec![0xA5; length];
        inbox.feed(&peer.genuine(&short(2, &payload))).unwrap();
        assert!(inbox.take() == message("block", &payload), "short form, {length} bytes");
        inbox.feed(&peer.genuine(&long(padded("block"), &payload))).unwrap();
        assert!(inbox.take() == message("block", &payload), "long form, {length} bytes");
    }
    inbox.feed(&peer.packet(DECOY, &vec![0; MAX_CONTENTS], b"")).unwrap();
    assert_eq!(inbox.receiver.counts().decoys, 1);
}

#[test]
fn b6_contents_over_the_limit_end_the_session_at_their_length() {
    for length in [MAX_CONTENTS + 1, (1 << 24) - 1] {
        let (mut inbox, mut peer) = established();
        let announced = peer.length(length);
        inbox.feed(&announced[..2]).unwrap();
        assert_eq!(inbox.feed(&announced[2..]), Err(v2::Error::ContentsTooLong(length)));
    }
}

#[test]
fn b7_legal_contents_with_a_payload_that_v1_forbids_are_dropped() {
    let lengths = [MAX_PAYLOAD + 1, MAX_PAYLOAD + 2, MAX_PAYLOAD + 12];
    assert_eq!(lengths[2] + 1, MAX_CONTENTS);
    let (mut inbox, mut peer) = established();
    for length in lengths {
        inbox.feed(&peer.genuine(&short(2, &vec![0; length]))).unwrap();
        assert!(inbox.take().is_empty(), "{length} bytes");
    }
    assert_eq!(inbox.receiver.counts().dropped, 3);
}

#[test]
fn b8_a_client_s_bad_checksum_or_type_is_dropped() {
    let (mut outbox, mut peer) = sender();
    let mut corrupt = message("inv", b"payload");
    corrupt[HEADER_LEN] ^= 1;
    outbox.feed(&corrupt).unwrap();
    let mut corrupt = message("inv", b"payload");
    corrupt[HEADER_LEN - 1] ^= 1;
    outbox.feed(&corrupt).unwrap();
    for command in
        [*b"inv\0\0\0\0\0\0\0\0a", *b"inv\0a\0\0\0\0\0\0\0", *b"in\x7F\0\0\0\0\0\0\0\0\0"]
    {
        outbox.feed(&raw_message(Command::from_bytes(command), b"payload")).unwrap();
    }
    assert!(outbox.sent.is_empty());
    outbox.feed(&message("pong", b"after")).unwrap();
    assert_eq!(peer.open(b"", &outbox.sent), [(GENUINE, short(19, b"after"))]);
    let counts = outbox.sender.counts();
    assert_eq!((counts.messages, counts.dropped_checksum, counts.dropped_type), (1, 2, 3));
}

#[test]
fn b8_another_magic_ends_the_session() {
    let foreign = Header::for_payload(Magic::BITCOIN, Command::VERSION, b"").encode();
    let (mut outbox, _) = sender();
    let error = v1::Error::WrongMagic { expected: MAGIC, received: Magic::BITCOIN };
    assert_eq!(outbox.feed(&foreign), Err(error), "as the first message");

    let (mut outbox, mut peer) = sender();
    let stream = [message("ping", b"before"), foreign.to_vec(), message("ping", b"after")].concat();
    assert_eq!(outbox.feed(&stream), Err(error), "mid-stream");
    assert_eq!(peer.open(b"", &outbox.sent), [(GENUINE, short(18, b"before"))]);
}

/// A stream of every message type, small enough to be cut everywhere.
fn all_types() -> Vec<u8> {
    let names = TABLE.map(|(_, name)| name).into_iter().chain(LONG);
    names.enumerate().flat_map(|(i, name)| message(name, &vec![i as u8; i % 5])).collect()
}

#[test]
fn b11_a_client_s_messages_cut_at_every_byte() {
    let stream = all_types();
    let (mut outbox, mut peer) = sender();
    outbox.feed(&stream).unwrap();
    let packets = peer.open(b"", &outbox.take());
    assert_eq!(packets.len(), TABLE.len() + LONG.len());

    // One session carries the stream once for each cut, which takes it across many rekeys.
    for cut in 1..stream.len() {
        outbox.feed(&stream[..cut]).unwrap();
        outbox.feed(&stream[cut..]).unwrap();
        assert!(peer.open(b"", &outbox.take()) == packets, "cut at {cut}");
    }
    outbox.feed_in(&[1], &stream).unwrap();
    assert!(peer.open(b"", &outbox.take()) == packets, "byte by byte");
}

#[test]
fn b11_a_peer_s_packets_cut_at_every_byte() {
    let contents: Vec<_> = {
        let (mut outbox, mut peer) = sender();
        outbox.feed(&all_types()).unwrap();
        peer.open(b"", &outbox.sent)
    };
    let (mut inbox, mut peer) = established();
    let mut next = || contents.iter().flat_map(|(_, c)| peer.genuine(c)).collect::<Vec<u8>>();

    let mut cut = 1;
    loop {
        let packets = next();
        if cut == packets.len() {
            inbox.feed_in(&[1], &packets).unwrap();
            assert!(inbox.take() == all_types(), "byte by byte");
            return;
        }
        inbox.feed(&packets[..cut]).unwrap();
        inbox.feed(&packets[cut..]).unwrap();
        assert!(inbox.take() == all_types(), "cut at {cut}");
        cut += 1;
    }
}
