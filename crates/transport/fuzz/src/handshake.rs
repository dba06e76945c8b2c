//! The handshake driver in either role against a scripted peer: garbage, decoys, version packet and
//! messages, whole or damaged in one place.

use arbitrary::Arbitrary;
use bip324_transport::Receiver;
use bip324_transport::limits::MAX_GARBAGE;
use bip324_transport::v1::Magic;
use bip324_transport::v2::{Error, Role};

use crate::peer::{Peer, connect, meaning, message};
use crate::script;
use crate::stream::Direction;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    responder: bool,
    magic: [u8; 4],
    seed: u8,
    /// Length of the session's own garbage.
    garbage: u16,
    reads: [u8; 4],
    damage: Damage,
    script: Script<'a>,
}

/// What the peer sends behind its key.
#[derive(Debug, Arbitrary)]
struct Script<'a> {
    garbage: &'a [u8],
    /// More of it, to get to the limit and beyond.
    more_garbage: u16,
    decoys: Vec<&'a [u8]>,
    version: &'a [u8],
    packets: Vec<(u8, &'a [u8])>,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Damage {
    None,
    /// One bit is another.
    Flip(u32),
    /// The stream ends this many bytes early.
    Cut(u16),
    /// This packet does not come.
    Drop(u8),
    /// This packet comes twice.
    Twice(u8),
    /// This packet comes after its successor.
    Swap(u8),
    /// The first packet does not authenticate the garbage.
    NoAad,
}

/// A packet, and the v1 message that a client is to get of it.
struct Packet {
    sealed: Vec<u8>,
    message: Vec<u8>,
}

/// All that came before the damage is delivered and nothing else; a damaged session ends, at the
/// latest when the bytes that it waits for have come.
pub fn run(data: &[u8]) {
    let Some(input) = script::<Input<'_>>(data) else { return };
    let magic = Magic::from_bytes(input.magic);
    let role = if input.responder { Role::Responder } else { Role::Initiator };
    let ours = vec![input.seed; usize::from(input.garbage) % (MAX_GARBAGE + 1)];
    let (session, mut peer) = connect(role, magic, input.seed, &ours);

    let more = usize::from(input.script.more_garbage) % (MAX_GARBAGE + 64);
    let garbage = [input.script.garbage, &vec![input.seed; more]].concat();
    let with_aad = !matches!(input.damage, Damage::NoAad);
    let packets = seal(&mut peer, &input.script, magic, if with_aad { &garbage } else { b"" });
    let head = [&garbage[..], &peer.terminator].concat();
    let head_is_found = head.windows(16).position(|window| window == peer.terminator)
        == Some(garbage.len())
        && garbage.len() <= MAX_GARBAGE
        && (with_aad || garbage.is_empty());
    let Outcome { good, stream, broken } = if head_is_found {
        input.damage.apply(&head, &packets)
    } else {
        Outcome { good: 0, stream: join(&head, packets.iter().collect()), broken: true }
    };

    let mut direction = Direction::new(session.receiver);
    let result = direction.feed_in(&input.reads, &stream);
    let expected: Vec<u8> = packets[..good].iter().flat_map(|p| p.message.clone()).collect();
    assert!(direction.output == expected, "not the messages of the first {good} packets");
    assert_eq!(direction.half.is_established(), good > input.script.decoys.len());
    if broken {
        let error = result.err().unwrap_or_else(|| starve(&mut direction));
        assert_eq!(
            matches!(error, Error::GarbageTerminatorMissing(_)),
            good == 0 && {
                let scanned = &stream[..stream.len().min(4111)];
                !scanned.windows(16).any(|window| window == peer.terminator)
            }
        );
        assert!(direction.output == expected, "delivered behind the damage");
    } else {
        assert_eq!(result, Ok(()));
    }
}

/// Feeds zeros until the session ends.
pub(crate) fn starve(direction: &mut Direction<Receiver>) -> Error {
    for _ in 0..3 {
        let zeros = vec![0; direction.missing().max(4111)];
        if let Err(error) = direction.feed(&zeros) {
            return error;
        }
    }
    panic!("a damaged session goes on and waits for {} bytes", direction.missing());
}

fn seal(peer: &mut Peer, script: &Script<'_>, magic: Magic, garbage: &[u8]) -> Vec<Packet> {
    let mut aad = garbage;
    let mut packets = Vec::new();
    for decoy in &script.decoys {
        packets.push(Packet { sealed: peer.packet(0x80, decoy, aad), message: Vec::new() });
        aad = b"";
    }
    packets.push(Packet { sealed: peer.packet(0x7F, script.version, aad), message: Vec::new() });
    for (header, contents) in &script.packets {
        let sealed = peer.packet(*header, contents, b"");
        let meaning = meaning(contents).filter(|_| header & 0x80 == 0);
        let message = meaning.map(|(command, payload)| message(magic, command, payload));
        packets.push(Packet { sealed, message: message.unwrap_or_default() });
    }
    packets
}

/// What a session is to make of a stream.
struct Outcome {
    /// Packets that are whole and in their place.
    good: usize,
    stream: Vec<u8>,
    /// Whether the session ends of it.
    broken: bool,
}

impl Damage {
    /// The stream with this damage. A place beyond the last packet counts from the first again.
    fn apply(self, head: &[u8], packets: &[Packet]) -> Outcome {
        let mut order: Vec<&Packet> = packets.iter().collect();
        let place = |place: u8| usize::from(place) % packets.len();
        match self {
            Self::Drop(at) => drop(order.remove(place(at))),
            Self::Twice(at) => order.insert(place(at), &packets[place(at)]),
            Self::Swap(at) => order.swap(place(at), (place(at) + 1).min(packets.len() - 1)),
            _ => {}
        }
        let in_place = order.iter().zip(packets).take_while(|(a, b)| std::ptr::eq(**a, *b));
        let good = in_place.count();
        let broken = good < packets.len() || order.len() > good;
        let mut stream = join(head, order);

        let good_before = |end: usize| {
            let ends = packets.iter().scan(head.len(), |at, packet| {
                *at += packet.sealed.len();
                Some(*at)
            });
            ends.take_while(|&at| at <= end).count()
        };
        match self {
            Self::Flip(bit) => {
                let bit = bit as usize % (stream.len() * 8);
                stream[bit / 8] ^= 1 << (bit % 8);
                Outcome { good: good_before(bit / 8), stream, broken: true }
            }
            Self::Cut(missing) => {
                stream.truncate(stream.len().saturating_sub(usize::from(missing)));
                Outcome { good: good_before(stream.len()), stream, broken: false }
            }
            _ => Outcome { good, stream, broken },
        }
    }
}

fn join(head: &[u8], packets: Vec<&Packet>) -> Vec<u8> {
    let mut stream = head.to_vec();
    packets.iter().for_each(|packet| stream.extend_from_slice(&packet.sealed));
    stream
}
