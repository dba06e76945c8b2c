//! Every row of the official vectors.

mod xswiftec;

use std::collections::HashMap;

use bip324_transport::v1::Magic;
use bip324_transport::v2::{KeyPair, Role, SessionKeys};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::secp256k1::ellswift::ElligatorSwift;
use bitcoin::secp256k1::{PublicKey, Scalar, Secp256k1, SecretKey};
use ring::digest::{SHA256, digest};

use crate::peer::{DECOY, GENUINE, Peer};
use xswiftec::Field;

const DECODE: &str = include_str!("vectors/ellswift_decode_test_vectors.csv");
const PACKETS: &str = include_str!("vectors/packet_encoding_test_vectors.csv");
const INVERSE: &str = include_str!("vectors/xswiftec_inv_test_vectors.csv");
const SOURCE: &str = include_str!("vectors/SOURCE.md");

#[test]
fn files_are_the_official_ones() {
    for (name, text) in [
        ("ellswift_decode_test_vectors.csv", DECODE),
        ("packet_encoding_test_vectors.csv", PACKETS),
        ("xswiftec_inv_test_vectors.csv", INVERSE),
    ] {
        let sum = digest(&SHA256, text.as_bytes()).as_ref().to_lower_hex_string();
        assert!(SOURCE.contains(&format!("| {name} | {sum} |")), "{name} has sha256 {sum}");
    }
}

#[test]
fn a1_keys_terminators_and_session_ids() {
    let rows = rows(PACKETS);
    assert_eq!(rows.len(), 7);
    for row in &rows {
        let initiating = row.role() == Role::Initiator;
        let keys = row.key_pair().derive(&row.bytes("in_ellswift_theirs"), row.role(), MAGIC);
        let (send, receive) = match initiating {
            true => {
                (["mid_initiator_l", "mid_initiator_p"], ["mid_responder_l", "mid_responder_p"])
            }
            false => {
                (["mid_responder_l", "mid_responder_p"], ["mid_initiator_l", "mid_initiator_p"])
            }
        };
        assert_eq!(*keys.send_length, row.bytes(send[0]));
        assert_eq!(*keys.send_packet, row.bytes(send[1]));
        assert_eq!(*keys.receive_length, row.bytes(receive[0]));
        assert_eq!(*keys.receive_packet, row.bytes(receive[1]));
        assert_eq!(keys.send_terminator, row.bytes("mid_send_garbage_terminator"));
        assert_eq!(keys.receive_terminator, row.bytes("mid_recv_garbage_terminator"));
        assert_eq!(keys.id.to_string(), row.text("out_session_id"));
    }
}

#[test]
fn a1_points_and_shared_secrets() {
    let curve = Secp256k1::new();
    for row in rows(PACKETS) {
        let (ours, theirs) = (row.bytes("in_ellswift_ours"), row.bytes("in_ellswift_theirs"));
        let secret = SecretKey::from_slice(&row.bytes::<32>("in_priv_ours")).unwrap();
        assert_eq!(x_of(&point(ours)), row.bytes("mid_x_ours"));
        assert_eq!(x_of(&PublicKey::from_secret_key(&curve, &secret)), row.bytes("mid_x_ours"));
        assert_eq!(x_of(&point(theirs)), row.bytes("mid_x_theirs"));
        let shared = point(theirs).mul_tweak(&curve, &Scalar::from(secret)).unwrap();
        assert_eq!(x_of(&shared), row.bytes("mid_x_shared"));

        let (initiator, responder) = match row.role() {
            Role::Initiator => (ours, theirs),
            Role::Responder => (theirs, ours),
        };
        let tag = digest(&SHA256, b"bip324_ellswift_xonly_ecdh");
        let hashed = [tag.as_ref(), tag.as_ref(), &initiator, &responder, &x_of(&shared)].concat();
        let secret = digest(&SHA256, &hashed);
        assert_eq!(secret.as_ref(), row.bytes::<32>("mid_shared_secret"));
    }
}

