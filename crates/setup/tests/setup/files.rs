//! The configuration files that are read where none is named.

use std::process::Output;

use nix::sys::signal::Signal;

use crate::manager::Manager;
use crate::netns::{GID, Netns, SETUP, complaint, wait_until};

const FILE: &str = "bip324-proxy/config.toml";
const DROP_IN: &str = "bip324-proxy/config.d/50-site.toml";

#[test]
fn every_command_reads_them() {
    let netns = Netns::new();
    netns.write_etc(FILE, "ports = [18333]\nmax_sessions = 7\n");
    netns.write_etc(DROP_IN, "ports = [18444]\n");
    for command in ["up", "guard"] {
        let text = netns.setup_ok(&[command, "--dry-run"]);
        assert!(text.contains("elements = { 18444 }") && !text.contains("18333"), "{text}");
    }
    let said = netns.setup_ok(&["up"]);
    assert!(said.contains("connections to port 18444 go to"), "{said}");
    netns.setup_ok(&["status"]);
    let status = netns.setup(&["status", "--port", "8333"]);
    assert_eq!(status.status.code(), Some(78), "{}", complaint(&status));
    // The rules are as they should be, and it looks further.
    let check = netns.setup(&["check"]);
    assert!(complaint(&check).contains("start bip324-proxy"), "{}", complaint(&check));
    assert_eq!(check.status.code(), Some(69));

    let named = netns.setup_ok(&["up", "--dry-run", "--config", "/dev/null"]);
    assert!(named.contains("elements = { 8333 }"), "{named}");
    let given = netns.setup_ok(&["up", "--dry-run", "--port", "48333"]);
    assert!(given.contains("elements = { 48333 }"), "{given}");
}

#[test]
fn a_bad_one_is_refused_by_every_command_that_reads_it() {
    let netns = Netns::new();
    netns.write_etc(DROP_IN, "\nmax_session = 7\n");
    let reason = "/etc/bip324-proxy/config.d/50-site.toml:2: unknown key `max_session`: \
                  did you mean `max_sessions`?";
    for command in [&["up"][..], &["guard", "--dry-run"], &["status"], &["check"]] {
        let output = netns.setup(command);
        assert_eq!(output.status.code(), Some(78), "{command:?}");
        assert_eq!(complaint(&output), format!("bip324-setup: {reason}\n"));
    }
    assert!(netns.tables().is_empty());
    netns.setup_ok(&["down"]);
}

#[test]
fn a_guard_reads_them_again() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    let guard = manager.start(&[]);
    assert!(netns.table().contains("elements = { 8333 }"));
    netns.write_etc(FILE, "ports = [18333]\n");
    manager.reload(&guard);
    assert!(netns.table().contains("elements = { 18333 }"));
    netns.write_etc(DROP_IN, "ports = [18444]\non_exit = \"open\"\n");
    manager.reload(&guard);
    assert!(netns.table().contains("elements = { 18444 }"));
    netns.write_etc(DROP_IN, "on_exit = \"shut\"\n");
    manager.reload(&guard);
    let status = manager.heard.last().unwrap();
    assert!(
        status.contains("; not reloaded: /etc/bip324-proxy/config.d/50-site.toml:1"),
        "{status}"
    );
    guard.end(Signal::SIGTERM);
    drop(manager);
    wait_until("no table, as the last good file said", || netns.tables().is_empty());
}

/// `ExecStopPost=` of the guard's unit.
#[test]
fn a_stopped_guard_s_unit_blocks_unless_it_is_to_be_open() {
    let netns = Netns::new();
    let after = |result: &str| {
        let result = format!("SERVICE_RESULT={result}");
        netns.run(&["env", &result, SETUP, "block", "--unless-open"])
    };
    netns.write_etc(FILE, "on_exit = \"open\"\n");
    assert!(after("success").status.success());
    let none = "no block is put: the configuration says on_exit = \"open\"\n";
    assert_eq!(netns.setup_ok(&["block", "--unless-open"]), none);
    assert!(netns.tables().is_empty());
    // Left by a guard that did not read this.
    netns.setup_ok(&["block"]);
    let said = netns.setup_ok(&["block", "--unless-open"]);
    let left = format!("table inet bip324_block refuses gid {GID} all the same, until ");
    assert!(said.starts_with(&(none.to_owned() + &left)), "{said}");
    assert_eq!(netns.tables(), ["inet bip324_block"]);
    netns.setup_ok(&["down"]);
    let blocks = |output: Output, code| {
        assert_eq!(output.status.code(), Some(code), "{}", complaint(&output));
        assert_eq!(netns.tables(), ["inet bip324_block"]);
        netns.setup_ok(&["down"]);
    };
    blocks(after("signal"), 0);
    blocks(netns.setup(&["block"]), 0);
    for (text, code) in [("", 0), ("on_exit = \"open\"\nport = 1\n", 78)] {
        netns.write_etc(FILE, text);
        blocks(after("success"), code);
    }
}

#[test]
fn the_command_line_says_what_a_guard_leaves() {
    let netns = Netns::new();
    netns.write_etc(FILE, "on_exit = \"open\"\n");
    let mut manager = Manager::new(&netns);
    let guard = manager.start(&["--on-exit", "block"]);
    guard.end(Signal::SIGTERM);
    drop(manager);
    wait_until("the block", || netns.tables() == ["inet bip324_block"]);
}

/// What clashes in a file may not clash in effect, and the other way round.
#[test]
fn ports_are_judged_with_the_command_line() {
    let netns = Netns::new();
    netns.write_etc(FILE, "ports = [2000]\nlisten = [\"127.0.0.1:2000\"]\n");
    for (given, reason) in [
        (&[][..], Some("toml:1: `ports`: 2000 is the daemon's own port, see `listen`")),
        (&["--port", "2000"], Some("toml:2: `listen`: port 2000 is redirected, see `ports`")),
        (&["--listen-port", "2000"], Some("toml:1: `ports`: 2000 is the daemon's own port")),
        (&["--port", "8333"], None),
        (&["--listen-port", "3000"], None),
    ] {
        let output = netns.setup(&[&["up", "--dry-run"], given].concat());
        let code = if reason.is_some() { 78 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{given:?}");
        assert!(complaint(&output).contains(reason.unwrap_or_default()), "{}", complaint(&output));
    }
}

#[test]
fn the_rules_lead_to_where_the_daemon_listens() {
    let netns = Netns::new();
    netns.write_etc(FILE, "listen = [\"127.0.0.1:2000\", \"[::1]:2000\"]\n");
    let text = netns.setup_ok(&["up", "--dry-run"]);
    assert!(text.contains("127.0.0.1:2000") && text.contains("[::1]:2000"), "{text}");
    let text = netns.setup_ok(&["up", "--dry-run", "--listen-port", "3000"]);
    assert!(text.contains("127.0.0.1:3000") && !text.contains("2000"), "{text}");
}
