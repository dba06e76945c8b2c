//! G3: what all clients, one local user, and peers that stall can take of the daemon.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::daemon;
use bip324_testkit::peer::{End, Session, Wire, version_to};
use bip324_transport::limits::MAX_CONTENTS;
use nix::unistd::{Uid, setfsuid};
use tokio::time::Instant;

use crate::scene::*;

/// A reset at once, no dial; and a place that is free again is given away again.
#[test]
fn g3_one_session_too_many_is_reset_at_once() -> Result<()> {
    scene(&["--max-sessions", "2"], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        let other = scene.open().await?;
        let full = scene.daemon.vitals()?.sockets;
        for _ in 0..10 {
            reset_at_once(|| Wire::redirected(scene.lab, scene.peer.address()?)).await?;
        }
        ensure!(scene.daemon.vitals()?.sockets <= full, "sockets of refused clients are left");
        scene.wait_for_log("--max-sessions")?;
        assert_served(&mut client, &mut session).await?;

        drop(other);
        scene.wait_for_sockets(full - 2)?;
        // The peer accepts in order: this session is the next that the daemon dialled.
        let (mut client, mut session) = scene.open().await?;
        assert_served(&mut client, &mut session).await
    })
}

/// The kernel says whose a direct connection is. One user's are full; another's and redirected clients
/// are served.
#[test]
fn g3_per_user_cap_counts_the_owners_that_the_kernel_names() -> Result<()> {
    scene(&["--direct", "any", "--max-direct-per-user", "2"], async |scene| {
        let mut sessions = Vec::new();
        for uid in [4711, 4712] {
            for _ in 0..2 {
                sessions.push(open_direct(scene, uid).await?);
            }
            reset_at_once(|| connect_as(scene, uid)).await?;
        }
        for _ in 0..3 {
            sessions.push(scene.open().await?);
        }
        for (client, session) in &mut sessions {
            assert_served(client, session).await?;
        }
        scene.wait_for_log("--max-direct-per-user")
    })
}

/// Peers stall shortly before the end of the longest message. The daemon takes no more memory than it may,
/// and serves who is there already.
#[test]
fn g3_total_memory_cap_holds_against_peers_that_stall() -> Result<()> {
    scene(&["--max-memory", "32"], async |scene| {
        let (mut client, mut session) = scene.open().await?;
        let before = scene.daemon.vitals()?.memory;
        let mut hostile = Vec::new();
        for _ in 0..12 {
            let (client, mut stalling) = scene.open().await?;
            let length = stalling.seal.length(MAX_CONTENTS);
            stalling.wire.write(&length).await?;
            // Ended half-way, where there is no room for it.
            let _ = stalling.wire.write(&vec![0; 3_900_000]).await;
            hostile.push((client, stalling));
        }
        scene.wait_for_log("32 MiB of --max-memory")?;
        assert_served(&mut client, &mut session).await?;
        let used = scene.daemon.vitals()?.memory.saturating_sub(before);
        ensure!(used > 16 * 1024, "the attack took {used} KiB only");
        ensure!(used < (32 + 8) * 1024, "the attack took {used} KiB");
        Ok(())
    })
}

/// An established session of this user, by a connection that is not redirected.
async fn open_direct(scene: &Scene<'_>, uid: u32) -> Result<(Wire, Session)> {
    let mut client = connect_as(scene, uid)?;
    let version = version_to(scene.peer.address()?);
    client.write(&message("version", &version)?).await?;
    let mut session = scene.peer.session(MAGIC).await?;
    ensure!(session.message().await?.1 == version, "no VERSION of user {uid}");
    Ok((client, session))
}

/// Connects to the daemon itself, with a socket of this user.
fn connect_as(scene: &Scene<'_>, uid: u32) -> Result<Wire> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon::PORT));
    let stream = scene.lab.host.run(|| {
        // The user is one of the thread alone, which ends with this closure.
        setfsuid(Uid::from_raw(uid));
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    })?;
    Wire::new(tokio::net::TcpStream::from_std(stream)?)
}

async fn reset_at_once(connect: impl FnOnce() -> Result<Wire>) -> Result<()> {
    let start = Instant::now();
    match connect() {
        Ok(mut client) => ensure!(client.rest().await? == (vec![], End::Reset)),
        // So early that connect(2) tells of it.
        Err(error) => {
            let kind = error.downcast_ref().map(io::Error::kind).context("another error")?;
            ensure!(kind == ErrorKind::ConnectionReset, "{error:#}");
        }
    }
    ensure!(start.elapsed() < Duration::from_secs(1), "only after {:?}", start.elapsed());
    Ok(())
}
