//! Events.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use bip324_control::{Answer, Event, Request, Scope};
use tokio::time::timeout;

use super::{Controlled, Talker};
use crate::harness::*;

/// Subscribes, and returns the sessions that are there.
async fn subscribe(talker: &mut Talker, interval: u64) -> Result<Vec<u64>> {
    match talker.ask(&Request::Subscribe { interval: Some(interval) }).await? {
        Answer::Subscribed { sessions, .. } => Ok(sessions.iter().map(|s| s.id).collect()),
        other => bail!("{other:?}"),
    }
}

/// The next event that is not of traffic in which nobody took part.
async fn next(talker: &mut Talker) -> Result<Event> {
    loop {
        match talker.next().await? {
            Event::Traffic { sessions, .. } if sessions.is_empty() => {}
            event => return Ok(event),
        }
    }
}

#[tokio::test]
async fn sessions_are_told_from_beginning_to_end() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let node = controlled.daemon.node().await?;
    let _quiet = controlled.daemon.open_to(&node).await?;
    let mut talker = controlled.talk().await?;
    ensure!(subscribe(&mut talker, 100).await? == [1]);

    let (mut client, mut peer) = controlled.daemon.open_to(&node).await?;
    let Event::Opened { session } = next(&mut talker).await? else { bail!("it was not opened") };
    ensure!(session.id == 2 && session.session_id == Some(peer.id.to_string()));
    client.write(&message("tx", &[7; 5000])).await?;
    peer.message().await?;
    let mut carried = 0;
    while carried < 5000 {
        match next(&mut talker).await? {
            Event::Traffic { sessions, status } => {
                let ids: Vec<_> = sessions.iter().map(|session| session.id).collect();
                ensure!(ids == [2] && status.sessions.v2 == 2, "{ids:?}");
                carried = sessions[0].to_peer.client_bytes;
            }
            other => bail!("{other:?}"),
        }
    }
    drop((client, peer));
    match next(&mut talker).await? {
        Event::Closed { session, reason } => {
            ensure!(session.id == 2 && session.to_peer.client_bytes == carried);
            ensure!(!reason.is_empty() && !reason.contains("8.8.4"), "{reason}");
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn the_reason_of_an_end_is_told() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    let mut root = controlled.talk().await?;
    ensure!(subscribe(&mut talker, 60_000).await?.is_empty());
    let mut reasons = Vec::new();
    for end in 0..3 {
        let (mut client, mut peer) = controlled.daemon.open().await?;
        let Event::Opened { session } = next(&mut talker).await? else { bail!("not opened") };
        match end {
            0 => {
                client.finish().await?;
                peer.wire.finish().await?;
            }
            1 => {
                let mut packet = peer.seal.packet(0, b"forged");
                packet[10] ^= 1;
                peer.wire.write(&packet).await?;
            }
            _ => {
                root.ask(&Request::Close { id: session.id }).await?;
            }
        }
        let Event::Closed { reason, .. } = next(&mut talker).await? else { bail!("not closed") };
        reasons.push(reason);
    }
    ensure!(reasons[0] == "finished" && reasons[1].contains("v2 packet"), "{reasons:?}");
    ensure!(reasons[2] == "closed through the control socket", "{reasons:?}");
    Ok(())
}

#[tokio::test]
async fn members_are_told_of_their_own_sessions() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let node = controlled.daemon.node().await?;
    let mut talker = controlled.talk_as(4711)?;
    let request = Request::Subscribe { interval: Some(100) };
    let Answer::Subscribed { scope: Scope::Own, .. } = talker.ask(&request).await? else {
        bail!("not a member's");
    };
    for owner in [Some(4712), None, Some(4711)] {
        let mut client = controlled.daemon.connect_of(&node, owner).await?;
        client.write(&version_message()).await?;
        let mut peer = node.session(MAGIC).await?;
        peer.message().await?;
    }
    // Three have come and gone.
    let Event::Opened { session } = next(&mut talker).await? else { bail!("not opened") };
    ensure!(session.id == 3 && session.uid == Some(4711));
    loop {
        match next(&mut talker).await? {
            Event::Closed { session, .. } => {
                ensure!(session.id == 3);
                return Ok(());
            }
            Event::Traffic { sessions, .. } => ensure!(sessions.iter().all(|s| s.id == 3)),
            other => bail!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_interval_is_the_subscriber_s_and_leaving_ends_it() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    subscribe(&mut talker, 60_000).await?;
    ensure!(timeout(Duration::from_millis(1500), talker.next::<Event>()).await.is_err());
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    drop(talker);
    eventually("its end", || tasks.num_alive_tasks() < before).await
}
