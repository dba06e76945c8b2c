//! One end of the connection: what a daemon does with its client's and its peer's bytes.

use bip324_transport::limits::MAX_GARBAGE;
use bip324_transport::v1::Magic;
use bip324_transport::v2::{self, Detection, KEY_LEN, KeyExchange, Role, SessionId, detect};
use bip324_transport::{Receiver, Sender};

use crate::handshake::starve;
use crate::peer::keys;
use crate::stream::Direction;

pub(super) struct End {
    role: Role,
    magic: Magic,
    /// What its client sends.
    pub(super) messages: Vec<Vec<u8>>,
    client: Vec<u8>,
    /// How much of that is read.
    read: usize,
    state: State,
    /// All that was sent, and how much of it is transmitted.
    wire: Vec<u8>,
    transmitted: usize,
    flip: Option<(usize, u8)>,
    /// The byte in which it has damaged a bit on the way.
    pub(super) flipped: Option<usize>,
}

enum State {
    /// The peer's key is not complete.
    Key {
        exchange: KeyExchange,
        received: Vec<u8>,
        announced: bool,
    },
    Open(Box<Open>),
    /// Never seen: stands in while one becomes the other.
    Between,
}

struct Open {
    id: SessionId,
    sender: Direction<Sender>,
    receiver: Direction<Receiver>,
    result: Result<(), v2::Error>,
}

impl End {
    pub(super) fn new(
        role: Role,
        magic: Magic,
        seed: u8,
        garbage: u16,
        messages: Vec<Vec<u8>>,
        flip: Option<(usize, u8)>,
    ) -> Self {
        let garbage = vec![seed; usize::from(garbage) % (MAX_GARBAGE + 1)];
        let side = if role == Role::Initiator { 1 } else { 2 };
        let exchange = KeyExchange::from_parts(role, magic, keys(seed, side), garbage);
        let client = messages.concat();
        let state = State::Key { exchange, received: Vec::new(), announced: false };
        let (wire, read, transmitted, flipped) = (Vec::new(), 0, 0, None);
        let mut end =
            Self { role, magic, messages, client, read, state, wire, transmitted, flip, flipped };
        end.receive(&[]);
        end
    }

    /// Reads from the client once the session is open, as the daemon does; whether it did.
    pub(super) fn read_client(&mut self, size: usize) -> bool {
        let State::Open(open) = &mut self.state else { return false };
        let rest = &self.client[self.read..];
        let piece = &rest[..size.min(rest.len())];
        open.sender.feed(piece).unwrap();
        self.read += piece.len();
        self.wire.append(&mut open.sender.output);
        !piece.is_empty()
    }

    /// Takes up to `size` bytes to the other end, one bit of all damaged if so asked.
    pub(super) fn transmit(&mut self, size: usize) -> Vec<u8> {
        let rest = &self.wire[self.transmitted..];
        let mut piece = rest[..size.min(rest.len())].to_vec();
        if let Some((byte, bit)) = self.flip {
            let place = byte.checked_sub(self.transmitted).and_then(|at| piece.get_mut(at));
            if let Some(place) = place {
                *place ^= bit;
                self.flipped = Some(byte);
            }
        }
        self.transmitted += piece.len();
        piece
    }

    /// Reads from the peer.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if let State::Key { exchange, received, announced } = &mut self.state {
            let (key, behind) = rest.split_at(rest.len().min(KEY_LEN - received.len()));
            received.extend_from_slice(key);
            rest = behind;
            let speaks_v2 = self.role == Role::Initiator || is_v2(self.magic, received);
            if speaks_v2 && !*announced {
                self.wire.extend(exchange.first_flight());
                *announced = true;
            }
            if received.len() < KEY_LEN {
                return;
            }
            self.open();
        }
        if let State::Open(open) = &mut self.state {
            // An ended session reads no more.
            open.result = open.result.and_then(|()| open.receiver.feed(rest));
        }
    }

    fn open(&mut self) {
        if let State::Key { exchange, received, .. } =
            std::mem::replace(&mut self.state, State::Between)
        {
            let key = received.first_chunk().unwrap();
            let session = exchange.complete(key, &mut self.wire);
            self.state = State::Open(Box::new(Open {
                id: session.id,
                sender: Direction::new(session.sender),
                receiver: Direction::new(session.receiver),
                result: Ok(()),
            }));
        }
    }

    pub(super) fn id(&self) -> SessionId {
        self.opened().id
    }

    /// The messages that its client got.
    pub(super) fn delivered(&self) -> &[u8] {
        &self.opened().receiver.output
    }

    /// The session has ended, or does when it gets the bytes that it waits for.
    pub(super) fn check_that_it_fails(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if open.result.is_ok() {
            starve(&mut open.receiver);
        }
    }

    /// Nothing failed, is left over, or was counted wrongly, of this many messages.
    pub(super) fn check_that_it_is_well(&self, messages: usize) {
        let open = self.opened();
        assert_eq!(open.result, Ok(()));
        assert!(open.receiver.half.is_established() && open.receiver.unread().is_empty());
        let counts = open.receiver.half.counts();
        assert_eq!((counts.messages, counts.decoys, counts.dropped), (messages as u64, 0, 0));
        assert_eq!(open.sender.half.counts().messages, self.messages.len() as u64);
    }

    /// Once all that both ends sent has been transmitted.
    fn opened(&self) -> &Open {
        match &self.state {
            State::Open(open) => open,
            _ => panic!("the session is not open"),
        }
    }
}

/// Whether the initiator is known not to speak v1. No key is a v1 prefix.
fn is_v2(magic: Magic, received: &[u8]) -> bool {
    let detection = detect(magic, received);
    assert!(matches!(detection, Detection::V2 | Detection::Undecided), "{detection:?}");
    detection == Detection::V2
}
