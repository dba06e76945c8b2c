//! How long a client waits for the node's VERSION, beside the same two ends without a proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use bip324_testkit::figures::{Figure, Paired, Row, Target, median};
use bip324_transport::v2::{KEY_LEN, KeyExchange, Role};

use crate::ends::{MAGIC, Node, connect, receive_message, receive_version, respond};
use crate::options::Options;
use crate::proxy::{Proxy, joined};

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let version = node.version()?;
    let (mut all, mut rounds) = (Vec::new(), Paired::default());
    for round in 0..=options.pick(4, 10) {
        let (through, native) = thread::scope(|scope| -> Result<_> {
            let answers = scope.spawn(|| answer(&node, 2 * CONNECTIONS));
            let (mut through, mut native) = (Vec::new(), Vec::new());
            for _ in 0..CONNECTIONS {
                through.push(through_proxy(proxy.address, &version)?);
                native.push(without_proxy(node.address, &version)?);
            }
            joined(answers)?;
            Ok((through, native))
        })?;
        // The first round is for whatever is made at first use.
        if round > 0 {
            rounds.add(median(&through), median(&native) + median(&round_trips(&node)?));
            all.extend(through);
        }
    }
    let median = median(&all);
    let absolute = Figure::plain("connect to VERSION, p50", "µs", median, Target::AtMost(1000.0));
    let name = "connect to VERSION, beside v2 + a round trip";
    let relative = Figure::paired(name, "µs", &rounds, Target::AtMost(1.3));
    Ok(vec![Row::Measured(absolute), Row::Measured(relative)])
}

fn answer(node: &Node, connections: usize) -> Result<()> {
    for _ in 0..connections {
        respond(node.accept()?)?;
    }
    Ok(())
}

fn through_proxy(proxy: SocketAddr, version: &[u8]) -> Result<f64> {
    let start = Instant::now();
    let mut client = connect(proxy)?;
    client.write_all(version)?;
    receive_version(&mut client)?;
    Ok(microseconds(start.elapsed()))
}

/// The client speaks v2 itself. As with the proxy, and with Core, its keys are made once it is
/// connected.
fn without_proxy(node: SocketAddr, version: &[u8]) -> Result<f64> {
    let start = Instant::now();
    let mut client = connect(node)?;
    let exchange = KeyExchange::new(Role::Initiator, MAGIC)?;
    client.write_all(&exchange.first_flight())?;
    let mut key = [0; KEY_LEN];
    client.read_exact(&mut key)?;
    let mut flight = Vec::new();
    let mut session = exchange.complete(&key, &mut flight);
    session.sender.translate(version, &mut flight)?;
    client.write_all(&flight)?;
    receive_message(&mut client, &mut session.receiver)?;
    Ok(microseconds(start.elapsed()))
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
