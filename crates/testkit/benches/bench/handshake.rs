//! What a session costs the daemon until both VERSIONs have passed, beside the curve's part of it.
//!
//! That is also to accept, to look up whose connection it is, to dial, and to forward the two messages.

use std::hint::black_box;

use anyhow::Result;
use bip324_testkit::figures::{Figure, Paired, Row, Target};
use bitcoin::secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use bitcoin::secp256k1::{Secp256k1, SecretKey};

use crate::clock::nanoseconds;
use crate::ends::Node;
use crate::options::Options;
use crate::proxy::Proxy;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let idle = proxy.vitals()?.sockets;
    let mut rounds = Paired::default();
    for round in 0..=options.pick(8, 20) {
        let mut sessions = Vec::new();
        let spent = proxy.nanoseconds(|| {
            for _ in 0..SESSIONS {
                sessions.push(node.open(proxy.address)?);
            }
            Ok(())
        })?;
        drop(sessions);
        proxy.wait_for_sockets(idle)?;
        let floor = curve()?;
        // The first round is for whatever is made at first use.
        if round > 0 {
            rounds.add(spent / SESSIONS as f64 / 1000.0, floor / SESSIONS as f64 / 1000.0);
        }
    }
    let name = "handshake, beside one key and one ECDH";
    Ok(vec![Row::Measured(Figure::paired(name, "µs", &rounds, Target::AtMost(1.5)))])
}

/// Nanoseconds of as many key creations and ECDHs as a round has sessions.
fn curve() -> Result<f64> {
    let context = Secp256k1::new();
    let theirs = SecretKey::from_slice(&[5; 32])?;
    let theirs = ElligatorSwift::from_seckey(&context, theirs, Some([6; 32]));
    nanoseconds(|| {
        for number in 1..=SESSIONS {
            let secret = SecretKey::from_slice(&[number as u8; 32])?;
            let ours = ElligatorSwift::from_seckey(&context, secret, Some([number as u8; 32]));
            let party = ElligatorSwiftParty::A;
            black_box(ElligatorSwift::shared_secret(ours, theirs, secret, party, None));
        }
        Ok(())
    })
}

/// Of a round.
const SESSIONS: usize = 50;
