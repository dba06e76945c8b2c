//! What every step of a translation costs, by size: `cargo bench -p bip324-transport`.
//!
//! `seal` and `open` are the cipher of packets alone; `to v2` and `to v1` are whole messages. Beside each
//! stands `ring`, what no translation can do without: one bare ChaCha20-Poly1305 pass, and for whole
//! messages one double SHA-256 as well; and `bip324`, the same work by the cipher of that crate.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "as in a test")]

use std::hint::black_box;

use bip324::{CipherSession, GarbageResult, Handshake, PacketType, VersionResult};
use bip324_transport::command::Command;
use bip324_transport::v1::{HEADER_LEN, Header, Magic, checksum};
use bip324_transport::v2::{KeyExchange, PacketCipher, Role, Session, TAG_LEN};
use bip324_transport::{Receiver, Sender};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    seal(&mut criterion);
    open(&mut criterion);
    to_v2(&mut criterion);
    to_v1(&mut criterion);
    criterion.final_summary();
}

/// Message type, its short id, and the size of its payload.
const MESSAGES: [(&str, u8, usize); 4] =
    [("inv", 14, 61), ("tx", 21, 258), ("headers", 13, 162_003), ("block", 2, 1_640_000)];

/// Bytes of messages in one turn, at least: one read of the relay.
const TURN: usize = 64 * 1024;

/// Messages of one kind, back to back.
struct Stream {
    /// In v1.
    bytes: Vec<u8>,
    /// Header and payload of one message.
    message: usize,
    /// Contents of one packet.
    contents: Vec<u8>,
}

impl Stream {
    fn new(name: &str, id: u8, size: usize) -> Self {
        let payload = vec![0xA7; size];
        let header = Header::for_payload(Magic::BITCOIN, Command::new(name).unwrap(), &payload);
        let message = [&header.encode(), payload.as_slice()].concat();
        let bytes = message.repeat(TURN.div_ceil(message.len()));
        Self { bytes, message: message.len(), contents: [&[id], payload.as_slice()].concat() }
    }

    /// One buffer for each packet, as long as header byte, contents and tag.
    fn plaintexts(&self) -> Vec<Vec<u8>> {
        let plaintext = vec![0xA7; 1 + self.contents.len() + TAG_LEN];
        vec![plaintext; self.bytes.len() / self.message]
    }
}

/// Runs `bench` for every kind of message.
fn each(
    criterion: &mut Criterion,
    name: &str,
    bench: fn(&mut BenchmarkGroup<'_, WallTime>, &str, &Stream),
) {
    let mut group = criterion.benchmark_group(name);
    for (kind, id, size) in MESSAGES {
        let stream = Stream::new(kind, id, size);
        group.throughput(Throughput::Bytes(stream.bytes.len() as u64));
        bench(&mut group, &format!("{size} B {kind}"), &stream);
    }
    group.finish();
}

// --- the cipher --------------------------------------------------------------------------------

fn seal(criterion: &mut Criterion) {
    each(criterion, "seal", |group, size, stream| {
        let mut packets = stream.plaintexts();
        let mut cipher = PacketCipher::new(&[7; 32]);
        group.bench_function(BenchmarkId::new("ours", size), |bencher| {
            bencher.iter(|| {
                for packet in &mut packets {
                    let plaintext = packet.len() - TAG_LEN;
                    black_box(cipher.seal(&[], &mut packet[..plaintext]));
                }
            });
        });
        bare_seal(group, size, stream, false);
        let [mut theirs, _] = theirs();
        group.bench_function(BenchmarkId::new("bip324", size), |bencher| {
            let mut packet = vec![0; stream.contents.len() + 20];
            bencher.iter(|| {
                for _ in 0..packets.len() {
                    encrypt(&mut theirs, &stream.contents, &mut packet);
                }
            });
        });
    });
}

fn open(criterion: &mut Criterion) {
    each(criterion, "open", |group, size, stream| {
        let mut sealer = PacketCipher::new(&[7; 32]);
        let mut opener = PacketCipher::new(&[7; 32]);
        let mut sealed = || {
            let mut packets = stream.plaintexts();
            for packet in &mut packets {
                let (plaintext, tag) = packet.split_last_chunk_mut::<TAG_LEN>().unwrap();
                *tag = sealer.seal(&[], plaintext);
            }
            packets
        };
        group.bench_function(BenchmarkId::new("ours", size), |bencher| {
            bencher.iter_batched(
                &mut sealed,
                |mut packets| {
                    for packet in &mut packets {
                        black_box(opener.open(&[], packet).unwrap());
                    }
                    packets
                },
                BatchSize::LargeInput,
            );
        });
        bare_seal(group, size, stream, false);
    });
}

/// What it costs at least: a pass of the cipher and, if `hashed`, the checksum of the payload.
fn bare_seal(group: &mut BenchmarkGroup<'_, WallTime>, size: &str, stream: &Stream, hashed: bool) {
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap());
    let mut packets = stream.plaintexts();
    group.bench_function(BenchmarkId::new("ring", size), |bencher| {
        bencher.iter(|| {
            for packet in &mut packets {
                let plaintext = packet.len() - TAG_LEN;
                let plaintext = &mut packet[..plaintext];
                if hashed {
                    black_box(checksum(&plaintext[2..]));
                }
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), plaintext);
                black_box(tag.unwrap().as_ref());
            }
        });
    });
}

