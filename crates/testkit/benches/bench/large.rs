//! Memory while the longest message passes.

use std::thread;

use anyhow::Result;
use bip324_testkit::figures::{Figure, Row, Target};
use bip324_testkit::peer::frame;
use bip324_transport::limits::MAX_PAYLOAD;

use crate::ends::{MAGIC, Node, discard, send};
use crate::options::Options;
use crate::payload::block;
use crate::proxy::{Proxy, joined};
use crate::stream::encrypt;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let to_peer = Row::Measured(figure("peer", largest(options, true)?));
    let to_client = Row::Measured(figure("client", largest(options, false)?));
    Ok(vec![to_peer, to_client])
}

fn figure(direction: &str, largest: f64) -> Figure {
    let name = format!("memory for 4 MB to the {direction}, above idle");
    Figure::plain(&name, "MB", largest, Target::AtMost(9.0))
}

/// MB more than when idle, at most, of some messages one after the other.
fn largest(options: &Options, to_peer: bool) -> Result<f64> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let mut session = node.open(proxy.address)?;
    let message = frame(MAGIC, "block", &block(MAX_PAYLOAD))?;
    let idle = proxy.memory_at_rest()?;
    proxy.forget_peak()?;
    for _ in 0..MESSAGES {
        // As long as the one that the daemon makes of the same message.
        let packet = encrypt(&mut session, &message)?;
        let (from, to) = (&session.client, &session.peer);
        let (from, to, bytes, arrives) = match to_peer {
            true => (from, to, &message, packet.len()),
            false => (to, from, &packet, message.len()),
        };
        thread::scope(|scope| {
            let reader = scope.spawn(|| discard(to, arrives));
            send(from, bytes)?;
            joined(reader)
        })?;
    }
    Ok((proxy.peak_memory()? - idle) * 1024.0 / 1e6)
}

const MESSAGES: usize = 5;
