//! The handshake driver in either role against bytes that nobody sealed.

use arbitrary::Arbitrary;
use bip324_transport::limits::{MAX_CONTENTS, MAX_GARBAGE};
use bip324_transport::v1::Magic;
use bip324_transport::v2::{Detection, Error, KeyExchange, Role, V1_PREFIX_LEN, detect};

use crate::peer::keys;
use crate::script;
use crate::stream::Direction;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    responder: bool,
    magic: [u8; 4],
    seed: u8,
    garbage: u16,
    reads: [u8; 4],
    /// Puts the terminator here into what follows the key.
    terminator: Option<u16>,
    stream: &'a [u8],
}

/// Nothing is delivered, the session is never up, and it ends at byte 4111 at the latest unless
/// the terminator came, then at the first packet.
pub fn run(data: &[u8]) {
    let Some(input) = script::<Input<'_>>(data) else { return };
    let magic = Magic::from_bytes(input.magic);
    check_detection(magic, input.stream);
    let Some((their_key, noise)) = input.stream.split_first_chunk() else { return };

    let role = if input.responder { Role::Responder } else { Role::Initiator };
    let garbage = vec![input.seed; usize::from(input.garbage) % (MAX_GARBAGE + 1)];
    let exchange = KeyExchange::from_parts(role, magic, keys(input.seed, 1), garbage.clone());
    let first_flight = exchange.first_flight();
    assert_eq!(first_flight.len(), 64 + garbage.len());
    let terminator = keys(input.seed, 1).derive(their_key, role, magic).receive_terminator;
    let mut second_flight = Vec::new();
    let session = exchange.complete(their_key, &mut second_flight);
    assert_eq!(second_flight.len(), 16 + 20);

    let mut noise = noise.to_vec();
    if let Some(at) = input.terminator {
        let at = usize::from(at).min(noise.len());
        noise.splice(at..at, terminator);
    }
    let garbage_len = noise.windows(16).position(|window| window == terminator);
    let mut direction = Direction::new(session.receiver);
    let result = direction.feed_in(&input.reads, &noise);
    assert!(!direction.half.is_established() && direction.output.is_empty());
    match garbage_len.filter(|&length| length <= MAX_GARBAGE) {
        None if noise.len() < 4111 => {
            assert_eq!((result, direction.wants), (Ok(()), noise.len() + 1))
        }
        None => assert_eq!(result, Err(Error::GarbageTerminatorMissing(4111))),
        Some(length) => check_first_packet(result, noise.len() - length - 16, &mut direction),
    }
}

/// Behind the terminator stand `length` bytes of a packet that cannot be authentic: they wait for
/// the rest of it, within bounds, and then end the session.
fn check_first_packet(
    result: Result<(), Error>,
    length: usize,
    direction: &mut Direction<bip324_transport::Receiver>,
) {
    match result {
        Ok(()) if length < 3 => assert_eq!(direction.wants, 3),
        Ok(()) => {
            assert!(direction.wants > length && direction.wants <= MAX_CONTENTS + 20);
            // Not all of the 4 MB that it may take, for speed.
            if direction.wants < 1 << 16 {
                let rest = vec![0; direction.missing()];
                assert_eq!(direction.feed(&rest), Err(Error::AuthenticationFailed));
            }
        }
        Err(Error::ContentsTooLong(announced)) => assert!(announced > MAX_CONTENTS && length >= 3),
        Err(error) => assert!(error == Error::AuthenticationFailed && length >= 20),
    }
    assert!(direction.output.is_empty() && !direction.half.is_established());
}

/// A responder's decision about a prefix stands whatever follows, and is what BIP324 says.
fn check_detection(magic: Magic, stream: &[u8]) {
    let mut v1 = *b"____version\0\0\0\0\0";
    v1[..4].copy_from_slice(&magic.to_bytes());
    for length in 0..=stream.len().min(V1_PREFIX_LEN + 1) {
        let received = &stream[..length];
        let whole = received.get(..V1_PREFIX_LEN);
        let expected = if whole == Some(&v1) {
            Detection::V1
        } else if v1.starts_with(received) {
            Detection::Undecided
        } else if whole.is_some_and(|whole| whole[4..] == v1[4..]) {
            Detection::WrongNetwork
        } else {
            Detection::V2
        };
        assert_eq!(detect(magic, received), expected, "{length} bytes");
    }
}
