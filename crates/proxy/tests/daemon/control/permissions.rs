//! Who may see what, and do what.

use anyhow::{Result, ensure};
use bip324_control::{Answer, Code, Request, Scope};
use bip324_testkit::peer::{End, Session as Peer, Wire, long_form};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use tracing::level_filters::LevelFilter;

use super::Controlled;
use crate::harness::*;

const ALICE: u32 = 4711;
const BOB: u32 = 4712;
/// The kernel's word for all users that it cannot name.
const NAMELESS: u32 = 65534;

/// A session of this user, redirected.
async fn open_as(controlled: &Controlled, owner: Option<u32>) -> Result<(Wire, Peer)> {
    let node = controlled.daemon.node().await?;
    let mut client = controlled.daemon.connect_of(&node, owner).await?;
    client.write(&version_message()).await?;
    let mut peer = node.session(MAGIC).await?;
    peer.message().await?;
    Ok((client, peer))
}

#[tokio::test]
async fn members_see_their_own_sessions_and_the_status() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut open = Vec::new();
    for owner in [Some(ALICE), Some(BOB), None, Some(ALICE), Some(NAMELESS)] {
        open.push(open_as(&controlled, owner).await?);
    }
    for (uid, scope, expected) in [
        (0, Scope::All, &[1, 2, 3, 4, 5][..]),
        (ALICE, Scope::Own, &[1, 4]),
        (BOB, Scope::Own, &[2]),
        (4713, Scope::Own, &[]),
        (NAMELESS, Scope::Own, &[]),
    ] {
        let mut talker = controlled.talk_as(uid)?;
        let Answer::Sessions { scope: told, sessions } = talker.ask(&Request::Sessions {}).await?
        else {
            anyhow::bail!("no sessions");
        };
        let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
        ensure!(told == scope && ids == expected, "{uid}: {told:?} {ids:?}");
        for id in 1..=6 {
            let answer = talker.ask(&Request::Session { id }).await?;
            let seen = matches!(&answer, Answer::Session(detail) if detail.session.id == id);
            ensure!(seen == expected.contains(&id), "{uid}: {answer:?}");
            if !seen {
                let Answer::Error(refusal) = answer else { anyhow::bail!("{answer:?}") };
                ensure!(refusal.code == Code::NoSuchSession);
            }
        }
        ensure!(talker.status().await?.sessions.v2 == 5);
    }
    Ok(())
}

#[tokio::test]
async fn only_root_closes_a_session_and_both_ends_are_reset() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let (mut client, mut peer) = open_as(&controlled, Some(ALICE)).await?;
    let mut alice = controlled.talk_as(ALICE)?;
    ensure!(alice.refused(&Request::Close { id: 1 }).await? == Code::NotPermitted);
    // Not even whether there is such a session.
    ensure!(alice.refused(&Request::Close { id: 9 }).await? == Code::NotPermitted);
    assert_served(&mut client, &mut peer).await?;

    let mut root = controlled.talk().await?;
    ensure!(root.ask(&Request::Close { id: 1 }).await? == Answer::Closed { id: 1 });
    ensure!(client.rest().await? == (vec![], End::Reset));
    ensure!(peer.wire.rest().await? == (vec![], End::Reset));
    eventually("the end", || controlled.daemon.stats.sessions().is_empty()).await?;
    ensure!(root.refused(&Request::Close { id: 1 }).await? == Code::NoSuchSession);
    ensure!(root.status().await?.refused.get("closed") == Some(&1));
    Ok(())
}

/// Neither end reads, and every buffer on the way is full.
#[tokio::test]
async fn a_session_that_is_stuck_both_ways_is_closed() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let (mut client, mut peer) = controlled.daemon.open().await?;
    let payload = vec![7; 1_000_000];
    let (block, contents) = (message("block", &payload), long_form("block", &payload)?);
    let up = async {
        while let Ok(written) = timeout(millis(500), client.stream.write_all(&block)).await {
            written?;
        }
        anyhow::Ok(())
    };
    let down = async {
        loop {
            let packet = peer.seal.packet(0, &contents);
            match timeout(millis(500), peer.wire.stream.write_all(&packet)).await {
                Ok(written) => written?,
                Err(_) => return anyhow::Ok(()),
            }
        }
    };
    tokio::try_join!(up, down)?;
    let mut root = controlled.talk().await?;
    let mut before = None;
    loop {
        let told = root.detail(1).await?.session;
        let now = Some((told.to_peer, told.to_client));
        if now == before {
            break;
        }
        before = now;
        sleep(millis(200)).await;
    }
    ensure!(root.ask(&Request::Close { id: 1 }).await? == Answer::Closed { id: 1 });
    eventually("the end", || controlled.daemon.stats.sessions().is_empty()).await?;
    ensure!(client.rest().await?.1 == End::Reset && peer.wire.rest().await?.1 == End::Reset);
    Ok(())
}

#[tokio::test]
async fn everybody_reads_the_log_level_and_root_sets_it() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let level = |level: &str| Answer::Log { level: level.to_owned() };
    let set = |level: &str| Request::Log { level: Some(level.to_owned()) };
    let mut alice = controlled.talk_as(ALICE)?;
    ensure!(alice.ask(&Request::Log { level: None }).await? == level("info"));
    ensure!(alice.refused(&set("debug")).await? == Code::NotPermitted);
    let mut root = controlled.talk().await?;
    ensure!(root.refused(&set("loud")).await? == Code::BadRequest);
    ensure!(controlled.level.clone_current() == Some(LevelFilter::INFO));
    for name in ["off", "error", "warn", "info", "debug", "trace"] {
        ensure!(root.ask(&set(name)).await? == level(name));
        ensure!(alice.ask(&Request::Log { level: None }).await? == level(name));
    }
    ensure!(controlled.level.clone_current() == Some(LevelFilter::TRACE));
    Ok(())
}
