//! Both directions saturated at once: how fast each is beside itself alone.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bip324_testkit::figures::{Figure, Paired, Row, Target};

use crate::ends::{Node, Session, send};
use crate::options::Options;
use crate::proxy::{Proxy, joined};
use crate::stream::{Messages, encrypt};

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let mut session = node.open(proxy.address)?;
    let blocks = Messages::blocks();
    let stream = blocks.one()?.repeat(BLOCKS);
    let encrypted = blocks.encrypted_len(&stream);
    let (mut up, mut down) = (Paired::default(), Paired::default());
    for round in 0..=options.pick(9, 25) {
        let ways = |to_peer, to_client| Ways { to_peer, to_client, encrypted };
        let [alone_up, _] = ways(true, false).rates(&mut session, &stream)?;
        let [_, alone_down] = ways(false, true).rates(&mut session, &stream)?;
        let [both_up, both_down] = ways(true, true).rates(&mut session, &stream)?;
        // The first round makes the sockets' buffers grow.
        if round > 0 {
            up.add(both_up, alone_up);
            down.add(both_down, alone_down);
        }
    }
    let row = |direction, rounds: &Paired| {
        let name = format!("both ways at once, to the {direction}");
        Row::Measured(Figure::paired(&name, "GB/s", rounds, Target::AtLeast(0.45)))
    };
    Ok(vec![row("peer", &up), row("client", &down)])
}

/// Which directions are in use.
struct Ways {
    to_peer: bool,
    to_client: bool,
    /// How long the stream is that the peer gets.
    encrypted: usize,
}

impl Ways {
    /// GB/s to the peer and to the client, up to the moment in which one of them is through. A
    /// direction that stalls ends in an error.
    fn rates(&self, session: &mut Session, stream: &[u8]) -> Result<[f64; 2]> {
        let packets = if self.to_client { encrypt(session, stream)? } else { Vec::new() };
        let up = if self.to_peer { stream } else { &[] };
        let arrivals = [
            Arrivals::expecting(if self.to_peer { self.encrypted } else { 0 }),
            Arrivals::expecting(if self.to_client { stream.len() } else { 0 }),
        ];
        let (session, arrivals) = (&*session, &arrivals);
        let [at_peer, at_client] = arrivals;
        let begin = Instant::now();
        let rates = |end: Instant| {
            let seconds = end.duration_since(begin).as_secs_f64();
            arrivals.each_ref().map(|it| it.arrived.load(Relaxed) as f64 / seconds / 1e9)
        };
        thread::scope(|scope| {
            let threads = [
                scope.spawn(|| send(&session.client, up).map(|()| None)),
                scope.spawn(|| send(&session.peer, &packets).map(|()| None)),
                scope.spawn(|| at_peer.count(&session.peer, rates).context("to the peer")),
                scope.spawn(|| at_client.count(&session.client, rates).context("to the client")),
            ];
            let mut first: Option<(Instant, [f64; 2])> = None;
            for thread in threads {
                let ended = joined(thread)?;
                if let Some(ended) = ended {
                    first = Some(first.filter(|first| first.0 < ended.0).unwrap_or(ended));
                }
            }
            Ok(first.context("nothing was sent")?.1)
        })
    }
}

/// What a reader has read.
struct Arrivals {
    expected: u64,
    arrived: AtomicU64,
}

impl Arrivals {
    fn expecting(expected: usize) -> Self {
        Self { expected: expected as u64, arrived: AtomicU64::new(0) }
    }

    /// Reads all, and tells when that was, and the rates of that moment; nothing where nothing is
    /// expected.
    fn count(
        &self,
        mut from: &TcpStream,
        rates: impl Fn(Instant) -> [f64; 2],
    ) -> Result<Option<(Instant, [f64; 2])>> {
        if self.expected == 0 {
            return Ok(None);
        }
        let mut buffer = vec![0; 1 << 20];
        while self.arrived.load(Relaxed) < self.expected {
            let count = from.read(&mut buffer).context("it stalls")?;
            ensure!(count > 0, "it ended early");
            self.arrived.fetch_add(count as u64, Relaxed);
        }
        let end = Instant::now();
        Ok(Some((end, rates(end))))
    }
}

/// Of a round, each way: 41 MB.
const BLOCKS: usize = 25;
