//! What is told of sessions is what happened to them.

use anyhow::{Result, ensure};
use bip324_control::{Answer, Flow, Kind, PROTOCOL, Request, Scope, TypeCount, Version};
use bip324_proxy::{Config, Errno};
use bip324_testkit::peer::{Session as Peer, Wire};
use bip324_transport::v1::HEADER_LEN;
use bip324_transport::v2::PACKET_OVERHEAD;

use super::Controlled;
use crate::harness::*;

/// A session in which both sides have said who they are, and a message longer than one read.
async fn introduced(controlled: &Controlled) -> Result<(Wire, Peer)> {
    let daemon = &controlled.daemon;
    let node = daemon.node().await?;
    let mut client = daemon.connect(&node).await?;
    client.write(&message("version", &version_to(node.public, "/light:1.0/"))).await?;
    let mut session = node.session(MAGIC).await?;
    session.message().await?;
    session.send_message("version", &version_to(node.public, "/peer:2\u{1b}[m/")).await?;
    client.message(MAGIC).await?;
    // With its type in full: a peer may do so although there is a shorter way.
    for _ in 0..3 {
        session.send_message("inv", &[7; 61]).await?;
        client.message(MAGIC).await?;
    }
    let transaction = vec![9; 100_000];
    client.write(&message("tx", &transaction)).await?;
    ensure!(session.message().await? == (command("tx"), transaction));
    Ok((client, session))
}

/// Messages of a type, with this many bytes of payload together, each with its type in so many bytes.
fn count(name: &str, messages: u64, payload: usize, kind: u64) -> TypeCount {
    let payload = payload as u64;
    TypeCount {
        name: name.to_owned(),
        messages,
        client_bytes: payload + messages * HEADER_LEN as u64,
        peer_bytes: payload + messages * (PACKET_OVERHEAD as u64 + kind),
    }
}

#[tokio::test]
async fn a_session_is_told_as_it_is() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let (client, peer) = introduced(&controlled).await?;
    let mut talker = controlled.talk().await?;
    let sessions = talker.sessions().await?;
    let detail = talker.detail(1).await?;
    ensure!(sessions.len() == 1 && sessions[0].id == 1);
    let told = detail.session;
    ensure!(told.client == client.stream.local_addr()? && told.redirected);
    ensure!(told.destination.to_string() == "8.8.4.1:8333", "{told:?}");
    ensure!((told.kind, told.network.as_deref()) == (Kind::V2, Some("regtest")));
    ensure!(told.session_id == Some(peer.id.to_string()));
    ensure!(told.client_agent.as_deref() == Some("/light:1.0/"));
    ensure!(told.peer_agent.as_deref() == Some("/peer:2?[m/"), "{:?}", told.peer_agent);
    ensure!(told.handshake > 0 && told.age < 60_000);

    let version = version_to(told.destination, "/light:1.0/").len();
    let up = [count("tx", 1, 100_000, 1), count("other", 1, version, 13)];
    ensure!(detail.to_peer == up, "{:?}", detail.to_peer);
    let version = version_to(told.destination, "/peer:2?[m/").len();
    let mut down = [count("inv", 3, 3 * 61, 13), count("other", 1, version, 13)];
    down.sort_by_key(|count| std::cmp::Reverse(count.client_bytes));
    ensure!(detail.to_client == down, "{:?}", detail.to_client);

    // All of v1 is messages; v2 is key, up to 4095 bytes of garbage, terminator and version packet
    // besides.
    for (flow, types, last) in [(told.to_peer, &up, "tx"), (told.to_client, &down, "inv")] {
        let sum = |of: fn(&TypeCount) -> u64| types.iter().map(of).sum::<u64>();
        ensure!(flow.client_bytes == sum(|count| count.client_bytes), "{flow:?}");
        let handshake = flow.peer_bytes - sum(|count| count.peer_bytes);
        ensure!((100..=100 + 4095).contains(&handshake), "{handshake} bytes of handshake");
        ensure!(flow.messages == sum(|count| count.messages) && flow.dropped == 0);
        ensure!(flow.last.as_deref() == Some(last));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_left_out_is_told_apart() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let (mut client, mut peer) = controlled.daemon.open().await?;
    let mut damaged = message("tx", b"damaged");
    damaged[20] ^= 1;
    client.write(&damaged).await?;
    peer.send(&[29]).await?;
    assert_served(&mut client, &mut peer).await?;
    let mut talker = controlled.talk().await?;
    let told = talker.detail(1).await?;
    let [up, down] = [&told.session.to_peer, &told.session.to_client];
    ensure!([up.dropped, up.messages, down.dropped, down.messages] == [1, 2, 1, 2], "{told:?}");
    ensure!(!told.to_peer.iter().any(|count| count.name == "tx"));
    Ok(())
}

