//! The decoder of v2 contents: whatever an authentic peer puts into its packets.

use arbitrary::Arbitrary;

use crate::peer::{MAGIC, established, meaning, message};
use crate::script;
use crate::stream::Direction;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    reads: [u8; 4],
    packets: Vec<Packet<'a>>,
}

#[derive(Debug, Arbitrary)]
struct Packet<'a> {
    header: u8,
    /// How often it is sent beyond the first time: through a change of keys, every 224 packets.
    again: u8,
    contents: &'a [u8],
}

/// A client gets the messages that contents stand for, each a valid v1 message, in order and
/// unchanged, and nothing else; every packet is counted once.
pub fn run(data: &[u8]) {
    let Some(Input { reads, packets }) = script(data) else { return };
    let (session, mut peer) = established();
    let mut direction = Direction::new(session.receiver);
    let (mut expected, mut messages, mut decoys, mut dropped) = (Vec::new(), 0, 0, 0);
    let mut stream = Vec::new();
    for packet in packets.iter().flat_map(|packet| std::iter::repeat_n(packet, times(packet))) {
        stream.extend(peer.packet(packet.header, packet.contents, b""));
        if packet.header & 0x80 != 0 {
            decoys += 1;
        } else if let Some((command, payload)) = meaning(packet.contents) {
            expected.extend(message(MAGIC, command, payload));
            messages += 1;
        } else {
            dropped += 1;
        }
    }
    assert_eq!(direction.feed_in(&reads, &stream), Ok(()));
    assert!(direction.output == expected, "other messages than were sent");
    assert!(direction.unread().is_empty());
    let counts = direction.half.counts();
    assert_eq!((counts.messages, counts.decoys, counts.dropped), (messages, decoys, dropped));

    // What a client gets is what it could send: the other half takes every message of it.
    let mut back = Direction::new(session.sender);
    assert_eq!(back.feed(&direction.output), Ok(()));
    assert_eq!(back.half.counts().messages, messages);
    for (header, contents) in peer.open(b"", &back.output) {
        assert!(header == 0 && meaning(&contents).is_some());
    }
}

fn times(packet: &Packet<'_>) -> usize {
    // Long contents once: the target is to stay fast.
    if packet.contents.len() > 64 { 1 } else { usize::from(packet.again) + 1 }
}
