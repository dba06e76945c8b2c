//! `bip324ctl` beside the real daemon, with sessions of a real client to a real node.

use std::fs;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use bip324_testkit::control::Control;
use bip324_testkit::ctl::{ctl, json as told, top};
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT};
use bip324_testkit::rules;
use bip324_testkit::tmux::Tmux;
use bip324_testkit::v1::{End, V1Client};
use bip324_testkit::wait::PATIENCE;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const NETWORK: Network = Network::Regtest;

fn expect(answer: &Output, code: i32, words: &str) -> Result<()> {
    let said = String::from_utf8([&*answer.stdout, &*answer.stderr].concat())?;
    ensure!(
        answer.status.code() == Some(code) && said.contains(words),
        "{}\n{said}",
        answer.status
    );
    Ok(())
}

/// What the node says of a session is what bip324ctl says of it, read out or pasted.
#[test]
fn ctl_tells_the_process_the_node_and_the_id_of_a_session() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let _daemon = control.daemon(lab)?;
        let peer = (Family::V4.peer(), PORT).into();
        let client = Node::client(lab, Identity::Sudo, NETWORK, peer)?;
        client.wait_for_blocks(PATIENCE)?;
        let seen = node.wait_for_peer(PATIENCE)?;

        let sessions = told(lab, &control, &["sessions"])?;
        ensure!(sessions["scope"] == "all", "{sessions}");
        let session = &sessions["sessions"][0];
        ensure!(session["kind"] == "v2" && session["network"] == "regtest", "{session}");
        ensure!(session["destination"] == format!("{}:{PORT}", Family::V4.peer()), "{session}");
        ensure!(session["session_id"] == seen.session_id, "{session}\n{seen:?}");
        ensure!(session["client_agent"] == seen.subver, "{session}\n{seen:?}");
        let pid = session["process"]["pid"].as_u64().context("no process")?;
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        ensure!(command.contains("client-node"), "{pid}: {command}");
        // As `bip324-run bip324ctl sessions` shows it to a member; without the group nobody sees it.
        for (identity, process) in [
            (Identity::Sudo, json!({ "pid": pid, "name": session["process"]["name"] })),
            (Identity::Supplementary, Value::Null),
        ] {
            let own = ctl(lab, &control, identity, &["sessions", "--json"])?;
            let own: Value = serde_json::from_slice(&own.stdout)?;
            ensure!(own["scope"] == "own" && own["sessions"][0]["process"] == process, "{own}");
        }

        let read_out = seen.session_id.to_uppercase();
        let verify = |id: &str| ctl(lab, &control, Identity::Root, &["verify", id]);
        expect(
            &verify(&format!("{} {}", &read_out[..20], &read_out[20..]))?,
            0,
            "MATCH: session 1",
        )?;
        expect(&verify(&"0".repeat(64))?, 1, "NO MATCH: none of the 1 v2 session")?;

        let status = told(lab, &control, &["status"])?;
        ensure!(status["rules"]["state"] == "alive", "{status}");
        ensure!(status["daemon"]["sessions"]["v2"] == 1, "{status}");
        let types = &told(lab, &control, &["session", "1"])?["types"]["to_client"];
        let types = types.as_array().context("no types")?;
        ensure!(types.iter().any(|count| count["type"] == "headers"), "{types:?}");
        Ok(())
    })
}

#[test]
fn ctl_says_what_is_broken_and_ends_accordingly() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let daemon = control.daemon(lab)?;
        let root = |arguments| ctl(lab, &control, Identity::Root, arguments);
        expect(&root(&["check"])?, 0, "ok      rules     group bip324")?;
        expect(&root(&["sessions"])?, 0, "No sessions.")?;
        expect(&root(&["session", "1"])?, 66, "bip324ctl: ")?;
        expect(&root(&["close", "1"])?, 66, "bip324ctl: ")?;
        let member = |identity, arguments| ctl(lab, &control, identity, arguments);
        expect(
            &member(Identity::Setpriv, &["check"])?,
            0,
            "ok      rules     the canary of group",
        )?;
        expect(&member(Identity::Setpriv, &["sessions"])?, 0, "No sessions of this user;")?;
        expect(&member(Identity::Setpriv, &["log", "debug"])?, 77, "bip324ctl: ")?;
        // By a supplementary group the socket opens, and nothing is redirected.
        let cannot = "?       rules     cannot tell from this user";
        expect(&member(Identity::Supplementary, &["check"])?, 77, cannot)?;
        rules::nft(lab, "delete table inet bip324")?;
        expect(&root(&["check"])?, 78, "FAILED  rules     there is no table inet bip324")?;
        expect(&root(&["status"])?, 78, "BROKEN: there is no table inet bip324")?;
        daemon.end(Signal::SIGTERM)?;
        expect(&root(&["status"])?, 69, "bip324-proxy does not run")?;
        Ok(())
    })
}

/// The dashboard of real sessions: listed, shown in full with the id that the node has, filtered,
/// closed; and back when the daemon is.
#[test]
fn top_shows_and_closes_real_sessions() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let daemon = control.daemon(lab)?;
        let peer = (Family::V6.peer(), PORT).into();
        let _client = Node::client(lab, Identity::Sudo, NETWORK, peer)?;
        let seen = node.wait_for_peer(PATIENCE)?;
        let terminal = Tmux::start(lab.folder(), 80, 24)?;
        top(lab, &control, &terminal)?;
        let session = &told(lab, &control, &["sessions"])?["sessions"][0];
        let process = format!(" {} ", session["process"]["pid"]);
        terminal.wait_for("the session and its process", |screen| {
            screen.contains(" 1 of 512: 1 v2,")
                && screen.contains(" alive: ")
                && screen.contains(&process)
        })?;
        terminal.press(&["Enter"])?;
        let halves: Vec<_> = [&seen.session_id[..32], &seen.session_id[32..]]
            .iter()
            .map(|half| {
                half.as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
            })
            .collect();
        terminal.wait_for("the id", |screen| halves.iter().all(|half| screen.contains(half)))?;

        let mut other = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
        other.handshake()?;
        terminal.wait_for("another session", |screen| screen.contains(" 2 of 512: 2 v2,"))?;
        terminal.press(&["/"])?;
        terminal.enter("203.0.113.2")?;
        terminal.wait_for("one of them", |screen| screen.contains("1 of 2 by number"))?;
        terminal.press(&["x"])?;
        terminal.wait_for("the question", |screen| {
            screen.contains(" Close session 2 to 203.0.113.2")
        })?;
        terminal.press(&["y"])?;
        ensure!(other.wait_for_end(PATIENCE)? == End::Reset, "not reset");
        terminal.wait_for("its end", |screen| {
            screen.contains(" 1 of 512: 1 v2,") && screen.contains(" session 2 has ended: ")
        })?;

        daemon.end(Signal::SIGTERM)?;
        terminal.wait_for("the daemon's end", |screen| screen.contains(" NOT CONNECTED, "))?;
        let _daemon = control.daemon(lab)?;
        terminal.wait_for("another daemon", |screen| screen.contains(" the daemon is back"))?;
        terminal.press(&["q"])?;
        terminal.require_shell()
    })
}
