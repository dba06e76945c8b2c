//! G1, G4: what sessions cost while they are idle, and after they are over.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use bip324_testkit::peer::{Peer, Wire};
use bip324_testkit::prerequisite::client_gid;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::scene::*;

/// What an idle session may cost, KiB.
const IDLE_SESSION: u64 = 16;

#[test]
fn g1_500_idle_sessions() -> Result<()> {
    const SESSIONS: usize = 500;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    scene(&[], async |scene| {
        let before = scene.daemon.vitals()?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(scene.open().await?);
        }
        let with = scene.daemon.vitals()?;
        let each = (with.memory - before.memory) / SESSIONS as u64;
        println!("{each} KiB a session");
        ensure!(each < IDLE_SESSION, "{each} KiB a session");
        ensure!(with.sockets - before.sockets == 2 * SESSIONS, "{with:?}, {before:?}");
        ensure!(with.threads == before.threads, "{with:?}, {before:?}");
        for (client, session) in &mut sessions {
            assert_served(client, session).await?;
        }
        drop(sessions);
        scene.wait_for_sockets(before.sockets)
    })
}

/// Descriptors, memory and threads are as they were after the first thousand. All outcomes in turns: a
/// whole session, one that the peer resets in its handshake, clients that leave at once, with a FIN and
/// with a reset, and one that is refused.
#[test]
fn g4_10_000_cycles_of_connecting_and_closing() -> Result<()> {
    scene(&[], async |scene| {
        let idle = scene.daemon.vitals()?;
        let mut cycles = Cycles::new(scene)?;
        cycles.run(200).await?;
        scene.wait_for_sockets(idle.sockets)?;
        let early = scene.daemon.vitals()?;
        cycles.run(1800).await?;
        scene.wait_for_sockets(idle.sockets)?;
        let late = scene.daemon.vitals()?;
        println!("after 1,000: {early:?}\nafter 10,000: {late:?}");
        ensure!(late.descriptors <= early.descriptors, "{late:?}, {early:?}");
        ensure!(late.threads <= early.threads, "{late:?}, {early:?}");
        ensure!(late.memory <= early.memory + 2048, "{late:?}, {early:?}");
        ensure!(cycles.refused <= 100, "{} clients were refused by the guard", cycles.refused);
        Ok(())
    })
}

/// Connects to several peers in turns: the ports of one would be used up.
struct Cycles<'scene, 'lab> {
    scene: &'scene Scene<'lab>,
    peers: Vec<Peer>,
    /// Clients whose port the kernel remembers from a connection of the daemon to the same peer, which
    /// was not redirected. The guard refuses them, and they try again.
    refused: usize,
}

impl<'scene, 'lab> Cycles<'scene, 'lab> {
    fn new(scene: &'scene Scene<'lab>) -> Result<Self> {
        let peers = (10..26).map(|number| scene.another_peer(number)).collect::<Result<_>>()?;
        Ok(Self { scene, peers, refused: 0 })
    }

    /// Five connections each.
    async fn run(&mut self, count: usize) -> Result<()> {
        for number in 0..count {
            let peer = number % self.peers.len();
            let to = self.peers[peer].address()?;
            let version = message("version", &[0; 86])?;

            let [mut first, mut second, third, fourth, mut fifth] = self.connect_five(to)?;
            first.write(&version).await?;
            let mut session = self.peers[peer].session(MAGIC).await?;
            session.message().await?;
            first.reset()?;
            session.wire.rest().await?;

            second.write(&version).await?;
            self.peers[peer].meet(MAGIC).await?.wire.reset()?;
            second.rest().await?;

            drop(third);
            fourth.reset()?;
            fifth.write(&message("verack", &[])?).await?;
            fifth.rest().await?;
        }
        Ok(())
    }

    /// All in one go, because the way into the namespace takes longer than a connection.
    fn connect_five(&mut self, to: SocketAddr) -> Result<[Wire; 5]> {
        let connect = || {
            loop {
                match TcpStream::connect(to) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.refused += 1,
                    connected => return Ok(connected?),
                }
            }
        };
        let connect_five = || std::iter::repeat_with(connect).take(5).collect::<Result<Vec<_>>>();
        let connected = self.scene.lab.host.run_as_group(client_gid()?, connect_five)?;
        let adopt = |stream: TcpStream| {
            stream.set_nonblocking(true)?;
            Wire::new(tokio::net::TcpStream::from_std(stream)?)
        };
        let wires = connected.into_iter().map(adopt).collect::<Result<Vec<_>>>()?;
        wires.try_into().map_err(|_| anyhow::anyhow!("not five"))
    }
}
