//! G3: how much of the daemon one user, one peer or all of them together can take.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, Result, ensure};
use bip324_proxy::stats::Reason;
use bip324_proxy::{Config, Fallback};
use bip324_testkit::peer::{End, Session, Wire};
use bip324_transport::limits::{MAX_CONTENTS, MAX_PAYLOAD};
use nix::unistd::{Uid, geteuid, setfsuid};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::*;
use crate::program::Program;

/// The daemon resets the connection at once, and nothing arrives before.
async fn assert_reset_at_once(connecting: impl Future<Output = Result<Wire>>) -> Result<()> {
    let start = Instant::now();
    match connecting.await {
        Ok(mut client) => ensure!(client.rest().await? == (vec![], End::Reset)),
        // So early that connect(2) tells of it.
        Err(error) => {
            let reset = error.downcast::<io::Error>()?.kind() == ErrorKind::ConnectionReset;
            ensure!(reset, "another error");
        }
    }
    ensure!(start.elapsed() < millis(1000), "only after {:?}", start.elapsed());
    Ok(())
}

/// A direct session of this user.
async fn open_direct(daemon: &Daemon, owner: Option<u32>) -> Result<(Wire, Session)> {
    let node = daemon.node().await?;
    let mut client = daemon.connect_direct_as(owner).await?;
    client.write(&message("version", &version_to(node.public, "/direct:1/"))).await?;
    let mut session = node.session(MAGIC).await?;
    ensure!(session.message().await?.0 == command("version"));
    Ok((client, session))
}

