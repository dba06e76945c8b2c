//! What a session costs the daemon until both VERSIONs have passed, beside the curve's part of it.
//!
//! That is also to accept, to look up whose connection it is, to dial, and to forward the two messages.

use std::hint::black_box;
use std::thread;

use anyhow::{Error, Result};
use bip324_testkit::figures::{Figure, Paired, Row, Target};
use bitcoin::secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use bitcoin::secp256k1::{Secp256k1, SecretKey};

use crate::clock::nanoseconds;
use crate::ends::{Node, respond, speak_v2};
use crate::options::Options;
use crate::proxy::{Proxy, joined};
use crate::relay;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let relay = relay::start(node.address)?;
    let (idle, idle_relay) = (proxy.vitals()?.sockets, relay.vitals()?.sockets);
    let version = node.version()?;
    let (mut bare, mut relayed) = <(Paired, Paired)>::default();
    for round in 0..=options.pick(8, 20) {
        let (spent, _) = cost(&proxy, || node.open(proxy.address))?;
        let copied = thread::scope(|scope| {
            let answers = scope.spawn(|| -> Result<Vec<_>> {
                (0..SESSIONS).map(|_| respond(node.accept()?)).collect()
            });
            let (copied, _sessions) = cost(&relay, || speak_v2(relay.address, &version))?;
            joined(answers)?;
            Ok::<_, Error>(copied)
        })?;
        proxy.wait_for_sockets(idle)?;
        relay.wait_for_sockets(idle_relay)?;
        let curve = curve()?;
        // The first round is for whatever is made at first use.
        if round > 0 {
            let each = |nanoseconds| nanoseconds / SESSIONS as f64 / 1000.0;
            bare.add(each(spent), each(curve));
            relayed.add(each(spent), each(curve + copied));
        }
    }
    let row = |name, rounds, limit| {
        Row::Measured(Figure::paired(name, "µs", rounds, Target::AtMost(limit)))
    };
    Ok(vec![
        row("handshake, beside one key and one ECDH", &bare, 1.5),
        row("handshake, beside these and a TCP relay", &relayed, 1.0),
    ])
}

/// Nanoseconds that the sessions of a round take of `proxy` until all are open, and the sessions.
fn cost<T>(proxy: &Proxy, mut open: impl FnMut() -> Result<T>) -> Result<(f64, Vec<T>)> {
    let mut sessions = Vec::new();
    let spent = proxy.nanoseconds(|| {
        for _ in 0..SESSIONS {
            sessions.push(open()?);
        }
        Ok(())
    })?;
    Ok((spent, sessions))
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
