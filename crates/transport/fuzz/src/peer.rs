//! The other end of a session: packets with any header, contents and associated data, from given
//! keys. It stands on the library's keys and ciphers, which the official vectors hold, and on none
//! of its packets, scanning or translation.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};

use bip324_transport::command::Command;
use bip324_transport::limits::MAX_PAYLOAD;
use bip324_transport::v1::{Header, Magic};
use bip324_transport::v2::{
    KEY_LEN, KeyExchange, KeyPair, LengthCipher, PacketCipher, Role, Session, SessionKeys,
};

pub(crate) const MAGIC: Magic = Magic::REGTEST;

/// A scripted peer.
pub(crate) struct Peer {
    /// Ends its garbage.
    pub(crate) terminator: [u8; 16],
    send_lengths: LengthCipher,
    send_packets: PacketCipher,
    receive_lengths: LengthCipher,
    receive_packets: PacketCipher,
}

/// A packet's header byte and contents.
pub(crate) type Opened = (u8, Vec<u8>);

impl Peer {
    fn new(keys: &SessionKeys) -> Self {
        Self {
            terminator: keys.send_terminator,
            send_lengths: LengthCipher::new(&keys.send_length),
            send_packets: PacketCipher::new(&keys.send_packet),
            receive_lengths: LengthCipher::new(&keys.receive_length),
            receive_packets: PacketCipher::new(&keys.receive_packet),
        }
    }

    /// The next packet.
    pub(crate) fn packet(&mut self, header: u8, contents: &[u8], aad: &[u8]) -> Vec<u8> {
        let [a, b, c, _] = u32::try_from(contents.len()).unwrap().to_le_bytes();
        let mut packet = self.send_lengths.apply([a, b, c]).to_vec();
        packet.push(header);
        packet.extend_from_slice(contents);
        let tag = self.send_packets.seal(aad, &mut packet[3..]);
        packet.extend_from_slice(&tag);
        packet
    }

    /// Everything between its key and its first message, with no garbage.
    pub(crate) fn hello(&mut self) -> Vec<u8> {
        let version = self.packet(0, b"", b"");
        [&self.terminator[..], &version].concat()
    }

    /// Every packet of what a session has sent, the first of them with associated data.
    pub(crate) fn open(&mut self, mut aad: &[u8], mut stream: &[u8]) -> Vec<Opened> {
        let mut packets = Vec::new();
        while let Some((length, rest)) = stream.split_first_chunk() {
            let [a, b, c] = self.receive_lengths.apply(*length);
            let sealed = u32::from_le_bytes([a, b, c, 0]) as usize + 17;
            let (sealed, rest) = rest.split_at(sealed);
            let mut sealed = sealed.to_vec();
            let plaintext = self.receive_packets.open(aad, &mut sealed).unwrap();
            packets.push((plaintext[0], plaintext[1..].to_vec()));
            (aad, stream) = (b"", rest);
        }
        assert!(stream.is_empty(), "{} bytes behind the last packet", stream.len());
        packets
    }
}

/// A session in `role` and the peer at its other end, after both keys. Our garbage, terminator and
/// version packet have arrived and been checked.
pub(crate) fn connect(role: Role, magic: Magic, seed: u8, garbage: &[u8]) -> (Session, Peer) {
    let derived = keys(seed, 2).derive(keys(seed, 1).public(), other(role), magic);
    let exchange = KeyExchange::from_parts(role, magic, keys(seed, 1), garbage.to_vec());
    open_session(exchange, seed, &derived)
}

/// A session whose version packets have gone both ways, and its peer. Always the same one.
pub(crate) fn established() -> (Session, Peer) {
    static DERIVED: OnceLock<SessionKeys> = OnceLock::new();
    let derived =
        DERIVED.get_or_init(|| keys(0, 2).derive(keys(0, 1).public(), Role::Responder, MAGIC));
    let exchange = KeyExchange::from_parts(Role::Initiator, MAGIC, keys(0, 1), Vec::new());
    let (mut session, mut peer) = open_session(exchange, 0, derived);

    let mut hello = peer.hello();
    let length = hello.len();
    let progress = session.receiver.translate(&mut hello, &mut Vec::new()).unwrap();
    assert_eq!((progress.consumed, progress.wants), (length, 3));
    assert!(session.receiver.is_established());
    (session, peer)
}

/// Completes `exchange` with the peer of this seed, which has derived these keys.
fn open_session(exchange: KeyExchange, seed: u8, derived: &SessionKeys) -> (Session, Peer) {
    let first_flight = exchange.first_flight();
    let mut second_flight = Vec::new();
    let session = exchange.complete(keys(seed, 2).public(), &mut second_flight);
    assert_eq!(session.id, derived.id, "both ends name the session alike");
    let mut peer = Peer::new(derived);
    let version = second_flight.strip_prefix(&derived.receive_terminator).unwrap();
    assert_eq!(peer.open(&first_flight[KEY_LEN..], version), [(0, vec![])]);
    (session, peer)
}

/// One side's key pair. Encoding a key takes as long as an exchange, and is done once for each.
pub(crate) fn keys(seed: u8, side: u8) -> KeyPair {
    static PUBLIC: Mutex<BTreeMap<[u8; 2], [u8; KEY_LEN]>> = Mutex::new(BTreeMap::new());
    let mut secret = [0; 32];
    (secret[30], secret[31]) = (seed, side);
    let encode = || *KeyPair::from_secret(&secret, [seed ^ side; 32].into()).unwrap().public();
    let public = *PUBLIC.lock().unwrap().entry([seed, side]).or_insert_with(encode);
    KeyPair::from_parts(&secret, public).unwrap()
}

pub(crate) fn other(role: Role) -> Role {
    match role {
        Role::Initiator => Role::Responder,
        Role::Responder => Role::Initiator,
    }
}

/// A v1 message, framed.
pub(crate) fn message(magic: Magic, command: Command, payload: &[u8]) -> Vec<u8> {
    [&Header::for_payload(magic, command, payload).encode()[..], payload].concat()
}

/// The v1 message that contents stand for, read the way BIP324 puts it: one byte for a known type,
/// or zero and twelve bytes. `None` where a v1 receiver would have none.
pub(crate) fn meaning(contents: &[u8]) -> Option<(Command, &[u8])> {
    let (&id, rest) = contents.split_first()?;
    let (command, payload) = if id == 0 {
        let (bytes, payload) = rest.split_first_chunk::<12>()?;
        (Command::from_bytes(*bytes), payload)
    } else {
        (Command::from_short_id(id)?, rest)
    };
    (is_v1_type(command) && payload.len() <= MAX_PAYLOAD).then_some((command, payload))
}

/// Printable ASCII, then nothing but NULs.
pub(crate) fn is_v1_type(command: Command) -> bool {
    let bytes = command.to_bytes();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..end].iter().all(|byte| (0x20..0x7F).contains(byte))
        && bytes[end..].iter().all(|&byte| byte == 0)
}