#[test]
fn a1_ciphertexts() {
    for row in rows(PACKETS) {
        let keys = row.key_pair().derive(&row.bytes("in_ellswift_theirs"), row.role(), MAGIC);
        let mut sealer = Peer::new(&keys);
        let mut opener = Peer::new(&other_side(&keys));
        let skip = row.text("in_idx").parse().unwrap();
        for _ in 0..skip {
            assert_eq!(opener.open(b"", &sealer.genuine(b"")), [(GENUINE, vec![])]);
        }

        let header = if row.text("in_ignore") == "1" { DECOY } else { GENUINE };
        let contents = row.vec("in_contents").repeat(row.text("in_multiply").parse().unwrap());
        let aad = row.vec("in_aad");
        let packet = sealer.packet(header, &contents, &aad);
        match row.text("out_ciphertext") {
            "" => assert!(packet.ends_with(&row.vec("out_ciphertext_endswith")), "packet {skip}"),
            _ => assert_eq!(packet, row.vec("out_ciphertext"), "packet {skip}"),
        }
        assert!(opener.open(&aad, &packet) == [(header, contents)], "packet {skip} opens");
    }
}

#[test]
fn a2_ellswift_decode() {
    let rows = rows(DECODE);
    assert_eq!(rows.len(), 76);
    for row in &rows {
        assert_eq!(x_of(&point(row.bytes("ellswift"))), row.bytes("x"), "{}", row.text("comment"));
    }
}

#[test]
fn a3_xswiftec_inv() {
    let field = Field::new();
    let rows = rows(INVERSE);
    assert_eq!(rows.len(), 32);
    let mut present = 0;
    for row in &rows {
        let (u, x) = (row.bytes::<32>("u"), row.bytes::<32>("x"));
        for case in 0..8 {
            let name = format!("case{case}_t");
            let expected = Some(row.vec(&name)).filter(|t| !t.is_empty());
            assert_eq!(field.inverse(&x, &u, case).map(Vec::from), expected, "{name}");
            if let Some(t) = expected {
                let encoding = [u.as_slice(), &t].concat().try_into().unwrap();
                assert_eq!(x_of(&point(encoding)), x, "{name}");
                present += 1;
            }
        }
    }
    assert!((1..8 * 32).contains(&present), "both kinds of case occur");
}

/// The official vectors are of mainnet.
const MAGIC: Magic = Magic::BITCOIN;

fn point(encoding: [u8; 64]) -> PublicKey {
    PublicKey::from_ellswift(ElligatorSwift::from_array(encoding))
}

fn x_of(point: &PublicKey) -> [u8; 32] {
    point.x_only_public_key().0.serialize()
}

/// The same session seen from the other end.
fn other_side(keys: &SessionKeys) -> SessionKeys {
    SessionKeys {
        id: keys.id,
        send_length: keys.receive_length.clone(),
        send_packet: keys.receive_packet.clone(),
        receive_length: keys.send_length.clone(),
        receive_packet: keys.send_packet.clone(),
        send_terminator: keys.receive_terminator,
        receive_terminator: keys.send_terminator,
    }
}

/// One line of a file, by the names of its columns.
struct Row<'a>(HashMap<&'a str, &'a str>);

fn rows(csv: &str) -> Vec<Row<'_>> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), names.len(), "{line}");
            Row(names.iter().copied().zip(fields).collect())
        })
        .collect()
}

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        self.0[column]
    }

    fn vec(&self, column: &str) -> Vec<u8> {
        Vec::from_hex(self.text(column)).unwrap()
    }

    fn bytes<const N: usize>(&self, column: &str) -> [u8; N] {
        self.vec(column).try_into().unwrap()
    }

    fn role(&self) -> Role {
        match self.text("in_initiating") {
            "1" => Role::Initiator,
            _ => Role::Responder,
        }
    }

    fn key_pair(&self) -> KeyPair {
        let public = self.bytes("in_ellswift_ours");
        KeyPair::from_parts(&self.bytes("in_priv_ours"), public).unwrap()
    }
}
