//! The floor of a byte: one ChaCha20-Poly1305 pass, one double SHA-256, one loopback read and write.
//!
//! Each by the fastest implementation at hand. For the cipher that is ring; aws-lc-rs, which has the
//! same assembly, came out the same at every size. For SHA-256 it is ring or the sha2 crate, whichever
//! is the faster one in the round: with SHA-NI they differ by what a call costs.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Result, ensure};
use bip324_transport::v1::HEADER_LEN;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use sha2::{Digest, Sha256};

use crate::clock::nanoseconds;
use crate::ends::{discard, prepare, send};
use crate::proxy::joined;
use crate::stream::Messages;

/// What a message of one kind cannot do without.
pub(crate) struct Floor {
    key: LessSafeKey,
    /// As many messages as stay in the cache.
    messages: Vec<u8>,
    size: usize,
    loopback: Loopback,
}

impl Floor {
    pub(crate) fn new(kind: &Messages) -> Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32])?;
        let message = kind.one()?;
        Ok(Self {
            key: LessSafeKey::new(key),
            size: message.len(),
            messages: message.repeat(CACHED.div_ceil(message.len())),
            loopback: Loopback::connect()?,
        })
    }

    /// Nanoseconds for each byte of `stream`.
    pub(crate) fn measure(&mut self, stream: &[u8]) -> Result<f64> {
        let hash = self.hash(ring_twice)?.min(self.hash(sha2_twice)?);
        Ok(hash + self.encrypt()? + self.loopback.carry(stream)?)
    }

    fn hash(&self, twice: impl Fn(&[u8])) -> Result<f64> {
        let spent = nanoseconds(|| {
            for _ in 0..PASSES {
                for message in self.messages.chunks(self.size) {
                    twice(message.split_at(HEADER_LEN).1);
                }
            }
            Ok(())
        })?;
        Ok(self.per_byte(spent))
    }

    fn encrypt(&mut self) -> Result<f64> {
        let (key, size) = (&self.key, self.size);
        let messages = &mut self.messages;
        let spent = nanoseconds(|| {
            for _ in 0..PASSES {
                for message in messages.chunks_mut(size) {
                    // The header and the short id, a byte each, and the payload.
                    let (_, plaintext) = message.split_at_mut(HEADER_LEN - 2);
                    let nonce = Nonce::assume_unique_for_key([0; 12]);
                    let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), plaintext)?;
                    black_box(tag.as_ref());
                }
            }
            Ok(())
        })?;
        Ok(self.per_byte(spent))
    }

    fn per_byte(&self, spent: f64) -> f64 {
        spent / (PASSES * self.messages.len()) as f64
    }
}

fn ring_twice(payload: &[u8]) {
    black_box(digest(&SHA256, digest(&SHA256, payload).as_ref()));
}

fn sha2_twice(payload: &[u8]) {
    black_box(Sha256::digest(Sha256::digest(payload)));
}

/// Two connections, and between them nothing but a read and a write.
struct Loopback {
    source: TcpStream,
    from: TcpStream,
    to: TcpStream,
    sink: TcpStream,
}

impl Loopback {
    fn connect() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let connect = || -> Result<_> {
            let ends = (TcpStream::connect(address)?, listener.accept()?.0);
            prepare(&ends.0)?;
            prepare(&ends.1)?;
            Ok(ends)
        };
        let ((source, from), (to, sink)) = (connect()?, connect()?);
        Ok(Self { source, from, to, sink })
    }

    /// Nanoseconds that a byte takes of the thread in the middle.
    fn carry(&self, stream: &[u8]) -> Result<f64> {
        let spent = thread::scope(|scope| {
            let source = scope.spawn(|| send(&self.source, stream));
            let sink = scope.spawn(|| discard(&self.sink, stream.len()));
            let spent = nanoseconds(|| copy(&self.from, &self.to, stream.len()));
            joined(source)?;
            joined(sink)?;
            spent
        })?;
        Ok(spent / stream.len() as f64)
    }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, length: usize) -> Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut copied = 0;
    while copied < length {
        let count = from.read(&mut buffer)?;
        ensure!(count > 0, "the stream ended {copied} bytes on");
        to.write_all(buffer.split_at(count).0)?;
        copied += count;
    }
    Ok(())
}

/// Bytes that stay in the cache of a processor, but for a block, which is longer.
const CACHED: usize = 1 << 18;

/// Of the cached bytes: some milliseconds.
const PASSES: usize = 16;