#[tokio::test]
async fn every_kind_of_session_is_told() -> Result<()> {
    let controlled = Controlled::start(fallback_to_v1()).await?;
    let daemon = &controlled.daemon;
    let node = daemon.node().await?;
    // A peer that closes the v2 connection speaks v1 on the next one.
    let mut client = daemon.connect(&node).await?;
    client.write(&version_message()).await?;
    drop(node.meet(MAGIC).await?.wire);
    let mut wire = node.accept().await?;
    ensure!(wire.message(MAGIC).await?.0 == command("version"));
    let hello = message("version", &version_to(node.public, "/old:1/"));
    for byte in &hello {
        wire.write(&[*byte]).await?;
    }
    client.message(MAGIC).await?;

    let node = daemon.node().await?;
    let mut own = daemon.connect(&node).await?;
    own.write(&[0xA5; 64]).await?;
    let mut beyond = node.accept().await?;
    beyond.read(64).await?;

    let mut talker = controlled.talk().await?;
    let [fallback, passthrough] = &talker.sessions().await?[..] else { anyhow::bail!("not two") };
    ensure!((fallback.kind, passthrough.kind) == (Kind::Fallback, Kind::Passthrough));
    ensure!(fallback.network.as_deref() == Some("regtest") && passthrough.network.is_none());
    ensure!(fallback.client_agent.as_deref() == Some("/light:1.0/"));
    ensure!(fallback.peer_agent.as_deref() == Some("/old:1/"));
    ensure!(passthrough.client_agent.is_none() && passthrough.session_id.is_none());
    let bytes = |flow: &Flow| [flow.client_bytes, flow.peer_bytes, flow.messages];
    let sent = version_message().len() as u64;
    ensure!(bytes(&fallback.to_peer) == [sent, sent, 0], "{:?}", fallback.to_peer);
    let answered = hello.len() as u64;
    ensure!(bytes(&fallback.to_client) == [answered, answered, 0]);
    ensure!(bytes(&passthrough.to_peer) == [64, 64, 0]);
    Ok(())
}

#[tokio::test]
async fn totals_outlive_their_sessions() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    let (client, peer) = introduced(&controlled).await?;
    let live = talker.status().await?;
    drop((client, peer));
    eventually("the end", || controlled.daemon.stats.sessions().is_empty()).await?;
    let untracked = controlled.daemon.connect_as(Some(Err(Errno::EPERM)));
    assert_refused(&mut untracked.await?).await?;
    let ended = talker.status().await?;
    ensure!((live.sessions.v2, ended.sessions.v2) == (1, 0));
    ensure!((live.served.v2, ended.served.v2) == (1, 1));
    ensure!(live.traffic == ended.traffic && live.traffic.v2_to_peer.messages == 2);
    ensure!(ended.handshakes.count == 1 && ended.handshakes.p50.is_some());
    ensure!((live.accepted, ended.accepted) == (1, 2));
    ensure!(ended.refused.get("untracked") == Some(&1), "{:?}", ended.refused);
    ensure!(ended.listeners == [controlled.daemon.address] && ended.fallback == "reject");
    ensure!(ended.limits.max_sessions == 512 && ended.pid == std::process::id());
    ensure!(live.memory > 0 && ended.panics == 0);
    Ok(())
}

#[tokio::test]
async fn version_scope_and_new_limits_are_told() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let mut talker = controlled.talk().await?;
    let version = Version { version: env!("CARGO_PKG_VERSION").to_owned(), protocol: PROTOCOL };
    ensure!(talker.ask(&Request::Version {}).await? == Answer::Version(version));
    let none = Answer::Sessions { scope: Scope::All, sessions: vec![] };
    ensure!(talker.ask(&Request::Sessions {}).await? == none);
    controlled.daemon.reload(Config { max_sessions: 7, ..fallback_to_v1() });
    let status = talker.status().await?;
    ensure!(status.limits.max_sessions == 7 && status.fallback == "v1");
    Ok(())
}

/// More than fits one piece of a line.
#[tokio::test]
async fn a_long_list_is_one_line() -> Result<()> {
    let controlled = Controlled::start_default().await?;
    let node = controlled.daemon.node().await?;
    let mut open = Vec::new();
    for _ in 0..120 {
        open.push(controlled.daemon.open_to(&node).await?);
    }
    let ids: Vec<_> = controlled.talk().await?.sessions().await?.iter().map(|s| s.id).collect();
    ensure!(ids == (1..=120).collect::<Vec<_>>(), "{ids:?}");
    Ok(())
}
