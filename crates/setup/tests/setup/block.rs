//! `block`: beneath each state that it may meet, and where the configuration cannot be used.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use nix::sys::signal::Signal;

use crate::guard::{
    Guard, assert_blocks, assert_open, assert_redirects, is, joined, state, status,
};
use crate::manager::Manager;
use crate::netns::{
    Capture, GID, Netns, OTHER_GID, SETUP, complaint, guarded_tables, loopback, peer,
    tables_persist, wait_until,
};
use crate::redirect::{SECRET, assert_wire_is_clean, connect, listen, nft};
use crate::rules::shipped;

const CONFIG: [&str; 2] = ["--config", "/etc/config.toml"];

/// Neither port of a node.
const ELSEWHERE: u16 = 443;

/// Asks for the block by a file that says this, which cannot be used; returns the complaint.
fn block_by(netns: &Netns, file: &str) -> String {
    netns.write_etc("config.toml", file);
    let output = netns.setup(&["block", CONFIG[0], CONFIG[1]]);
    assert_eq!(output.status.code(), Some(78));
    let said = complaint(&output);
    assert!(said.contains("the configuration cannot be used: /etc/config.toml:1: "), "{said}");
    said
}

fn link_address(v6: bool, port: u16) -> SocketAddr {
    let ip = if v6 { "fd00:b324::1" } else { "203.0.113.1" };
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Clients reach this host and nothing else; others reach everything.
pub(crate) fn assert_blocks_all(netns: &Netns, peer_netns: &Netns) {
    assert_blocks(netns, peer_netns);
    for v6 in [false, true] {
        let listener = listen(peer_netns, peer(v6, ELSEWHERE));
        let mut capture = Capture::start(peer_netns);
        let refused = connect(netns, GID, peer(v6, ELSEWHERE)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_wire_is_clean(netns, &mut capture, v6);
        assert_eq!(capture.tcp_packets(), 0);
        let other = connect(netns, OTHER_GID, peer(v6, ELSEWHERE)).unwrap();
        assert_eq!(listener.accept().unwrap().1, other.local_addr().unwrap());
        for here in [loopback(v6, ELSEWHERE), link_address(v6, ELSEWHERE)] {
            let _listener = listen(netns, here);
            connect(netns, GID, here).unwrap();
        }
    }
}

#[test]
fn block_puts_what_the_shipped_file_describes_and_does_so_once() {
    let (client, peer_netns) = joined();
    let said = client.setup_ok(&["block"]);
    assert_eq!(said, "group bip324: connections to port 8333 are refused\n");
    assert_eq!(client.tables(), ["inet bip324_block"]);
    assert_eq!(state(&client), is("blocked", false));
    assert_blocks(&client, &peer_netns);
    // What stands already is left alone: a new table would have a new handle.
    let handles = || client.expect(&["nft", "-a", "list", "tables"]);
    let before = handles();
    client.setup_ok(&["block"]);
    assert_eq!(handles(), before);
    let ours = client.listing("bip324_block");
    client.expect(&["nft", "-f", &shipped("bip324-block.nft")]);
    assert_eq!(client.listing("bip324_block"), ours);
    // A block of other ports is replaced.
    client.setup_ok(&["block", "--port", "18444"]);
    assert!(client.listing("bip324_block").contains("elements = { 18444 }"));
    client.setup_ok(&["down"]);
    assert!(client.tables().is_empty());
}

#[test]
fn beneath_rules_that_stand_block_disturbs_nothing_and_takes_over() {
    let (client, peer_netns) = joined();
    client.setup_ok(&["up"]);
    let said = client.setup_ok(&["block"]);
    assert!(said.contains("unless the redirect that stands takes them"), "{said}");
    assert_redirects(&client);
    assert_eq!(state(&client), is("installed", true));
    nft(&client, "delete table inet bip324");
    assert_eq!(state(&client), is("blocked", false));
    assert_blocks(&client, &peer_netns);
    client.setup_ok(&["up"]);
    assert_eq!(client.tables(), ["inet bip324"]);
}

/// `ExecStopPost=` after each way in which a guard can end.
#[test]
fn block_after_a_guard_refuses_nobody_who_is_redirected_and_leaves_no_gap() {
    let (client, peer_netns) = joined();
    let mut manager = Manager::new(&client);
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        // To be started again: the manager keeps the socket.
        manager.start(&[]).end(signal);
        client.setup_ok(&["block"]);
        client.expect(&["nft", "flush ruleset"]);
        client.setup_ok(&["block"]);
        assert_redirects(&client);
        assert_eq!(state(&client), is("guarded", true));
    }
    drop(manager.start(&[]).end(Signal::SIGTERM));
    client.setup_ok(&["block"]);
    manager.store.clear();
    wait_until("the block alone", || client.tables() == ["inet bip324_block"]);
    assert_blocks(&client, &peer_netns);
    // Killed, and not to be started again: an orphan, which anybody may remove.
    manager.start(&[]).end(Signal::SIGKILL);
    client.setup_ok(&["block"]);
    manager.store.clear();
    if tables_persist() {
        wait_until("an orphan", || state(&client) == is("orphaned", true));
        assert_redirects(&client);
        nft(&client, "delete table inet bip324");
    }
    wait_until("the block alone", || client.tables() == ["inet bip324_block"]);
    assert_blocks(&client, &peer_netns);
}

#[test]
fn block_leaves_a_guard_that_runs_alone() {
    let netns = Netns::new();
    for arguments in [&[][..], &["--no-owner"]] {
        let guard = Guard::start(&netns, arguments);
        let said = netns.setup_ok(&["block"]);
        assert_eq!(said, format!("process {}, a guard, sees to the rules\n", guard.pid()));
        let owned = arguments.is_empty();
        assert_eq!(netns.tables(), if owned { guarded_tables() } else { vec!["inet bip324"] });
    }
}

/// Whose group it is cannot be told then.
#[test]
fn block_refuses_while_the_rules_of_a_watching_guard_are_flushed() {
    let (client, peer_netns) = joined();
    let guard = Guard::start(&client, &["--no-owner"]);
    let groups = format!("root:x:0:\nbip324:x:{GID}:\nbip324-new:x:{OTHER_GID}:\n");
    client.write_etc("group", &groups);
    let refused = || {
        for v6 in [false, true] {
            let _listener = listen(&peer_netns, peer(v6, 8333));
            let error = connect(&client, OTHER_GID, peer(v6, 8333)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        }
    };
    guard.signal(Signal::SIGSTOP);
    client.expect(&["nft", "flush ruleset"]);
    let said = client.setup_ok(&["block", "--group", "bip324-new"]);
    assert_eq!(said, "group bip324-new: connections to port 8333 are refused\n");
    assert_eq!(client.tables(), ["inet bip324_unguarded"]);
    refused();
    // And where it is the guard's own, that does no harm.
    client.setup_ok(&["block"]);
    guard.signal(Signal::SIGCONT);
    wait_until("the rules", || state(&client) == is("watched", true));
    assert_redirects(&client);
    client.setup_ok(&["block", "--group", "bip324-new"]);
    refused();
    guard.signal(Signal::SIGHUP);
    wait_until("the end of what it does not need", || client.tables() == ["inet bip324"]);
    assert_redirects(&client);
}

#[test]
fn a_live_session_survives_the_block_beneath_its_redirect() {
    let (client, _peer) = joined();
    client.setup_ok(&["up"]);
    for v6 in [false, true] {
        let (mut stream, mut accepted) = crate::redirect::live_session(&client, v6);
        let mut pass = || {
            TcpStream::write_all(&mut stream, SECRET).unwrap();
            let mut arrived = vec![0; SECRET.len()];
            accepted.read_exact(&mut arrived).unwrap();
            accepted.write_all(&arrived).unwrap();
            stream.read_exact(&mut arrived).unwrap();
        };
        client.setup_ok(&["block"]);
        pass();
        block_by(&client, "ports = nonsense\n");
        pass();
    }
}

#[test]
fn where_the_configuration_is_broken_block_refuses_all_but_this_host() {
    let (client, peer_netns) = joined();
    block_by(&client, "ports = nonsense\n");
    assert_eq!(state(&client), is("shut", false));
    assert_blocks_all(&client, &peer_netns);
    let said = client.run(&[SETUP, "check"]);
    assert_eq!(said.status.code(), Some(78));
    assert!(complaint(&said).contains("127.0.0.1:324 is prohibited"), "{}", complaint(&said));
    let ours = client.listing("bip324_block");
    client.expect(&["nft", "flush ruleset"]);
    client.expect(&["nft", "-f", &shipped("bip324-block-all.nft")]);
    assert_eq!(client.listing("bip324_block"), ours);
    // As does a file that is missing.
    client.expect(&["nft", "flush ruleset"]);
    let output = client.setup(&["block", "--config", "/etc/none.toml"]);
    assert_eq!(output.status.code(), Some(66));
    assert_eq!(state(&client), is("shut", false));
    for command in ["guard", "up"] {
        block_by(&client, "ports = nonsense\n");
        if command == "up" {
            client.setup_ok(&["up"]);
            assert_eq!(client.tables(), ["inet bip324"]);
            assert_redirects(&client);
        } else {
            let guard = Guard::start(&client, &[]);
            assert_eq!(client.tables(), guarded_tables());
            assert_redirects(&client);
            guard.end(Signal::SIGKILL);
        }
        client.setup_ok(&["down"]);
        assert_open(&client, &peer_netns);
    }
}

#[test]
fn a_connection_elsewhere_ends_when_all_is_blocked() {
    let (client, peer_netns) = joined();
    for v6 in [false, true] {
        let _listener = listen(&peer_netns, peer(v6, ELSEWHERE));
        let mut stream = connect(&client, GID, peer(v6, ELSEWHERE)).unwrap();
        let mut capture = Capture::start(&peer_netns);
        block_by(&client, "ports = nonsense\n");
        stream.write_all(SECRET).unwrap();
        let error = stream.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_wire_is_clean(&client, &mut capture, v6);
        client.setup_ok(&["down"]);
    }
}

/// What a closed client left unsent, and conntrack does not know: neither group nor mark tell whose it is.
#[test]
fn what_nobody_owns_is_refused_at_the_ports_that_a_broken_file_names() {
    const NAMED: &str = "prots = 1\nports = [18444]\n";
    for (v6, file, leaks) in [(false, NAMED, false), (true, NAMED, false), (false, "prots\n", true)]
    {
        let (client, peer_netns) = joined();
        let listener = listen(&peer_netns, peer(v6, 18444));
        let mut stream = connect(&client, GID, peer(v6, 18444)).unwrap();
        let _accepted = listener.accept().unwrap();
        let mut capture = Capture::start(&peer_netns);
        nft(&client, "add table inet loss");
        nft(&client, "add chain inet loss output { type filter hook output priority 0; }");
        nft(&client, "add rule inet loss output tcp dport 18444 drop");
        stream.write_all(SECRET).unwrap();
        drop(stream);
        block_by(&client, file);
        nft(&client, "delete table inet loss");
        if leaks {
            capture.wait_for(SECRET);
            continue;
        }
        wait_until("the block to reset it", || client.has_blocked());
        assert_wire_is_clean(&client, &mut capture, v6);
    }
}

#[test]
fn beneath_rules_that_stand_a_broken_configuration_refuses_only_what_they_do_not_take() {
    let (client, peer_netns) = joined();
    let mut manager = Manager::new(&client);
    manager.start(&[]).end(Signal::SIGKILL);
    block_by(&client, "ports = nonsense\n");
    assert_redirects(&client);
    assert_eq!(status(&client).0["table"], "guarded");
    let _listener = listen(&peer_netns, peer(false, ELSEWHERE));
    // Else the guard's own block is beneath, and kept: this file does not tell whose group is meant.
    if tables_persist() {
        connect(&client, GID, peer(false, ELSEWHERE)).unwrap_err();
    }
    let _guard = manager.start(&[]);
    assert_eq!(client.tables(), guarded_tables());
    connect(&client, GID, peer(false, ELSEWHERE)).unwrap();
}

#[test]
fn the_group_is_taken_from_a_file_that_is_otherwise_wrong() {
    let netns = Netns::new();
    netns.write_etc("group", "root:x:0:\nclients:x:43250:\nbip324:x:43240:\n");
    let group = || netns.listing("bip324_block").contains("meta skgid 43250 meta l4proto");
    block_by(&netns, "prots = [1]\ngroup = \"clients\"\n");
    assert!(group());
    // A file that does not tell it is no reason to let that group go.
    block_by(&netns, "group = clients\n");
    assert!(group());
    // What nobody owns is refused at the ports that the file names, too.
    assert!(!netns.listing("bip324_block").contains("18444"));
    block_by(&netns, "prots = 1\ngroup = \"clients\"\nports = [18444]\n");
    assert!(group() && netns.listing("bip324_block").contains("elements = { 8333, 18444 }"));
    // But without any block, it is that of the default.
    nft(&netns, "flush ruleset");
    block_by(&netns, "group = clients\n");
    assert!(netns.listing("bip324_block").contains("meta skgid 43240 meta l4proto"));
    let output = netns.setup(&["block", "--group", "clients", CONFIG[0], CONFIG[1]]);
    assert_eq!(output.status.code(), Some(78));
    assert!(group());
}

#[test]
fn without_the_group_block_says_so_and_leaves_what_stands() {
    let netns = Netns::new();
    netns.setup_ok(&["block"]);
    netns.write_etc("group", "root:x:0:\n");
    let output = netns.setup(&["block"]);
    assert_eq!(output.status.code(), Some(66));
    assert!(complaint(&output).contains("there is no group bip324"), "{}", complaint(&output));
    assert_eq!(netns.tables(), ["inet bip324_block"]);
}
