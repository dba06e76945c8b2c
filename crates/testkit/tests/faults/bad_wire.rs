//! F9: a wire with delay, loss and reordering.
//!
//! The kernel's netem is a module that many machines lack. So the wire is this process: it holds the
//! ends of two TUN devices, one in each namespace, and carries the packets between them, badly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Namespace;
use bip324_testkit::peer::{Peer, Session, Wire, long_form};
use bip324_testkit::plaintext;
use bip324_testkit::process::output;
use bip324_testkit::rules;
use bip324_transport::v2::{LENGTH_LEN, PACKET_OVERHEAD};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::scene::*;

const HOST: &str = "198.18.0.1";
const PEER: &str = "198.18.0.2";

/// Each way; a round trip is 200 ms and more.
const DELAY: Duration = Duration::from_millis(100);
/// On top of it, another one for each packet: what comes later may overtake.
const JITTER_MS: u64 = 20;
const LOSS_PERCENT: u64 = 5;

/// Longest wait for a megabyte.
const LIMIT: Duration = Duration::from_secs(90);

/// A handshake, and a megabyte each way at once, byte by byte as they were sent.
#[test]
fn f9_delay_loss_and_reordering() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &[])?;
        let wire = BadWire::between(lab)?;
        block_on(async {
            let peer = Peer::in_lab(lab, PEER.parse()?)?;
            let (client, session) = open(lab, &peer).await?;
            exchange(client, session).await
        })?;
        let seen = wire.seen();
        println!("{seen:?}");
        ensure!(seen.lost > 50 && seen.overtaken > 50, "the wire was good: {seen:?}");
        ensure!(seen.plaintext == 0, "{seen:?}");
        Ok(())
    })
}

/// As a client would: once more where the first packets are lost too often.
async fn open(lab: &Lab, peer: &Peer) -> Result<(Wire, Session)> {
    let mut result = peer.open(lab, MAGIC).await;
    for _ in 0..3 {
        if result.is_err() {
            result = peer.open(lab, MAGIC).await;
        }
    }
    result
}

async fn exchange(mut client: Wire, mut session: Session) -> Result<()> {
    let payload: Vec<u8> = (0..1_000_000).map(|i| (i * 31 % 251) as u8).collect();
    let block = message("block", &payload)?;
    let packet = session.seal.packet(0, &long_form("block", &payload)?);
    let (mut from_daemon, mut to_daemon) = client.stream.split();
    let (mut from_peer, mut to_peer) = session.wire.stream.split();
    let send = async {
        tokio::try_join!(to_daemon.write_all(&block), to_peer.write_all(&packet))?;
        anyhow::Ok(())
    };
    let at_client = async {
        let mut arrived = vec![0; block.len()];
        from_daemon.read_exact(&mut arrived).await?;
        ensure!(arrived == block, "the peer's block is damaged");
        Ok(())
    };
    let at_peer = async {
        let mut length = [0; LENGTH_LEN];
        from_peer.read_exact(&mut length).await?;
        let mut sealed = vec![0; PACKET_OVERHEAD - LENGTH_LEN + session.open.length(length)];
        from_peer.read_exact(&mut sealed).await?;
        let contents = session.open.packet(&[], &mut sealed)?.contents;
        ensure!(contents.ends_with(&payload), "the client's block is damaged");
        Ok(())
    };
    let all = async { tokio::try_join!(send, at_client, at_peer) };
    timeout(LIMIT, all).await.context("a megabyte each way")??;
    Ok(())
}

/// Carries packets until dropped.
struct BadWire {
    state: Arc<State>,
    ways: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    over: AtomicBool,
    lost: AtomicU64,
    overtaken: AtomicU64,
    plaintext: AtomicU64,
}

/// Packets so far.
#[derive(Debug)]
struct Seen {
    lost: u64,
    overtaken: u64,
    /// With v1 in them.
    plaintext: u64,
}

impl BadWire {
    fn between(lab: &Lab) -> Result<Self> {
        let [host, peer] = [(&lab.host, HOST), (&lab.peer, PEER)].map(|(ns, ip)| device(ns, ip));
        let (host, peer) = (Arc::new(host?), Arc::new(peer?));
        let state = Arc::new(State::default());
        let ways = [(&host, &peer, 1), (&peer, &host, 2)].map(|(from, to, seed)| {
            let (from, to, state) = (Arc::clone(from), Arc::clone(to), Arc::clone(&state));
            thread::spawn(move || carry(&from, &to, &state, seed))
        });
        Ok(Self { state, ways: ways.into() })
    }

    fn seen(&self) -> Seen {
        let State { lost, overtaken, plaintext, .. } = &*self.state;
        Seen {
            lost: lost.load(Relaxed),
            overtaken: overtaken.load(Relaxed),
            plaintext: plaintext.load(Relaxed),
        }
    }
}

impl Drop for BadWire {
    fn drop(&mut self) {
        self.state.over.store(true, Relaxed);
        for way in self.ways.drain(..) {
            let _ = way.join();
        }
    }
}

/// One way: each packet is lost or comes out later, not always in order.
fn carry(from: &File, to: &File, state: &State, seed: u64) {
    let (mut random, mut under_way, mut last) = (Random(seed), BinaryHeap::new(), 0);
    let mut buffer = [0; 2048];
    for number in 0u64.. {
        if state.over.load(Relaxed) {
            break;
        }
        // A millisecond: the precision of the delay.
        let mut readable = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut readable, PollTimeout::from(1u8));
        if let Ok(length) = { from }.read(&mut buffer) {
            let packet = buffer[..length].to_vec();
            let plain = plaintext::find(&packet, NETWORK).is_some();
            state.plaintext.fetch_add(plain.into(), Relaxed);
            if random.below(100) < LOSS_PERCENT {
                state.lost.fetch_add(1, Relaxed);
            } else {
                let due = Instant::now() + DELAY + Duration::from_millis(random.below(JITTER_MS));
                under_way.push(Reverse((due, number, packet)));
            }
        }
        while under_way.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now()) {
            let Some(Reverse((_, number, packet))) = under_way.pop() else { break };
            state.overtaken.fetch_add((number < last).into(), Relaxed);
            last = last.max(number);
            // A full device loses the packet, as devices do.
            let _ = { to }.write(&packet);
        }
    }
}

/// Knuth's linear congruential generator (MMIX): the same packets are lost in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// A TUN device in `namespace`, up and with `ip`.
fn device(namespace: &Namespace, ip: &str) -> Result<File> {
    let file = namespace.run(|| {
        let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = File::options().read(true).write(true).custom_flags(flags).open(TUN);
        let file = file.with_context(|| format!("{TUN}: a kernel with CONFIG_TUN is needed"))?;
        attach(&file)?;
        Ok(file)
    })?;
    for line in [format!("addr add {ip}/24 dev {NAME}"), format!("link set {NAME} up")] {
        let mut command = namespace.command("ip");
        command.args(line.split(' '));
        output(command)?;
    }
    Ok(file)
}

fn attach(tun: &File) -> io::Result<()> {
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(NAME.bytes()) {
        *to = from as libc::c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags },
    };
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives longer than the call.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const TUN: &str = "/dev/net/tun";
const NAME: &str = "bad";
