//! The other end of a session, doing exactly what a test says: any garbage, header byte, associated
//! data and order. It stands on the library's keys and ciphers, which the official vectors hold,
//! and on none of its packets, scanning or translation.

mod stream;

use bip324_transport::command::Command;
use bip324_transport::v1::{Header, Magic};
use bip324_transport::v2::{
    KeyExchange, KeyPair, LengthCipher, PacketCipher, Role, Session, SessionKeys,
};

pub(crate) use stream::{Inbox, Outbox};

pub(crate) const MAGIC: Magic = Magic::REGTEST;
pub(crate) const ROLES: [Role; 2] = [Role::Initiator, Role::Responder];
pub(crate) const GENUINE: u8 = 0;
pub(crate) const DECOY: u8 = 0x80;

/// A scripted peer.
pub(crate) struct Peer {
    /// Ends its garbage.
    pub(crate) terminator: [u8; 16],
    /// Ends the session's garbage.
    pub(crate) expected_terminator: [u8; 16],
    /// What the session sent behind its key: garbage, terminator, version packet.
    pub(crate) received: Vec<u8>,
    send_lengths: LengthCipher,
    send_packets: PacketCipher,
    receive_lengths: LengthCipher,
    receive_packets: PacketCipher,
}

/// A session in the given role, its key exchange done, and the peer at its other end.
pub(crate) fn connect(role: Role) -> (Session, Peer) {
    connect_with(KeyExchange::new(role, MAGIC).unwrap(), role)
}

/// The same, with this garbage from the session.
pub(crate) fn connect_with_garbage(role: Role, garbage: Vec<u8>) -> (Session, Peer) {
    let keys = KeyPair::generate().unwrap();
    connect_with(KeyExchange::from_parts(role, MAGIC, keys, garbage), role)
}

fn connect_with(exchange: KeyExchange, role: Role) -> (Session, Peer) {
    let first_flight = exchange.first_flight();
    let (session_key, garbage) = first_flight.split_first_chunk().unwrap();
    let keys = KeyPair::generate().unwrap();
    let peer_role = match role {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    };
    let derived = keys.derive(session_key, peer_role, MAGIC);
    let mut peer = Peer::new(&derived);
    peer.received.extend_from_slice(garbage);
    let session = exchange.complete(keys.public(), &mut peer.received);
    assert_eq!(session.id, derived.id);
    (session, peer)
}

/// The receiving half of a session, before anything came behind the peer's key.
pub(crate) fn receiver(role: Role) -> (Inbox, Peer) {
    let (session, peer) = connect(role);
    (Inbox::new(session.receiver), peer)
}

/// The receiving half of a session whose version packet has come.
pub(crate) fn established() -> (Inbox, Peer) {
    let (mut inbox, mut peer) = receiver(Role::Initiator);
    inbox.feed(&peer.hello(b"")).unwrap();
    assert!(inbox.receiver.is_established());
    (inbox, peer)
}

/// The sending half of a session, and a peer that has read its second flight.
pub(crate) fn sender() -> (Outbox, Peer) {
    let (session, mut peer) = connect_with_garbage(Role::Initiator, vec![]);
    let flight = std::mem::take(&mut peer.received);
    let packets = flight.strip_prefix(&peer.expected_terminator).unwrap();
    assert_eq!(peer.open(b"", packets), [(GENUINE, vec![])]);
    (Outbox::new(session.sender), peer)
}

impl Peer {
    /// The owner of these keys, before it has sent or received anything.
    pub(crate) fn new(keys: &SessionKeys) -> Self {
        Self {
            terminator: keys.send_terminator,
            expected_terminator: keys.receive_terminator,
            received: Vec::new(),
            send_lengths: LengthCipher::new(&keys.send_length),
            send_packets: PacketCipher::new(&keys.send_packet),
            receive_lengths: LengthCipher::new(&keys.receive_length),
            receive_packets: PacketCipher::new(&keys.receive_packet),
        }
    }

    /// The next packet.
    pub(crate) fn packet(&mut self, header: u8, contents: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut sealed = [&[header], contents].concat();
        let tag = self.send_packets.seal(aad, &mut sealed);
        [&self.length(contents.len()), sealed.as_slice(), &tag].concat()
    }

    /// The next packet, not a decoy, without associated data.
    pub(crate) fn genuine(&mut self, contents: &[u8]) -> Vec<u8> {
        self.packet(GENUINE, contents, b"")
    }

    /// The next packet's length alone.
    pub(crate) fn length(&mut self, contents: usize) -> [u8; 3] {
        let [a, b, c, _] = u32::try_from(contents).unwrap().to_le_bytes();
        self.send_lengths.apply([a, b, c])
    }

    /// Everything between its key and its first message.
    pub(crate) fn hello(&mut self, garbage: &[u8]) -> Vec<u8> {
        let version = self.packet(GENUINE, b"", garbage);
        [garbage, &self.terminator, &version].concat()
    }

    /// Header and contents of every packet in `stream`, the first of them with associated data.
    pub(crate) fn open(&mut self, mut aad: &[u8], mut stream: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut packets = Vec::new();
        while let Some((length, rest)) = stream.split_first_chunk() {
            let [a, b, c] = self.receive_lengths.apply(*length);
            let sealed_length = u32::from_le_bytes([a, b, c, 0]) as usize + 17;
            let (sealed, rest) = rest.split_at(sealed_length);
            let mut sealed = sealed.to_vec();
            let plaintext = self.receive_packets.open(aad, &mut sealed).unwrap();
            packets.push((plaintext[0], plaintext[1..].to_vec()));
            (aad, stream) = (b"", rest);
        }
        assert!(stream.is_empty(), "{} bytes behind the last packet", stream.len());
        packets
    }
}

/// A v1 message.
pub(crate) fn message(name: &str, payload: &[u8]) -> Vec<u8> {
    raw_message(Command::new(name).unwrap(), payload)
}

/// A v1 message whose type may be invalid.
pub(crate) fn raw_message(command: Command, payload: &[u8]) -> Vec<u8> {
    [&Header::for_payload(MAGIC, command, payload).encode(), payload].concat()
}

/// Contents in short form.
pub(crate) fn short(id: u8, payload: &[u8]) -> Vec<u8> {
    [&[id], payload].concat()
}

/// Contents in long form.
pub(crate) fn long(command: [u8; 12], payload: &[u8]) -> Vec<u8> {
    [&[0], command.as_slice(), payload].concat()
}

/// A message type padded with NULs.
pub(crate) fn padded(name: &str) -> [u8; 12] {
    Command::new(name).unwrap().to_bytes()
}
