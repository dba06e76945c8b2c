//! FSChaCha20 and FSChaCha20Poly1305: the forward-secure ciphers of lengths and packets. BIP324,
//! "Packet encryption"; Core: `crypto/chacha20.h`, `crypto/chacha20poly1305.h`.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Length of the authentication tag behind every packet.
pub const TAG_LEN: usize = 16;

/// Encrypts and decrypts the 3-byte lengths of one direction.
///
/// One key's whole keystream, for 224 lengths and the next key, is made at once: eleven ChaCha20
/// blocks in one vectorised call instead of a block for every three bytes.
pub struct LengthCipher {
    keystream: Zeroizing<[u8; KEYSTREAM_LEN]>,
    used: usize,
    epoch: u64,
}

impl LengthCipher {
    /// Starts at the first length.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keystream: keystream(key, 0), used: 0, epoch: 0 }
    }

    /// Encrypts or decrypts the next length: both are the same exclusive-or.
    pub fn apply(&mut self, length: [u8; 3]) -> [u8; 3] {
        let [a, b, c] = length;
        let [x, y, z] = self.take();
        if self.used == REKEY_INTERVAL_LEN {
            let next = Zeroizing::new(self.take());
            self.epoch += 1;
            self.keystream = keystream(&next, self.epoch);
            self.used = 0;
        }
        [a ^ x, b ^ y, c ^ z]
    }

    #[expect(clippy::expect_used, reason = "better to stop than to send a length in plaintext")]
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let rest = self.keystream.get(self.used..).unwrap_or_default();
        let taken = *rest.first_chunk().expect("the keystream lasts until the next key");
        self.used += N;
        taken
    }
}

fn keystream(key: &[u8; 32], epoch: u64) -> Zeroizing<[u8; KEYSTREAM_LEN]> {
    let mut stream = Zeroizing::new([0; KEYSTREAM_LEN]);
    let nonce = nonce(0, epoch);
    ChaCha20::new(key.into(), &nonce.into()).apply_keystream(&mut *stream);
    stream
}

/// Seals or opens the packets of one direction.
pub struct PacketCipher {
    key: LessSafeKey,
    /// Packets done under this key.
    packet: u32,
    /// Keys before this one.
    epoch: u64,
}

impl PacketCipher {
    /// Starts at the first packet.
    pub fn new(key: &[u8; 32]) -> Self {
        Self { key: aead_key(key), packet: 0, epoch: 0 }
    }

    /// Encrypts `plaintext` in place and returns the tag that goes behind it.
    pub fn seal(&mut self, aad: &[u8], plaintext: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = Nonce::assume_unique_for_key(nonce(self.packet, self.epoch));
        let tag = seal(&self.key, nonce, aad, plaintext);
        self.advance();
        tag
    }

    /// Decrypts `sealed`, ciphertext and tag, in place; the plaintext is its front. The tag is
    /// compared in constant time.
    ///
    /// # Errors
    ///
    /// Ciphertext, tag or `aad` are not those of this place in the stream. The session is over: the
    /// cipher does not move on, and `sealed` holds nothing of use.
    pub fn open<'a>(
        &mut self,
        aad: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], AuthenticationFailed> {
        let nonce = Nonce::assume_unique_for_key(nonce(self.packet, self.epoch));
        let plaintext = self
            .key
            .open_in_place(nonce, Aad::from(aad), sealed)
            .map_err(|_| AuthenticationFailed)?;
        self.advance();
        Ok(plaintext)
    }

    fn advance(&mut self) {
        self.packet += 1;
        if self.packet == REKEY_INTERVAL {
            let mut next = Zeroizing::new([0; 32]);
            let rekey_nonce = Nonce::assume_unique_for_key(nonce(u32::MAX, self.epoch));
            seal(&self.key, rekey_nonce, &[], &mut *next);
            self.key = aead_key(&next);
            self.packet = 0;
            self.epoch += 1;
        }
    }
}

impl Drop for PacketCipher {
    /// ring leaves keys in memory: write another over this one, where the compiler must let it.
    fn drop(&mut self) {
        self.key = aead_key(&[0; 32]);
        std::hint::black_box(&mut self.key);
    }
}

/// A packet that is not the next one of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("packet failed authentication")]
pub struct AuthenticationFailed;

#[expect(clippy::expect_used, reason = "a constant 32-byte key is the length that ring wants")]
fn aead_key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("ChaCha20 keys have 32 bytes"))
}

#[expect(clippy::expect_used, reason = "ring seals up to 2^38 bytes, a packet has less than 2^22")]
fn seal(key: &LessSafeKey, nonce: Nonce, aad: &[u8], plaintext: &mut [u8]) -> [u8; TAG_LEN] {
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(aad), plaintext)
        .expect("a packet is below ChaCha20-Poly1305's limit");
    let mut bytes = [0; TAG_LEN];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn nonce(packet: u32, epoch: u64) -> [u8; 12] {
    let [a, b, c, d] = packet.to_le_bytes();
    let [e, f, g, h, i, j, k, l] = epoch.to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// Messages under one key. Core: `REKEY_INTERVAL` (bip324.h).
const REKEY_INTERVAL: u32 = 224;
const REKEY_INTERVAL_LEN: usize = 3 * REKEY_INTERVAL as usize;
const KEYSTREAM_LEN: usize = REKEY_INTERVAL_LEN + 32;