#[tokio::test]
async fn g3_per_user_cap_refuses_one_too_many_at_once() -> Result<()> {
    let daemon = Daemon::start(Config { max_direct_per_user: 2, ..Config::default() }).await?;
    let idle = daemon.connect_direct_as(Some(1000)).await?;
    let (mut client, mut session) = open_direct(&daemon, Some(1000)).await?;
    for refused in 1..=3 {
        assert_reset_at_once(daemon.connect_direct_as(Some(1000))).await?;
        ensure!(daemon.stats.refused(Reason::UserFull) == refused);
    }
    assert_served(&mut client, &mut session).await?;

    drop(idle);
    eventually("the place to be free", || daemon.stats.refused(Reason::Client) == 1).await?;
    daemon_is_left_with(&daemon, 1).await?;
    let (mut client, mut session) = open_direct(&daemon, Some(1000)).await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn g3_per_user_cap_leaves_other_users_and_the_clients_group_alone() -> Result<()> {
    let daemon = Daemon::start(Config { max_direct_per_user: 1, ..Config::default() }).await?;
    let mut sessions = Vec::new();
    // One whose owner nobody can tell takes from no user, and has no more than one.
    for owner in [Some(1000), Some(1001), Some(0), None] {
        sessions.push(open_direct(&daemon, owner).await?);
        assert_reset_at_once(daemon.connect_direct_as(owner)).await?;
    }
    for _ in 0..3 {
        sessions.push(daemon.open().await?);
    }
    for (client, session) in &mut sessions {
        assert_served(client, session).await?;
    }
    ensure!(daemon.stats.refused(Reason::UserFull) == 4);
    Ok(())
}

/// Whoever has subordinate uids is many users.
#[tokio::test]
async fn g3_many_users_leave_the_clients_group_a_quarter_of_the_sessions() -> Result<()> {
    let config = Config { max_sessions: 8, max_direct_per_user: 2, ..Config::default() };
    let daemon = Daemon::start(config).await?;
    let mut sessions = Vec::new();
    for uid in 0..6 {
        sessions.push(open_direct(&daemon, Some(100_000 + uid)).await?);
    }
    assert_reset_at_once(daemon.connect_direct_as(Some(100_006))).await?;
    ensure!(daemon.stats.refused(Reason::UserFull) == 1);
    for _ in 0..2 {
        sessions.push(daemon.open().await?);
    }
    for (client, session) in &mut sessions {
        assert_served(client, session).await?;
    }
    sessions.remove(0);
    eventually("the place to be free", || daemon.stats.sessions().len() == 7).await?;
    daemon_is_left_with(&daemon, 7).await?;
    let (mut client, mut session) = open_direct(&daemon, Some(100_006)).await?;
    assert_served(&mut client, &mut session).await
}

/// The real program and the kernel's own answer.
#[tokio::test]
async fn g3_per_user_cap_counts_the_owners_that_the_kernel_names() -> Result<()> {
    ensure!(geteuid().is_root(), "run this test as root: it connects as other users");
    let program = Program::start_with(&["--max-direct-per-user", "2"])?;
    for uid in [0, 4711, 4712] {
        let _sessions = [program.open_as(uid).await?, program.open_as(uid).await?];
        assert_reset_at_once(async { connect_as(program.address, uid) }).await?;
    }
    let log = program.process.log()?;
    ensure!(log.contains("all 2 sessions of --max-direct-per-user"), "{log}");
    Ok(())
}

impl Program {
    /// An established session of this user.
    async fn open_as(&self, uid: u32) -> Result<(Wire, Session)> {
        let client = connect_as(self.address, uid)?;
        self.open_on(client).await.with_context(|| format!("as {uid}"))
    }
}

/// A connection whose socket belongs to this user.
fn connect_as(to: SocketAddr, uid: u32) -> Result<Wire> {
    let connect = move || -> Result<_> {
        setfsuid(Uid::from_raw(uid));
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    // The user is one of the thread alone.
    let stream = thread::spawn(connect).join().unwrap()?;
    Wire::new(TcpStream::from_std(stream)?)
}

/// A peer that announces the longest message and stops short of its end.
async fn stall(session: &mut Session, length: usize) -> Result<()> {
    let announced = session.seal.length(MAX_CONTENTS);
    session.wire.write(&announced).await?;
    session.wire.write(&vec![0; length]).await
}

/// Waits until no more than this many sessions' worth of memory is in use, all idle.
async fn daemon_is_left_with(daemon: &Daemon, sessions: usize) -> Result<()> {
    eventually("memory to be given back", || daemon.stats.memory() <= sessions * IDLE_SESSION).await
}

#[tokio::test]
async fn g3_total_memory_cap_ends_the_session_that_wants_more() -> Result<()> {
    let daemon = Daemon::start(Config { max_memory: 8 << 20, ..Config::default() }).await?;
    let mut hostile = Vec::new();
    let full = || daemon.stats.refused(Reason::Memory) > 0;
    while !full() {
        ensure!(hostile.len() < 4, "{} bytes are taken", daemon.stats.memory());
        let (client, mut session) = daemon.open().await?;
        // It may be reset while the peer writes.
        let _ = stall(&mut session, 2 << 20).await;
        hostile.push((client, session));
        let arrived = || daemon.stats.memory() >= hostile.len() * (2 << 20);
        eventually("the bytes to arrive", || full() || arrived()).await?;
    }
    let (mut ended, _) = hostile.pop().context("a session")?;
    ensure!(ended.rest().await? == (vec![], End::Reset));
    ensure!(hostile.len() >= 2, "only {} sessions stall", hostile.len());
    ensure!(daemon.stats.memory() <= 8 << 20);

    // What is small passes beside them; what is long, when they are gone.
    let (mut client, mut session) = daemon.open().await?;
    assert_served(&mut client, &mut session).await?;
    drop(hostile);
    daemon_is_left_with(&daemon, 1).await?;
    let block = vec![7; 2 << 20];
    let (sent, arrived) =
        tokio::join!(session.send_message("block", &block), client.message(MAGIC));
    sent?;
    ensure!(arrived?.1 == block);
    ensure!(daemon.stats.refused(Reason::Memory) == 1);
    drop((client, session));
    daemon.wait_until_idle().await?;
    ensure!(daemon.stats.memory() == 0);
    Ok(())
}

#[tokio::test]
async fn g3_total_memory_cap_refuses_connections_while_nothing_is_left() -> Result<()> {
    let max_memory = 3 * IDLE_SESSION + 1000;
    let daemon = Daemon::start(Config { max_memory, ..Config::default() }).await?;
    let node = daemon.node().await?;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(daemon.connect(&node).await?);
    }
    assert_reset_at_once(daemon.connect(&node)).await?;
    ensure!(daemon.stats.refused(Reason::Memory) == 1);
    idle.pop();
    daemon_is_left_with(&daemon, 2).await?;
    idle.push(daemon.connect(&node).await?);
    eventually("it to be accepted", || daemon.stats.memory() > 2 * IDLE_SESSION).await
}

/// A peer whose answer there is no memory for is not one that speaks v1 only.
#[tokio::test]
async fn g3_total_memory_cap_is_no_reason_to_speak_v1() -> Result<()> {
    // Enough for the client's VERSION, but not to read from the peer.
    let max_memory = IDLE_SESSION + 4 * 1024;
    let config = Config { max_memory, fallback: Fallback::V1, ..Config::default() };
    let daemon = Daemon::start(config).await?;
    let (mut client, mut session) = daemon.meet().await?;
    let opening = session.opening(&[]);
    session.wire.write(&opening).await?;
    assert_refused(&mut client).await?;
    ensure!(daemon.stats.refused(Reason::Memory) == 1);
    ensure!(daemon.dials().len() == 1, "{} dials", daemon.dials().len());
    Ok(())
}

#[tokio::test]
async fn g3_total_memory_cap_is_whole_again_after_10_000_sessions() -> Result<()> {
    let daemon = Daemon::start_default().await?;
    let node = daemon.node().await?;
    for round in 0..100 {
        for _ in 0..99 {
            let mut client = daemon.connect(&node).await?;
            // Reset ones, cut ones, refused ones: the peer is dialled for none.
            match round % 3 {
                0 => client.reset()?,
                1 => client.write(&version_message()[..10]).await?,
                _ => client.write(&message("verack", &[])).await?,
            }
        }
        let (mut client, mut session) = daemon.open_to(&node).await?;
        assert_served(&mut client, &mut session).await?;
        stall(&mut session, 50_000).await?;
    }
    daemon.wait_until_idle().await?;
    ensure!(daemon.stats.accepted() == 10_000, "{} accepted", daemon.stats.accepted());
    ensure!(daemon.stats.memory() == 0, "{} bytes are lost", daemon.stats.memory());
    Ok(())
}

/// The real program: what it counts is what it takes. These were not redirected, and half is theirs.
#[tokio::test]
async fn g3_total_memory_cap_holds_against_peers_that_stall() -> Result<()> {
    let program = Program::start_with(&["--max-memory", "96", "--max-direct-per-user", "100"])?;
    let (mut client, mut session) = program.open().await?;
    program.warm_up().await?;
    let descriptors = program.descriptors()?;
    let before = program.start_memory_watch()?;
    let mut hostile = Vec::new();
    for _ in 0..HOSTILE {
        let (client, mut session) = program.open().await?;
        // Ended half-way, where there is no room for it.
        let _ = stall(&mut session, 3_900_000).await;
        hostile.push((client, session));
    }
    assert_served(&mut client, &mut session).await?;
    let more = program.peak_memory()?.saturating_sub(before);
    ensure!(more > 30 * 1024, "the attack took {more} KiB only");
    ensure!(more < (96 / 2 + 16) * 1024, "the attack took {more} KiB");
    let log = program.process.log()?;
    ensure!(log.contains("96 MiB of --max-memory"), "{log}");

    drop(hostile);
    eventually("the hostile sessions to end", || {
        program.descriptors().is_ok_and(|now| now <= descriptors)
    })
    .await?;
    let block = vec![7; MAX_PAYLOAD];
    let (sent, arrived) =
        tokio::join!(session.send_message("block", &block), client.message(MAGIC));
    sent?;
    ensure!(arrived?.1 == block);
    Ok(())
}

/// Many times the memory that there is for them.
const HOSTILE: usize = 40;

/// Bytes: its state, and room for a client's first words.
const IDLE_SESSION: usize = 17 * 1024;
