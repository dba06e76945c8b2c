//! Two ends of ours with each other, in the manner of Bitcoin Core's
//! `p2p_transport_bidirectional_v1v2`: a client's v1 messages go in at either end, everything is cut
//! and interleaved as the input says, and comes out as v1 at the other. At most one bit is damaged.

mod end;

use arbitrary::Arbitrary;
use bip324_transport::command::Command;
use bip324_transport::v1::Magic;
use bip324_transport::v2::{KEY_LEN, Role};

use crate::peer::{is_v1_type, message};
use crate::script;
use end::End;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    magic: [u8; 4],
    seeds: [u8; 2],
    garbage: [u16; 2],
    flip: Option<Flip>,
    messages: [Vec<Message<'a>>; 2],
    schedule: &'a [u8],
}

/// One bit of what one end sends, if it sends as much.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Flip {
    by_responder: bool,
    byte: u16,
    bit: u8,
}

#[derive(Debug, Arbitrary)]
struct Message<'a> {
    kind: Kind,
    payload: &'a [u8],
    /// Zeros behind it; the greatest values stand for more than a batch.
    more: u8,
    /// How often it is sent beyond the first time: through a change of keys, every 224 packets.
    again: u8,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
enum Kind {
    Short(u8),
    Long([u8; 12]),
    Version,
}

/// Every message arrives, once, in order and unchanged, and both ends name the session alike. With
/// one bit flipped, that direction fails with the messages before the bit; a bit of a key, both.
pub fn run(data: &[u8]) {
    let Some(input) = script::<Input<'_>>(data) else { return };
    let mut ends = [Role::Initiator, Role::Responder].map(|role| end(role, &input));
    for step in input.schedule {
        let from = usize::from(step & 1);
        // Squared, so that six bits span single bytes and all of a first flight.
        let size = (usize::from(step >> 2) + 1).pow(2);
        move_bytes(&mut ends, from, step & 2 != 0, size);
    }
    while (0..4).any(|way| move_bytes(&mut ends, way & 1, way & 2 != 0, usize::MAX)) {}

    let key_is_flipped = ends.iter().any(|end| end.flipped.is_some_and(|byte| byte < KEY_LEN));
    let [initiator, responder] = &mut ends;
    assert_eq!(initiator.id() == responder.id(), !key_is_flipped);
    check(initiator, responder, key_is_flipped);
    check(responder, initiator, key_is_flipped);
}

fn end(role: Role, input: &Input<'_>) -> End {
    let i = usize::from(role == Role::Responder);
    let magic = Magic::from_bytes(input.magic);
    let messages: Vec<_> =
        input.messages[i].iter().flat_map(|message| message.framed(magic)).take(600).collect();
    let flip = input.flip.filter(|flip| flip.by_responder == (role == Role::Responder));
    let flip = flip.map(|flip| (usize::from(flip.byte), 1 << (flip.bit & 7)));
    End::new(role, magic, input.seeds[i], input.garbage[i], messages, flip)
}

/// Moves up to `size` bytes from the client to the end of this index, or from that end to the
/// other; whether there were any.
fn move_bytes(ends: &mut [End; 2], from: usize, client: bool, size: usize) -> bool {
    let [initiator, responder] = ends;
    let (from, to) = if from == 0 { (initiator, responder) } else { (responder, initiator) };
    if client {
        return from.read_client(size);
    }
    let piece = from.transmit(size);
    to.receive(&piece);
    !piece.is_empty()
}

/// What `to` made of all that `from` sent.
fn check(from: &End, to: &mut End, key_is_flipped: bool) {
    let sent = from.messages.concat();
    assert!(sent.starts_with(to.delivered()), "other messages than were sent");
    if key_is_flipped || from.flipped.is_some() {
        to.check_that_it_fails();
        assert!(to.delivered().len() < sent.len() || sent.is_empty());
        assert!(!key_is_flipped || to.delivered().is_empty());
    } else {
        assert_eq!(to.delivered().len(), sent.len(), "every message arrives");
        to.check_that_it_is_well(from.messages.len());
    }
}

impl Message<'_> {
    fn framed(&self, magic: Magic) -> Vec<Vec<u8>> {
        let command = match self.kind {
            Kind::Short(id) => Command::from_short_id(id),
            Kind::Long(bytes) => Some(Command::from_bytes(bytes)).filter(|&long| is_v1_type(long)),
            Kind::Version => None,
        };
        let more = if self.more < 250 { usize::from(self.more) } else { 300_000 };
        let payload = [self.payload, &vec![0; more]].concat();
        // Long ones once: the target is to stay fast.
        let times = if payload.len() > 256 { 1 } else { usize::from(self.again) + 1 };
        vec![message(magic, command.unwrap_or(Command::VERSION), &payload); times]
    }
}
