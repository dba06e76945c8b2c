//! ElligatorSwift keys and the key schedule. BIP324, "Key exchange" and "Keys and session ID
//! derivation"; Core: `BIP324Cipher::Initialize` (bip324.cpp).

use std::fmt;
use std::sync::OnceLock;

use bitcoin::secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use bitcoin::secp256k1::{All, Secp256k1, SecretKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::limits::GARBAGE_TERMINATOR_LEN;
use crate::v1::Magic;

/// Length of a public key in ElligatorSwift encoding.
pub const KEY_LEN: usize = 64;

/// Which side dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opened the TCP connection.
    Initiator,
    /// Accepted it.
    Responder,
}

/// One session's secret key and its public key as it goes over the wire.
///
/// The secret is wiped when dropped, and so are the keys derived from it. What libsecp256k1 and ring
/// copy to the stack while they compute is beyond our reach.
pub struct KeyPair {
    secret: SecretKey,
    public: [u8; KEY_LEN],
}

impl KeyPair {
    /// A fresh pair. The encoding takes fresh randomness too: a key encoded without it can be told
    /// from random bytes by encoding its point again. Core: `CKey::EllSwiftCreate` (key.cpp).
    ///
    /// # Errors
    ///
    /// The operating system gave no randomness.
    pub fn generate() -> Result<Self, EntropyError> {
        loop {
            let secret = random::<32>()?;
            // One candidate in 2^128 is zero or not below the group's order.
            if let Ok(pair) = Self::from_secret(&secret, random()?) {
                return Ok(pair);
            }
        }
    }

    /// The pair of a given secret, encoded with the given randomness. For tests.
    ///
    /// # Errors
    ///
    /// `secret` is zero or not below the group's order.
    pub fn from_secret(
        secret: &[u8; 32],
        randomness: Zeroizing<[u8; 32]>,
    ) -> Result<Self, bitcoin::secp256k1::Error> {
        let mut pair = Self::from_parts(secret, [0; KEY_LEN])?;
        let key = ElligatorSwift::from_seckey(curve(), pair.secret, Some(*randomness));
        pair.public = key.to_array();
        Ok(pair)
    }

    /// A given secret with a given encoding of its public key. For the official vectors, whose
    /// encodings are not reproducible.
    ///
    /// # Errors
    ///
    /// `secret` is zero or not below the group's order.
    pub fn from_parts(
        secret: &[u8; 32],
        public: [u8; KEY_LEN],
    ) -> Result<Self, bitcoin::secp256k1::Error> {
        Ok(Self { secret: SecretKey::from_slice(secret)?, public })
    }

    /// The public key in ElligatorSwift encoding: indistinguishable from random bytes.
    pub const fn public(&self) -> &[u8; KEY_LEN] {
        &self.public
    }

    /// Derives everything that a session with `their_public` needs. Any 64 bytes are a valid
    /// public key, so this cannot fail; a wrong one shows in the garbage terminator.
    pub fn derive(&self, their_public: &[u8; KEY_LEN], role: Role, magic: Magic) -> SessionKeys {
        let ours = ElligatorSwift::from_array(self.public);
        let theirs = ElligatorSwift::from_array(*their_public);
        let (initiator, responder, party) = match role {
            Role::Initiator => (ours, theirs, ElligatorSwiftParty::A),
            Role::Responder => (theirs, ours, ElligatorSwiftParty::B),
        };
        let shared = ElligatorSwift::shared_secret(initiator, responder, self.secret, party, None);
        let shared = Zeroizing::new(shared.to_secret_bytes());
        SessionKeys::expand(&shared, role, magic)
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

/// What both sides derive from the shared secret, named from our point of view.
pub struct SessionKeys {
    /// Names the session; equal on both sides unless somebody stands in between.
    pub id: SessionId,
    /// Key of the lengths we send.
    pub send_length: Zeroizing<[u8; 32]>,
    /// Key of the packets we send.
    pub send_packet: Zeroizing<[u8; 32]>,
    /// Key of the lengths we receive.
    pub receive_length: Zeroizing<[u8; 32]>,
    /// Key of the packets we receive.
    pub receive_packet: Zeroizing<[u8; 32]>,
    /// Ends our garbage.
    pub send_terminator: [u8; GARBAGE_TERMINATOR_LEN],
    /// Ends their garbage.
    pub receive_terminator: [u8; GARBAGE_TERMINATOR_LEN],
}

impl SessionKeys {
    fn expand(shared: &[u8; 32], role: Role, magic: Magic) -> Self {
        let mut salt = *b"bitcoin_v2_shared_secret____";
        if let Some(place) = salt.last_chunk_mut() {
            *place = magic.to_bytes();
        }
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(shared);
        let expand = |info| expand(&prk, info);

        let initiator = (expand(b"initiator_L"), expand(b"initiator_P"));
        let responder = (expand(b"responder_L"), expand(b"responder_P"));
        let [initiator_terminator, responder_terminator] = halves(&expand(b"garbage_terminators"));
        let (send, receive, send_terminator, receive_terminator) = match role {
            Role::Initiator => (initiator, responder, initiator_terminator, responder_terminator),
            Role::Responder => (responder, initiator, responder_terminator, initiator_terminator),
        };
        Self {
            id: SessionId(*expand(b"session_id")),
            send_length: send.0,
            send_packet: send.1,
            receive_length: receive.0,
            receive_packet: receive.1,
            send_terminator,
            receive_terminator,
        }
    }
}

/// 32 bytes that name a session. Two people who compare them out of band notice anybody in
/// between. Printed as 64 hex digits in the order of Core's `getpeerinfo`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; 32]);

impl SessionId {
    /// The raw bytes, in the order in which they are printed.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The operating system gave no randomness, so no session can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random number generator failed")]
pub struct EntropyError;

/// `N` bytes from the operating system, wiped when dropped.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, EntropyError> {
    let mut bytes = Zeroizing::new([0; N]);
    fill_random(&mut *bytes)?;
    Ok(bytes)
}

/// Fills `bytes` from the operating system.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<(), EntropyError> {
    SystemRandom::new().fill(bytes).map_err(|_| EntropyError)
}

/// libsecp256k1's tables, made once. Its blinding against side channels is best effort there too.
fn curve() -> &'static Secp256k1<All> {
    static CURVE: OnceLock<Secp256k1<All>> = OnceLock::new();
    CURVE.get_or_init(|| {
        let mut curve = Secp256k1::new();
        if let Ok(seed) = random() {
            curve.seeded_randomize(&seed);
        }
        curve
    })
}

/// One key of the schedule.
#[expect(clippy::expect_used, reason = "better to stop than to go on with a key of zeros")]
fn expand(prk: &hkdf::Prk, info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    prk.expand(&[info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut *key))
        .expect("32 bytes are far below HKDF's limit of 8160");
    key
}

fn halves(bytes: &[u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    let [first, second] = &mut halves;
    let (front, back) = bytes.split_at(16);
    first.copy_from_slice(front);
    second.copy_from_slice(back);
    halves
}
