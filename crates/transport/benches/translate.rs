//! What translation costs beside its floor, in nanoseconds per byte of v1 messages:
//! `cargo bench -p bip324-transport`.
//!
//! The floor is what no translation can do without: one ChaCha20-Poly1305 pass and one double
//! SHA-256, both by ring. The `bip324` crate does the same work by its own cipher. Everything
//! is measured in turns, and each one's fastest turn counts.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "as in a test")]

use std::hint::black_box;
use std::time::Instant;

use bip324::{CipherSession, GarbageResult, Handshake, PacketType, VersionResult};
use bip324_transport::command::Command;
use bip324_transport::v1::{HEADER_LEN, Header, Magic, checksum};
use bip324_transport::v2::{KeyExchange, Role, Session};
use bip324_transport::{Receiver, Sender};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Message type, its size with header, and its short id.
const MESSAGES: [(&str, usize, u8); 4] =
    [("block", 1_640_000, 2), ("headers", 162_027, 13), ("tx", 258, 21), ("inv", 61, 14)];

/// Bytes of v1 messages in one turn, at least.
const TURN: usize = 2_000_000;
const TURNS: usize = 40;

fn main() {
    println!("nanoseconds per byte of v1 messages; in brackets: multiple of the floor");
    println!("{:18}  floor  +copy | send         receive      | crate's send  receive", "");
    for (name, size, id) in MESSAGES {
        let [floor, copy, send, receive, crate_send, crate_receive] = measure(name, size, id);
        println!(
            "{name:8} {size:7} B  {floor:5.2}  {:5.2} | {send:4.2} ({:4.2})  {receive:4.2} ({:4.2})  \
             | {crate_send:12.2}  {crate_receive:7.2}",
            floor + copy,
            send / floor,
            receive / floor,
        );
    }
}

fn measure(name: &str, size: usize, id: u8) -> [f64; 6] {
    let payload = vec![0xA7; size - HEADER_LEN];
    let header = Header::for_payload(Magic::BITCOIN, Command::new(name).unwrap(), &payload);
    let stream = [&header.encode(), payload.as_slice()].concat().repeat(TURN.div_ceil(size));
    let contents = [&[id], payload.as_slice()].concat();

    let (mut sender, mut receiver) = ours();
    let mut theirs = theirs();
    let mut fastest = [f64::INFINITY; 6];
    for _ in 0..TURNS {
        let mut packets = Vec::new();
        let turns = [
            floor(&stream, size),
            copy(&stream),
            send(&mut sender, &stream, &mut packets),
            receive(&mut receiver, &mut packets, &stream),
            crate_send(&mut theirs[0], &stream, size, &contents, &mut packets),
            crate_receive(&mut theirs[1], &mut packets),
        ];
        for (fastest, turn) in fastest.iter_mut().zip(turns) {
            *fastest = fastest.min(turn / stream.len() as f64);
        }
    }
    fastest
}

/// Nanoseconds that `work` takes.
fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

fn floor(stream: &[u8], size: usize) -> f64 {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap());
    let mut buffer = stream.to_vec();
    time(|| {
        for message in buffer.chunks_mut(size) {
            black_box(checksum(&message[HEADER_LEN..]));
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            // Two bytes more than the payload: header byte and short id.
            let plaintext = &mut message[HEADER_LEN - 2..];
            let _ =
                black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), plaintext).unwrap());
        }
    })
}

fn copy(stream: &[u8]) -> f64 {
    let mut to = vec![1; stream.len()];
    time(|| black_box(&mut to).copy_from_slice(black_box(stream)))
}

/// `packets` gets the packets, for the receiver.
fn send(sender: &mut Sender, stream: &[u8], packets: &mut Vec<u8>) -> f64 {
    let mut out = vec![1; 2 * TURN];
    let mut rest = stream;
    let mut total = 0.0;
    packets.clear();
    while !rest.is_empty() {
        out.clear();
        let mut consumed = 0;
        total += time(|| consumed = sender.translate(rest, &mut out).unwrap().consumed);
        packets.extend_from_slice(&out);
        rest = &rest[consumed..];
    }
    total
}

