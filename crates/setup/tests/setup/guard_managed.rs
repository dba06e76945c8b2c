//! `guard` under a service manager that keeps its netlink socket: what a kill, a restart and a stop
//! do to the rules, and what the manager is told.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, send, socket};

use crate::guard::{
    Guard, assert_blocks, assert_open, assert_redirects, is, joined, state, status,
};
use crate::manager::Manager;
use crate::netns::{Netns, SETUP, complaint, guarded_tables, wait_until};

#[test]
fn killed_it_loses_nothing_and_the_next_one_goes_on_with_its_socket() {
    let (client, _peer) = joined();
    let mut manager = Manager::new(&client);
    let mut guard = manager.start(&[]);
    let port = status(&client).0["keeper"]["port"].clone();
    for _ in 0..3 {
        guard.end(Signal::SIGKILL);
        client.expect(&["nft", "flush ruleset"]);
        assert_redirects(&client);
        let (status, stands) = status(&client);
        assert!(stands && status["table"] == "guarded" && status["keeper"]["guard"].is_null());
        guard = manager.start(&[]);
        assert_eq!(crate::guard::status(&client).0["keeper"]["port"], port);
    }
    client.expect(&["nft", "flush ruleset"]);
    assert_eq!(state(&client), is("guarded", true));
    assert_redirects(&client);
    // It was stored once: the manager would hold another copy for each time.
    assert_eq!((manager.store.len(), manager.count("FDSTORE=1")), (1, 1));
}

#[test]
fn while_only_the_manager_holds_the_socket_others_are_told_how_to_stop_it() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    manager.start(&[]).end(Signal::SIGKILL);
    for command in ["up", "down", "guard"] {
        let output = netns.setup(&[command]);
        assert_eq!(output.status.code(), Some(75), "{command}");
        let said = complaint(&output);
        assert!(said.contains("run `systemctl stop bip324-guard`"), "{said}");
    }
}

#[test]
fn restarted_it_redirects_throughout() {
    let (client, _peer) = joined();
    let mut manager = Manager::new(&client);
    for on_exit in ["block", "open"] {
        manager.start(&["--on-exit", on_exit]).end(Signal::SIGTERM);
        // The manager holds the socket until the next guard has it.
        assert_redirects(&client);
        assert_eq!(client.tables().contains(&"inet bip324_block".to_owned()), on_exit == "block");
        client.expect(&["nft", "flush ruleset"]);
        assert_redirects(&client);
    }
    let _guard = manager.start(&[]);
    assert_eq!(client.tables(), guarded_tables());
    assert_eq!(state(&client), is("guarded", true));
}

#[test]
fn stopped_it_leaves_the_block_alone_once_the_manager_closes_the_socket() {
    let (client, peer) = joined();
    let mut manager = Manager::new(&client);
    manager.start(&[]).end(Signal::SIGTERM);
    manager.store.clear();
    wait_until("the block alone", || client.tables() == ["inet bip324_block"]);
    assert_blocks(&client, &peer);

    manager.start(&["--on-exit", "open"]).end(Signal::SIGTERM);
    manager.store.clear();
    wait_until("the end of the redirect", || client.tables().is_empty());
    assert_open(&client, &peer);
}

#[test]
fn stale_answers_in_the_socket_do_no_harm() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    manager.start(&[]).end(Signal::SIGKILL);
    // Requests to list tables, of which nobody has read the answers: the first of them is still
    // being answered when the next guard has the socket.
    let dump = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let kind = (libc::NFNL_SUBSYS_NFTABLES << 8) + libc::NFT_MSG_GETTABLE;
    let mut request = vec![20, 0, 0, 0];
    request.extend((kind as u16).to_ne_bytes());
    request.extend((dump as u16).to_ne_bytes());
    request.extend([0; 12]);
    for _ in 0..3 {
        send(manager.store[0].as_raw_fd(), &request, MsgFlags::empty()).unwrap();
    }
    let _guard = manager.start(&[]);
    assert_eq!(state(&netns), is("guarded", true));
}

/// As for the shell that started this one: the manager names what it passes.
#[test]
fn what_is_passed_to_another_process_is_left_alone() {
    let netns = Netns::new();
    let mut command = netns.command(&[SETUP, "guard"]);
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "http")]);
    Guard::start_by(&netns, command);
}

#[test]
fn descriptors_that_are_no_netlink_sockets_are_ignored_and_said() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    let guard = manager.start_with("nft:http", &[]);
    assert_eq!(state(&netns), is("guarded", true));
    assert_eq!((manager.count("FDSTOREREMOVE=1"), manager.store.len()), (1, 1));
    let output = guard.end(Signal::SIGTERM);
    let said = complaint(&output);
    assert!(said.contains("descriptor \"http\" that was passed is not for a guard"), "{said}");
    assert!(said.contains("\"nft\" that was passed is ignored: it is no netlink socket"), "{said}");
}

