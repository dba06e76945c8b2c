//! Both directions saturated at once: how fast each is beside itself alone.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

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
        let rates = |time: Duration| {
            let nanoseconds = time.as_nanos() as f64;
            arrivals.each_ref().map(|it| it.arrived.load(Relaxed) as f64 / nanoseconds)
        };
        // No direction has a start on the other.
        let start = Barrier::new(4);
        let send = |to, bytes| {
            start.wait();
            send(to, bytes).map(|()| None)
        };
        thread::scope(|scope| {
            let threads = [
                scope.spawn(|| send(&session.client, up)),
                scope.spawn(|| send(&session.peer, &packets)),
                scope.spawn(|| at_peer.count(&session.peer, &start, rates).context("to the peer")),
                scope.spawn(|| {
                    at_client.count(&session.client, &start, rates).context("to the client")
                }),
            ];
            let mut first: Option<(Duration, [f64; 2])> = None;
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

    /// Reads all, and tells how long that took, and the rates up to then; nothing where nothing is
    /// expected.
    fn count(
        &self,
        mut from: &TcpStream,
        start: &Barrier,
        rates: impl Fn(Duration) -> [f64; 2],
    ) -> Result<Option<(Duration, [f64; 2])>> {
        let mut buffer = vec![0; 1 << 20];
        start.wait();
        let begin = Instant::now();
        if self.expected == 0 {
            return Ok(None);
        }
        while self.arrived.load(Relaxed) < self.expected {
            let count = from.read(&mut buffer).context("it stalls")?;
            ensure!(count > 0, "it ended early");
            self.arrived.fetch_add(count as u64, Relaxed);
        }
        let time = begin.elapsed();
        Ok(Some((time, rates(time))))
    }
}

/// Of a round, each way: 66 MB.
const BLOCKS: usize = 40;
