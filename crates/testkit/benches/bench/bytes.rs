//! What a byte costs the daemon, each way: its processor time while a stream passes, beside the floor.

use std::thread;

use anyhow::Result;
use bip324_testkit::figures::{Figure, Paired, Row, Target};

use crate::ends::{Node, Session, discard, send};
use crate::floor::Floor;
use crate::options::Options;
use crate::proxy::{Proxy, joined};
use crate::stream::{Messages, encrypt};

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let node = Node::listen()?;
    let mut rows = Vec::new();
    for kind in &Messages::all() {
        let proxy = Proxy::start(options)?;
        let mut session = node.open(proxy.address)?;
        let mut floor = Floor::new(kind)?;
        let stream = kind.round()?;
        let (mut up, mut down) = (Paired::default(), Paired::default());
        for round in 0..=options.pick(5, 15) {
            let before = floor.measure(&stream)?;
            let to_peer = to_peer(&proxy, &session, kind, &stream)?;
            let between = floor.measure(&stream)?;
            let to_client = to_client(&proxy, &mut session, &stream)?;
            let after = floor.measure(&stream)?;
            // The first round makes the sockets' buffers grow.
            if round > 0 {
                up.add(to_peer, f64::midpoint(before, between));
                down.add(to_client, f64::midpoint(between, after));
            }
        }
        for (direction, rounds) in [("peer", up), ("client", down)] {
            let name = format!("{} to the {direction}", kind.name);
            let limit = if kind.are_large() { 1.5 } else { 2.0 };
            let figure = Figure::paired(&name, "ns/B", &rounds, Target::AtMost(limit));
            rows.push(Row::Measured(figure));
        }
    }
    Ok(rows)
}

/// Nanoseconds for every v1 byte from the client to the peer.
fn to_peer(proxy: &Proxy, session: &Session, kind: &Messages, stream: &[u8]) -> Result<f64> {
    let spent = proxy.nanoseconds(|| {
        thread::scope(|scope| {
            let reader = scope.spawn(|| discard(&session.peer, kind.encrypted_len(stream)));
            send(&session.client, stream)?;
            joined(reader)
        })
    })?;
    Ok(spent / stream.len() as f64)
}

/// Nanoseconds for every v1 byte from the peer to the client.
fn to_client(proxy: &Proxy, session: &mut Session, stream: &[u8]) -> Result<f64> {
    let packets = encrypt(session, stream)?;
    let spent = proxy.nanoseconds(|| {
        thread::scope(|scope| {
            let reader = scope.spawn(|| discard(&session.client, stream.len()));
            send(&session.peer, &packets)?;
            joined(reader)
        })
    })?;
    Ok(spent / stream.len() as f64)
}