#[test]
fn of_several_sockets_the_one_that_owns_the_table_is_taken_and_kept_alone() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    manager.start(&[]).end(Signal::SIGKILL);
    let owner = status(&netns).0["keeper"]["port"].clone();
    // As if one more had been stored.
    manager.store.insert(0, netlink_socket(&netns));
    let _guard = manager.start(&[]);
    assert_eq!(status(&netns).0["keeper"]["port"], owner);
    assert_eq!((manager.count("FDSTOREREMOVE=1"), manager.store.len()), (1, 1));
}

#[test]
fn a_socket_of_another_namespace_is_ignored_and_said() {
    let (netns, other) = (Netns::new(), Netns::new());
    let mut manager = Manager::new(&netns);
    manager.store.push(netlink_socket(&other));
    let guard = manager.start(&[]);
    assert_eq!(state(&netns), is("guarded", true));
    assert!(other.tables().is_empty());
    assert_eq!((manager.count("FDSTOREREMOVE=1"), manager.store.len()), (1, 1));
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert!(said.contains("is ignored: it belongs to another network namespace"), "{said}");
}

#[test]
fn a_socket_whose_namespace_is_not_told_is_taken() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    manager.start(&[]).end(Signal::SIGKILL);
    let owner = status(&netns).0["keeper"]["port"].clone();
    let hide = "mount -t tmpfs none /proc/$$/ns && ! test -e /proc/$$/ns/net && exec \"$@\"";
    manager.caller = vec!["sh", "-c", hide, "sh"];
    let _guard = manager.start(&[]);
    assert_eq!(status(&netns).0["keeper"]["port"], owner);
    assert_eq!((manager.count("FDSTOREREMOVE=1"), manager.store.len()), (0, 1));
}

pub(crate) fn netlink_socket(netns: &Netns) -> OwnedFd {
    let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
    let protocol = SockProtocol::NetlinkNetFilter;
    netns.with_group(0, || socket(AddressFamily::Netlink, kind, flags, protocol)).unwrap()
}

/// As a service with a user of its own has it.
#[test]
fn net_admin_alone_is_enough_for_an_ordinary_user() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    let user = ["setpriv", "--reuid=43242", "--regid=43242", "--clear-groups"];
    let capability = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin", "--"];
    manager.caller = [&user[..], &capability].concat();
    for _ in 0..2 {
        let guard = manager.start(&[]);
        assert_eq!(state(&netns), is("guarded", true));
        let process = std::fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
        assert!(process.contains("CapEff:\t0000000000000000\n"), "{process}");
        assert!(process.contains("CapPrm:\t0000000000001000\n"), "{process}");
        let said = complaint(&guard.end(Signal::SIGTERM));
        assert!(said.contains("the bounding set of capabilities stays as it was"), "{said}");
    }
}

#[test]
fn going_over_to_watching_takes_the_socket_out_of_the_store() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    manager.start(&[]).end(Signal::SIGKILL);
    let _guard = manager.start(&["--no-owner"]);
    assert!(manager.store.is_empty());
    assert_eq!(state(&netns), is("watched", true));
}

#[test]
fn the_manager_is_told_what_happens() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    manager.watches = true;
    let guard = manager.start(&[]);
    let ready = manager.heard.last().unwrap();
    assert!(ready.contains("STATUS=group bip324: connections to port 8333 go to"), "{ready}");
    for _ in 0..2 {
        manager.wait_for("WATCHDOG=1");
    }
    guard.signal(Signal::SIGHUP);
    let reloading = manager.wait_for("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.wait_for("READY=1");
    guard.end(Signal::SIGTERM);
    let stopping = manager.wait_for("STOPPING=1");
    assert!(stopping.contains("STATUS=stopped: clients are refused"), "{stopping}");
}

#[test]
fn where_tables_do_not_persist_a_kill_without_a_store_leaves_the_block() {
    let (client, peer) = joined();
    Guard::start(&client, &["--no-persist"]).end(Signal::SIGKILL);
    assert_eq!(client.tables(), ["inet bip324_block"]);
    assert_blocks(&client, &peer);

    let mut manager = Manager::new(&client);
    manager.start(&["--no-persist"]).end(Signal::SIGKILL);
    assert_redirects(&client);
    manager.store.clear();
    wait_until("the block alone", || client.tables() == ["inet bip324_block"]);
    assert_blocks(&client, &peer);
}
