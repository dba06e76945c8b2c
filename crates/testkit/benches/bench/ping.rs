//! What a ping's round trip gains from the proxy, beside what it gains from a relay that only copies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use bip324_testkit::figures::{Figure, Paired, Row, Target, percentile};
use bip324_testkit::peer::frame;

use crate::ends::{MAGIC, Node, Session, connect};
use crate::options::Options;
use crate::proxy::{Proxy, joined};
use crate::relay;
use crate::stream::encrypt;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let relay = relay::start(node.address)?;
    let mut session = node.open(proxy.address)?;
    let mut paths = [
        Path::plain(&node, node.address)?,
        Path::plain(&node, relay.address)?,
        Path { near: session.client.try_clone()?, far: session.peer.try_clone()?, len: PACKET_LEN },
    ];
    let mut gains = [(0.5, Paired::default()), (0.99, Paired::default())];
    for round in 0..=options.pick(6, 15) {
        let [direct, relayed, proxied] = pings(&mut paths, &mut session)?;
        for (share, gains) in &mut gains {
            let gain = |times| percentile(times, *share) - percentile(&direct, *share);
            // The first round is for whatever is made at first use.
            if round > 0 {
                gains.add(gain(&proxied), gain(&relayed));
            }
        }
    }
    let rows = gains.iter().map(|(share, gains)| {
        let name = format!("ping gains, p{}, beside a TCP relay", share * 100.0);
        Row::Measured(Figure::paired(&name, "µs", gains, Target::AtMost(1.3)))
    });
    Ok(rows.collect())
}

/// A way to the node and back.
struct Path {
    near: TcpStream,
    far: TcpStream,
    /// How long a ping is where it arrives, and its answer where it sets out.
    len: usize,
}

impl Path {
    /// To the node, in v1, by `to`.
    fn plain(node: &Node, to: SocketAddr) -> Result<Self> {
        let near = connect(to)?;
        Ok(Self { near, far: node.accept()?, len: MESSAGE_LEN })
    }

    /// Microseconds of one ping.
    fn ping(&mut self, message: &[u8]) -> Result<f64> {
        let start = Instant::now();
        self.near.write_all(message)?;
        self.near.read_exact(&mut [0; MESSAGE_LEN])?;
        Ok(start.elapsed().as_secs_f64() * 1e6)
    }
}

/// A round of pings on each path, in turns, in microseconds. The answers are made before.
fn pings(paths: &mut [Path; 3], session: &mut Session) -> Result<[Vec<f64>; 3]> {
    let ping = frame(MAGIC, "ping", &[7; 8])?;
    let plain = frame(MAGIC, "pong", &[7; 8])?.repeat(PINGS);
    let packets = encrypt(session, &plain)?;
    let mut times = [const { Vec::new() }; 3];
    thread::scope(|scope| {
        let mut echoes = Vec::new();
        for (path, pongs) in paths.iter().zip([&plain, &plain, &packets]) {
            let (far, len) = (path.far.try_clone()?, path.len);
            echoes.push(scope.spawn(move || answer(far, len, pongs)));
        }
        // None of them always comes after the same other one.
        for turn in 0..PINGS * paths.len() {
            let which = (turn + turn / paths.len()) % paths.len();
            let path = paths.get_mut(which).zip(times.get_mut(which));
            let (path, times) = path.context("no such path")?;
            times.push(path.ping(&ping)?);
        }
        echoes.into_iter().try_for_each(joined)
    })?;
    Ok(times)
}

fn answer(mut far: TcpStream, len: usize, pongs: &[u8]) -> Result<()> {
    let mut ping = vec![0; len];
    for pong in pongs.chunks(len) {
        far.read_exact(&mut ping)?;
        far.write_all(pong)?;
    }
    Ok(())
}

/// Header and nonce.
const MESSAGE_LEN: usize = 24 + 8;

/// Length, header, short id, nonce, tag.
const PACKET_LEN: usize = 3 + 1 + 1 + 8 + 16;

/// Of a round, on each path.
const PINGS: usize = 1000;
