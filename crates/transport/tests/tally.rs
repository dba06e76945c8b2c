//! What is counted by type is what passed, however it is cut and however often it is drained.

use std::collections::BTreeMap;

use bip324_transport::command::{Command, short_name};
use bip324_transport::tally::Tally;
use bip324_transport::v1::{HEADER_LEN, Header};
use bip324_transport::v2::PACKET_OVERHEAD;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::peer::{DECOY, established, long, message, raw_message, sender, short};

/// Messages, bytes of payload and bytes of packets, by short id.
type Counts = BTreeMap<u8, [u64; 3]>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Counted anew from the packets that the peer opens.
    #[test]
    fn sent_messages_are_counted_by_type(
        messages in vec((any_type(), vec(any::<u8>(), 0..300), any::<bool>()), 0..40),
        reads in vec(1..700_usize, 1..8),
    ) {
        let (mut outbox, mut peer) = sender();
        let mut stream = Vec::new();
        for (name, payload, damaged) in &messages {
            let mut bytes = message(name, payload);
            bytes[20] ^= u8::from(*damaged);
            stream.extend(bytes);
        }
        let mut counted = Counts::new();
        let mut rest = stream.as_slice();
        for size in reads.iter().cycle() {
            let (read, later) = rest.split_at((*size).min(rest.len()));
            outbox.feed(read).unwrap();
            drain(outbox.sender.tally(), &mut counted);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let mut expected = Counts::new();
        for (_, contents) in peer.open(b"", &outbox.take()) {
            let (id, payload) = match contents[0] {
                0 => (0, contents.len() - 13),
                id => (id, contents.len() - 1),
            };
            add(&mut expected, id, [1, payload, PACKET_OVERHEAD + contents.len()]);
        }
        prop_assert_eq!(counted, expected);
        let last = messages.iter().rfind(|(_, _, damaged)| !damaged);
        let last = last.and_then(|(name, ..)| Command::new(name));
        prop_assert_eq!(outbox.sender.tally().last(), last);
    }

    /// Counted anew from the v1 messages that the client gets. A type may come in either form.
    #[test]
    fn received_messages_are_counted_by_type(
        messages in vec((any_type(), vec(any::<u8>(), 0..300), any::<bool>(), any::<bool>()), 0..40),
        reads in vec(1..700_usize, 1..8),
    ) {
        let (mut inbox, mut peer) = established();
        let mut stream = Vec::new();
        let mut packets = Vec::new();
        for (name, payload, short_form, decoy) in &messages {
            let command = Command::new(name).unwrap();
            let id = if *name == "feature" { Some(37) } else { command.short_id() };
            let contents = match id {
                Some(id) if *short_form => short(id, payload),
                _ => long(command.to_bytes(), payload),
            };
            if *decoy {
                stream.extend(peer.packet(DECOY, payload, b""));
            }
            let packet = peer.genuine(&contents);
            packets.push(packet.len());
            stream.extend(packet);
        }
        let mut counted = Counts::new();
        let mut rest = stream.as_slice();
        for size in reads.iter().cycle() {
            let (read, later) = rest.split_at((*size).min(rest.len()));
            inbox.feed(read).unwrap();
            drain(inbox.receiver.tally(), &mut counted);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let delivered = inbox.take();
        let (mut delivered, mut expected) = (delivered.as_slice(), Counts::new());
        for packet in packets {
            let (header, rest) = delivered.split_first_chunk::<HEADER_LEN>().unwrap();
            let header = Header::parse(header);
            let length = header.length as usize;
            let id = (1..=28).find(|&id| short_name(id) == Some(&header.command.to_string()));
            add(&mut expected, id.unwrap_or(0), [1, length, packet]);
            delivered = &rest[length..];
        }
        prop_assert!(delivered.is_empty());
        prop_assert_eq!(counted, expected);
    }
}

#[test]
fn what_is_left_out_is_not_counted() {
    let (mut outbox, _) = sender();
    let invalid = Command::from_bytes([0xFF; 12]);
    let mut damaged = message("tx", b"payload");
    damaged[20] ^= 1;
    outbox.feed(&[raw_message(invalid, b""), damaged].concat()).unwrap();
    assert!(outbox.sender.tally().is_empty() && outbox.sender.tally().last().is_none());

    let (mut inbox, mut peer) = established();
    for contents in [&b""[..], &short(29, b"x"), &long([0xFF; 12], b"x")] {
        inbox.feed(&peer.genuine(contents)).unwrap();
    }
    assert!(inbox.receiver.tally().is_empty() && inbox.receiver.tally().last().is_none());
}

fn any_type() -> impl Strategy<Value = &'static str> {
    select(&["version", "verack", "feature", "addr", "inv", "tx", "block", "addrv2", "x y", "ping"])
}

fn drain(tally: &mut Tally, into: &mut Counts) {
    tally.drain(|id, count| {
        assert!(count.messages > 0, "type {id} was not touched");
        let bytes = [count.payload, count.packets].map(|bytes| bytes as usize);
        add(into, id, [count.messages as usize, bytes[0], bytes[1]]);
    });
    assert!(tally.is_empty());
    tally.drain(|id, _| panic!("type {id} is counted twice"));
}

fn add(counts: &mut Counts, id: u8, more: [usize; 3]) {
    for (sum, more) in counts.entry(id).or_default().iter_mut().zip(more) {
        *sum += more as u64;
    }
}