fn receive(receiver: &mut Receiver, packets: &mut [u8], expected: &[u8]) -> f64 {
    let mut out = vec![1; 2 * TURN];
    let mut rest = packets;
    let mut received = 0;
    let mut total = 0.0;
    while !rest.is_empty() {
        out.clear();
        let mut consumed = 0;
        total += time(|| consumed = receiver.translate(rest, &mut out).unwrap().consumed);
        assert!(expected[received..].starts_with(&out));
        received += out.len();
        rest = &mut rest[consumed..];
    }
    assert_eq!(received, expected.len());
    total
}

/// The same by the crate's cipher: checksum, copy, seal.
fn crate_send(
    session: &mut CipherSession,
    stream: &[u8],
    size: usize,
    contents: &[u8],
    packets: &mut Vec<u8>,
) -> f64 {
    let packet = contents.len() + 20;
    packets.clear();
    packets.resize(stream.len() / size * packet, 1);
    time(|| {
        for (message, packet) in stream.chunks(size).zip(packets.chunks_mut(packet)) {
            black_box(checksum(&message[HEADER_LEN..]));
            session.outbound().encrypt(contents, packet, PacketType::Genuine, None).unwrap();
        }
    })
}

/// The same by the crate's cipher: open, checksum, copy.
fn crate_receive(session: &mut CipherSession, packets: &mut [u8]) -> f64 {
    let mut out = vec![1; 2 * TURN];
    out.clear();
    time(|| {
        let mut rest = packets;
        while let Some((length, behind)) = rest.split_first_chunk_mut() {
            let (sealed, next) = behind.split_at_mut(session.inbound().decrypt_packet_len(*length));
            let (_, plaintext) = session.inbound().decrypt_in_place(sealed, None).unwrap();
            let payload = &plaintext[2..];
            out.extend_from_slice(&[0; HEADER_LEN - 4]);
            out.extend_from_slice(&checksum(payload));
            out.extend_from_slice(payload);
            rest = next;
        }
        black_box(&out);
    })
}

/// The initiator's sending half and the responder's receiving half.
fn ours() -> (Sender, Receiver) {
    let initiator = KeyExchange::new(Role::Initiator, Magic::BITCOIN).unwrap();
    let responder = KeyExchange::new(Role::Responder, Magic::BITCOIN).unwrap();
    let (first, answer) = (initiator.first_flight(), responder.first_flight());
    let mut flight = first[64..].to_vec();
    let Session { sender, .. } = initiator.complete(answer.first_chunk().unwrap(), &mut flight);
    let Session { mut receiver, .. } =
        responder.complete(first.first_chunk().unwrap(), &mut Vec::new());
    receiver.translate(&mut flight, &mut Vec::new()).unwrap();
    (sender, receiver)
}

/// Two sessions of the crate with each other.
fn theirs() -> [CipherSession; 2] {
    let roles = [bip324::Role::Initiator, bip324::Role::Responder];
    let mut keys = [[0; 64]; 2];
    let mut flights = [[0; 36]; 2];
    let [a, b] = roles.map(|role| Handshake::new(Magic::BITCOIN.to_bytes(), role).unwrap());
    let a = a.send_key(None, &mut keys[0]).ok().unwrap();
    let b = b.send_key(None, &mut keys[1]).ok().unwrap();
    let a = a.receive_key(keys[1]).ok().unwrap().send_version(&mut flights[0], None).ok().unwrap();
    let b = b.receive_key(keys[0]).ok().unwrap().send_version(&mut flights[1], None).ok().unwrap();
    [finish(a, flights[1]), finish(b, flights[0])]
}

fn finish(handshake: Handshake<bip324::SentVersion>, mut flight: [u8; 36]) -> CipherSession {
    let scanned = flight;
    let Ok(GarbageResult::FoundGarbage { mut handshake, .. }) = handshake.receive_garbage(&scanned)
    else {
        panic!("no terminator");
    };
    let (length, sealed) = flight[16..].split_first_chunk_mut().unwrap();
    handshake.decrypt_packet_len(*length).ok().unwrap();
    match handshake.receive_version(sealed) {
        Ok(VersionResult::Complete { cipher }) => cipher,
        _ => panic!("no version packet"),
    }
}
