//! The control socket of the real daemon behind the real redirect: what it says of a session is what
//! the node at the other end says of it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use bip324_control::{Answer, Detail, Kind, Request, Session, line, parse};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT, Peer};
use bip324_testkit::prerequisite::{DAEMON_USER, client_gid, client_user};
use bip324_testkit::process::finish;
use bip324_testkit::rules;
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::unistd::User;

const NETWORK: Network = Network::Regtest;

#[test]
fn what_the_control_socket_tells_is_what_the_node_knows() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let path = place(lab)?;
        let _daemon = Daemon::start(lab, &["--control", &path.display().to_string()])?;
        for family in Family::BOTH {
            let peer = (family.peer(), PORT).into();
            let client = Node::client(lab, Identity::Sudo, NETWORK, peer)?;
            client.wait_for_blocks(PATIENCE)?;
            let (session, known) = agreed(&node, &path)?;
            ensure!(session.session_id.as_ref() == Some(&known.session_id), "{session:?}");
            ensure!(session.client_agent.as_ref() == Some(&known.subver), "{known:?}");
            ensure!(session.peer_agent == session.client_agent, "both are of one make");
            ensure!(session.kind == Kind::V2 && session.redirected && session.destination == peer);
            ensure!(session.network.as_deref() == Some("regtest"));
            ensure!(session.client.ip() == family.host(), "{}", session.client);
            ensure!(session.uid == Some(client_user()?.uid.as_raw()), "{:?}", session.uid);
            client.stop()?;
            node.wait_for_no_peer(PATIENCE)?;
        }
        Ok(())
    })
}

/// As systemd makes the socket: for root and the clients' group.
#[test]
fn members_of_the_group_see_their_own_sessions_and_others_nothing() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let path = place(lab)?;
        let _daemon = Daemon::start(lab, &["--control", &path.display().to_string()])?;
        chown(&path, None, Some(client_gid()?.as_raw()))?;
        ensure!(fs::metadata(&path)?.mode() & 0o777 == 0o660);
        let peer = (Family::V4.peer(), PORT).into();
        let _client = Node::client(lab, Identity::Setpriv, NETWORK, peer)?;
        let id = node.wait_for_peer(PATIENCE)?.session_id;
        let ask = |identity, words: &[&str]| -> Result<Output> {
            let program = [&["--socket".to_owned(), path.display().to_string()], &*strings(words)];
            let words = [vec![lab.built("bip324ctl")?], program.concat()].concat();
            finish(lab.command(&lab.host, identity, &words)?)
        };
        for identity in [Identity::Root, Identity::Daemon, Identity::Supplementary] {
            let told = ask(identity, &["sessions", "--json"])?;
            let told = String::from_utf8(told.stdout)?;
            ensure!(told.contains(&id), "{identity:?}: {told}");
        }
        // The clients' own user, without the group.
        let stranger = lab.command(
            &lab.host,
            Identity::Root,
            &strings(&[
                "setpriv",
                &format!("--reuid={}", client_user()?.uid),
                &format!("--regid={}", client_user()?.gid),
                "--clear-groups",
                &lab.built("bip324ctl")?,
                "--socket",
                &path.display().to_string(),
                "sessions",
            ]),
        )?;
        let refused = finish(stranger)?;
        ensure!(refused.status.code() == Some(77) && refused.stdout.is_empty(), "{refused:?}");
        Ok(())
    })
}

/// The one session, once daemon and node agree on how much it has carried: what is on its way, only
/// one of them knows of.
fn agreed(node: &Node<'_>, path: &Path) -> Result<(Session, Peer)> {
    wait_for("daemon and node to agree on every byte", PATIENCE, || {
        let Some(known) = node.peers()?.into_iter().find(Peer::is_connected) else {
            return Ok(None);
        };
        let Answer::Sessions { sessions, .. } = ask(path, &Request::Sessions {})? else {
            return Ok(None);
        };
        let [session] = &sessions[..] else { return Ok(None) };
        let Answer::Session(detail) = ask(path, &Request::Session { id: session.id })? else {
            return Ok(None);
        };
        let Detail { session, to_peer, to_client } = *detail;
        for (flow, types) in [(&session.to_peer, to_peer), (&session.to_client, to_client)] {
            let sum = types.iter().map(|count| count.messages).sum::<u64>();
            ensure!(sum == flow.messages && flow.dropped == 0, "{flow:?}");
            ensure!(
                types.iter().any(|count| count.name == "headers" || count.name == "getheaders")
            );
        }
        let bytes = (session.to_peer.peer_bytes, session.to_client.peer_bytes);
        Ok((bytes == (known.bytesrecv, known.bytessent)).then_some((session, known)))
    })
}

fn ask(path: &Path, request: &Request) -> Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&line(request)?)?;
    let mut answer = Vec::new();
    BufReader::new(stream).read_until(b'\n', &mut answer)?;
    Ok(parse(&answer)?)
}

/// Where the daemon may make its socket, and everybody may look.
fn place(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.folder().join("control");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let daemon = User::from_name(DAEMON_USER)?.context("no user _bip324")?;
    chown(&folder, Some(daemon.uid.as_raw()), Some(daemon.gid.as_raw()))?;
    Ok(folder.join("control.sock"))
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