// --- whole messages ----------------------------------------------------------------------------

fn to_v2(criterion: &mut Criterion) {
    each(criterion, "to v2", |group, size, stream| {
        let (mut sender, _) = ours();
        let mut out = Vec::new();
        group.bench_function(BenchmarkId::new("ours", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                send(&mut sender, &stream.bytes, &mut out);
            });
        });
        bare_seal(group, size, stream, true);
        let [mut theirs, _] = theirs();
        group.bench_function(BenchmarkId::new("bip324", size), |bencher| {
            let mut packet = vec![0; stream.contents.len() + 20];
            bencher.iter(|| {
                for message in stream.bytes.chunks(stream.message) {
                    black_box(checksum(&message[HEADER_LEN..]));
                    encrypt(&mut theirs, &stream.contents, &mut packet);
                }
            });
        });
    });
}

fn to_v1(criterion: &mut Criterion) {
    each(criterion, "to v1", |group, size, stream| {
        let (mut sender, mut receiver) = ours();
        let mut out = Vec::new();
        let mut packets = || {
            let mut packets = Vec::new();
            send(&mut sender, &stream.bytes, &mut packets);
            packets
        };
        group.bench_function(BenchmarkId::new("ours", size), |bencher| {
            bencher.iter_batched(
                &mut packets,
                |mut packets| {
                    out.clear();
                    receive(&mut receiver, &mut packets, &mut out);
                    packets
                },
                BatchSize::LargeInput,
            );
        });
        bare_seal(group, size, stream, true);
        let [mut alice, mut bob] = theirs();
        let mut packets = || {
            let mut packets = stream.plaintexts();
            for packet in &mut packets {
                packet.resize(stream.contents.len() + 20, 0);
                encrypt(&mut alice, &stream.contents, packet);
            }
            packets
        };
        group.bench_function(BenchmarkId::new("bip324", size), |bencher| {
            bencher.iter_batched(
                &mut packets,
                |mut packets| {
                    out.clear();
                    for packet in &mut packets {
                        decrypt(&mut bob, packet, &mut out);
                    }
                    packets
                },
                BatchSize::LargeInput,
            );
        });
    });
}

fn send(sender: &mut Sender, stream: &[u8], out: &mut Vec<u8>) {
    let progress = sender.translate(stream, out).unwrap();
    assert_eq!(progress.consumed, stream.len());
}

fn receive(receiver: &mut Receiver, packets: &mut [u8], out: &mut Vec<u8>) {
    let progress = receiver.translate(packets, out).unwrap();
    assert_eq!(progress.consumed, packets.len());
}

// --- the sessions ------------------------------------------------------------------------------

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

fn encrypt(session: &mut CipherSession, contents: &[u8], packet: &mut [u8]) {
    session.outbound().encrypt(contents, packet, PacketType::Genuine, None).unwrap();
}

/// Opens a packet and appends its message to `out`.
fn decrypt(session: &mut CipherSession, packet: &mut [u8], out: &mut Vec<u8>) {
    let (length, sealed) = packet.split_first_chunk_mut().unwrap();
    assert_eq!(session.inbound().decrypt_packet_len(*length), sealed.len());
    let (_, plaintext) = session.inbound().decrypt_in_place(sealed, None).unwrap();
    let payload = &plaintext[2..];
    out.extend_from_slice(&[0; HEADER_LEN - 4]);
    out.extend_from_slice(&checksum(payload));
    out.extend_from_slice(payload);
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
