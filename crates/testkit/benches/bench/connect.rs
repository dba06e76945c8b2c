//! How long a client waits for the node's VERSION, beside the same two ends without a proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use bip324_testkit::figures::{Figure, Paired, Row, Target, median};

use crate::ends::{Node, connect, receive_version, respond, speak_v2};
use crate::options::Options;
use crate::proxy::{Proxy, joined};
use crate::relay;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let relay = relay::start(node.address)?;
    let version = node.version()?;
    let (mut all, mut rounds, mut relayed) = <(Vec<_>, Paired, Paired)>::default();
    for round in 0..=options.pick(4, 10) {
        let [through, native, copied] = thread::scope(|scope| -> Result<_> {
            let answers = scope.spawn(|| answer(&node, 3 * CONNECTIONS));
            let mut times = [const { Vec::new() }; 3];
            for _ in 0..CONNECTIONS {
                let [through, native, copied] = &mut times;
                through.push(time(|| through_proxy(proxy.address, &version))?);
                native.push(time(|| speak_v2(node.address, &version))?);
                copied.push(time(|| speak_v2(relay.address, &version))?);
            }
            joined(answers)?;
            Ok(times)
        })?;
        // The first round is for whatever is made at first use.
        if round > 0 {
            rounds.add(median(&through), median(&native) + median(&round_trips(&node)?));
            relayed.add(median(&through), median(&copied));
            all.extend(through);
        }
    }
    let median = median(&all);
    let absolute = Figure::plain("connect to VERSION, p50", "µs", median, Target::AtMost(1000.0));
    let name = "connect to VERSION, beside v2 + a round trip";
    let relative = Figure::paired(name, "µs", &rounds, Target::AtMost(1.3));
    let name = "connect to VERSION, beside v2 by a TCP relay";
    let relayed = Figure::paired(name, "µs", &relayed, Target::AtMost(1.3));
    Ok([absolute, relative, relayed].map(Row::Measured).into())
}

fn answer(node: &Node, connections: usize) -> Result<()> {
    for _ in 0..connections {
        respond(node.accept()?)?;
    }
    Ok(())
}

/// Microseconds until a client has the node's VERSION, its connection open until then.
fn time<T>(wait: impl FnOnce() -> Result<T>) -> Result<f64> {
    let start = Instant::now();
    let connection = wait()?;
    let elapsed = start.elapsed();
    drop(connection);
    Ok(microseconds(elapsed))
}

fn through_proxy(proxy: SocketAddr, version: &[u8]) -> Result<TcpStream> {
    let mut client = connect(proxy)?;
    client.write_all(version)?;
    receive_version(&mut client)?;
    Ok(client)
}

/// Of a byte, over loopback, in microseconds.
fn round_trips(node: &Node) -> Result<Vec<f64>> {
    let mut near = connect(node.address)?;
    let mut far = node.accept()?;
    thread::scope(|scope| {
        let echo = scope.spawn(move || -> Result<()> {
            let mut byte = [0];
            for _ in 0..CONNECTIONS {
                far.read_exact(&mut byte)?;
                far.write_all(&byte)?;
            }
            Ok(())
        });
        let times = (0..CONNECTIONS).map(|_| round_trip(&mut near)).collect();
        joined(echo)?;
        times
    })
}

fn round_trip(near: &mut TcpStream) -> Result<f64> {
    let start = Instant::now();
    near.write_all(&[0])?;
    near.read_exact(&mut [0])?;
    Ok(microseconds(start.elapsed()))
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Of a round, each way.
const CONNECTIONS: usize = 100;
