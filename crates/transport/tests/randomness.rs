//! Checklist A4 and I3: our first flight is random bytes to everybody else.
//!
//! Every bound is the value that a fair source exceeds once in 10^9 runs: the chi-square quantile
//! by Wilson and Hilferty's approximation.

use bip324_transport::v2::{KEY_LEN, KeyExchange, KeyPair, Role};
use bitcoin::secp256k1::PublicKey;
use bitcoin::secp256k1::ellswift::ElligatorSwift;

use crate::peer::MAGIC;

/// What an observer does about a key encoded without randomness: decode it, encode its point again
/// without randomness, and compare.
fn is_recognisable(key: [u8; KEY_LEN]) -> bool {
    let point = PublicKey::from_ellswift(ElligatorSwift::from_array(key));
    ElligatorSwift::from_pubkey(point).to_array() == key
}

#[test]
fn a4_our_keys_are_not_recognisable() {
    let recognised = (0..1000).filter(|_| {
        let flight = KeyExchange::new(Role::Initiator, MAGIC).unwrap().first_flight();
        is_recognisable(*flight.first_chunk().unwrap())
    });
    assert_eq!(recognised.count(), 0);
}

/// The test above can fail: this is what it is there to find.
#[test]
fn a4_keys_of_the_bip324_crate_are_recognisable() {
    let recognised = (0..1000).filter(|_| {
        let mut key = [0; KEY_LEN];
        let handshake = bip324::Handshake::new(MAGIC.to_bytes(), bip324::Role::Initiator).unwrap();
        assert!(handshake.send_key(None, &mut key).is_ok());
        is_recognisable(key)
    });
    assert_eq!(recognised.count(), 1000);
}

#[test]
fn a4_randomness_changes_the_encoding_and_not_the_point() {
    let [a, b] = [[1; 32], [2; 32]]
        .map(|randomness| *KeyPair::from_secret(&[7; 32], randomness.into()).unwrap().public());
    assert_ne!(a, b);
    let point = |key| PublicKey::from_ellswift(ElligatorSwift::from_array(key)).x_only_public_key();
    assert_eq!(point(a).0, point(b).0);
}

#[test]
fn a4_i3_keys_and_garbage_lengths_are_uniform() {
    const SAMPLES: usize = 10_240;
    let mut bytes = vec![[0; 256]; KEY_LEN];
    let mut lengths = [0; 64];
    let mut longest = 0;
    for _ in 0..SAMPLES {
        let flight = KeyExchange::new(Role::Initiator, MAGIC).unwrap().first_flight();
        for (place, &byte) in flight[..KEY_LEN].iter().enumerate() {
            bytes[place][usize::from(byte)] += 1;
        }
        let garbage = flight.len() - KEY_LEN;
        longest = longest.max(garbage);
        lengths[garbage / 64] += 1;
    }

    assert!(longest <= 4095);
    let of_lengths = chi_square(&lengths);
    assert!(of_lengths < 156.0, "{of_lengths} with 63 degrees of freedom");
    let of_bytes: f64 = bytes.iter().map(|counts| chi_square(counts)).sum();
    assert!(of_bytes < 17_430.0, "{of_bytes} with 64 * 255 degrees of freedom");

    // One bit that is always clear would not pass.
    let (low, high) = bytes[0].split_at_mut(128);
    low.iter_mut().zip(high).for_each(|(low, high)| *low += std::mem::take(high));
    let of_bytes: f64 = bytes.iter().map(|counts| chi_square(counts)).sum();
    assert!(of_bytes > 17_430.0, "{of_bytes}: the bound is too wide");
}

fn chi_square(counts: &[u32]) -> f64 {
    let total: u32 = counts.iter().sum();
    let expected = f64::from(total) / counts.len() as f64;
    counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum()
}

#[test]
fn i3_garbage_itself_is_random() {
    let mut counts = [0; 256];
    for _ in 0..256 {
        let flight = KeyExchange::new(Role::Responder, MAGIC).unwrap().first_flight();
        flight[KEY_LEN..].iter().for_each(|&byte| counts[usize::from(byte)] += 1);
    }
    let statistic = chi_square(&counts);
    assert!(statistic < 416.0, "{statistic} with 255 degrees of freedom");
}
