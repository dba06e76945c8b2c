//! Memory of sessions that are idle, and what is left of the bursts they had.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use bip324_testkit::figures::{Figure, Paired, Row, Target};
use bip324_testkit::wait::wait_for;
use nix::sys::resource::{Resource, getrlimit};

use crate::ends::{Node, Session, discard, send};
use crate::options::Options;
use crate::proxy::{Proxy, joined};
use crate::stream::{Messages, encrypt};

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let mut rows = measure_one(options, 1000)?;
    if options.quick {
        let why = "by --quick".to_owned();
        rows.push(Row::LeftOut { name: "10,000 idle sessions", why });
    } else {
        rows.extend(measure_one(options, most_sessions()?)?);
    }
    Ok(rows)
}

/// 10,000, or as many as this process may have descriptors for: two each, as in the daemon.
fn most_sessions() -> Result<usize> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(10_000.min((usize::try_from(limit)? - OTHER_DESCRIPTORS) / 2))
}

fn measure_one(options: &Options, count: usize) -> Result<Vec<Row>> {
    let (proxy, node) = (Proxy::start(options)?, Node::listen()?);
    let empty = proxy.vitals()?.sockets;
    // Once everything is there that is there once.
    burst(&mut open(&proxy, &node, WARM_UP)?)?;
    proxy.wait_for_sockets(empty)?;
    let before = proxy.memory_at_rest()?;
    let mut sessions = open(&proxy, &node, count)?;
    let idle = proxy.memory_at_rest()?;
    let each = (idle - before) / count as f64;
    burst(&mut sessions)?;
    let limit = idle * MORE;
    let after = wait_for("memory to be given back", GRACE, || {
        let now = proxy.memory_at_rest()?;
        Ok((now <= limit).then_some(now))
    });
    let after = after.or_else(|_| proxy.memory_at_rest())?;
    let name = format!("RSS of {count} idle sessions, each");
    let each = Figure::plain(&name, "KiB", each, Target::AtMost(16.0));
    let name = format!("RSS after a block in each of {count}");
    let left = Paired::from_iter([(after / 1024.0, idle / 1024.0)]);
    let left = Figure::paired(&name, "MiB", &left, Target::AtMost(MORE));
    Ok(vec![Row::Measured(each), Row::Measured(left)])
}

fn open(proxy: &Proxy, node: &Node, count: usize) -> Result<Vec<Session>> {
    (0..count).map(|_| node.open(proxy.address)).collect()
}

/// A block through each session, some of them at once, half of them each way.
fn burst(sessions: &mut [Session]) -> Result<()> {
    let blocks = Messages::blocks();
    let block = blocks.one()?;
    let share = sessions.len().div_ceil(LANES);
    thread::scope(|scope| {
        let lanes = sessions
            .chunks_mut(share)
            .map(|lane| scope.spawn(|| carry(lane, &block, blocks.encrypted_len(&block))));
        lanes.collect::<Vec<_>>().into_iter().try_for_each(joined)
    })
}

fn carry(sessions: &mut [Session], block: &[u8], encrypted: usize) -> Result<()> {
    for (number, session) in sessions.iter_mut().enumerate() {
        let packet = if number % 2 == 0 { None } else { Some(encrypt(session, block)?) };
        let (from, to, bytes, arrives) = match &packet {
            None => (&session.client, &session.peer, block, encrypted),
            Some(packet) => (&session.peer, &session.client, &packet[..], block.len()),
        };
        thread::scope(|scope| {
            let reader = scope.spawn(|| discard(to, arrives));
            send(from, bytes)?;
            joined(reader)
        })?;
    }
    Ok(())
}

/// What may be left after a burst, in terms of what there was before it.
const MORE: f64 = 1.25;

/// How long it may take to give it back.
const GRACE: Duration = Duration::from_secs(10);

const WARM_UP: usize = 20;
const LANES: usize = 8;
const OTHER_DESCRIPTORS: usize = 100;
