//! Checklist E7: a responder tells v1 from v2 before it sends a byte.

use bip324_transport::v1::Magic;
use bip324_transport::v2::{Detection, Error, KeyExchange, Role, V1_PREFIX_LEN, detect};

use crate::peer::{Inbox, MAGIC};

fn prefix(magic: Magic) -> [u8; V1_PREFIX_LEN] {
    let mut prefix = *b"____version\0\0\0\0\0";
    prefix[..4].copy_from_slice(&magic.to_bytes());
    prefix
}

#[test]
fn e7_nothing_is_decided_before_a_byte_differs() {
    let v1 = prefix(MAGIC);
    for length in 0..V1_PREFIX_LEN {
        assert_eq!(detect(MAGIC, &v1[..length]), Detection::Undecided, "{length} bytes");
    }
    assert_eq!(detect(MAGIC, &v1), Detection::V1);
    assert_eq!(detect(MAGIC, &[&v1[..], b"and more"].concat()), Detection::V1);
}

#[test]
fn e7_the_first_byte_that_differs_decides() {
    for at in 0..V1_PREFIX_LEN {
        for bit in 0..8 {
            let mut bytes = prefix(MAGIC);
            bytes[at] ^= 1 << bit;
            assert_eq!(detect(MAGIC, &bytes[..at]), Detection::Undecided);
            assert_eq!(detect(MAGIC, &bytes[..=at]), expected(at, at + 1), "byte {at}");
            assert_eq!(detect(MAGIC, &bytes), expected(at, V1_PREFIX_LEN), "byte {at}");
        }
    }

    /// Of the 16 bytes of a v1 prefix, one is another: in the magic or behind it.
    fn expected(at: usize, length: usize) -> Detection {
        match (at, length) {
            (0..4, V1_PREFIX_LEN) => Detection::WrongNetwork,
            _ => Detection::V2,
        }
    }
}

#[test]
fn e7_another_network_is_told_at_byte_16() {
    let foreign = prefix(Magic::BITCOIN);
    assert_eq!(detect(MAGIC, &foreign[..15]), Detection::V2);
    assert_eq!(detect(MAGIC, &foreign), Detection::WrongNetwork);
}

#[test]
fn e7_noise_is_kept_until_byte_4175() {
    assert_eq!(detect(MAGIC, &[0]), Detection::V2);
    assert_eq!(detect(MAGIC, &[0; 64]), Detection::V2);
    let exchange = KeyExchange::new(Role::Responder, MAGIC).unwrap();
    let mut inbox = Inbox::new(exchange.complete(&[0; 64], &mut Vec::new()).receiver);
    inbox.feed_in(&[1], &[0; 4174 - 64]).unwrap();
    assert_eq!(inbox.feed(&[0]), Err(Error::GarbageTerminatorMissing(4111)));
}
