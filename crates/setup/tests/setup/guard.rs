//! `guard` in a plain shell: what others can do to its table, how it ends and what it leaves.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::{BANNER, Daemon, original_dst};
use crate::netns::{
    self, Capture, GID, Netns, SETUP, complaint, guarded_tables, loopback, peer, tables_persist,
    wait_until,
};
use crate::redirect::{SECRET, assert_wire_is_clean, connect, listen, orphan};
use crate::rules::shipped;

/// A guard that runs, and is killed if a test leaves it.
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts a guard and waits until it is ready.
    pub(crate) fn start(netns: &Netns, arguments: &[&str]) -> Self {
        Self::start_by(netns, netns.command(&[&[SETUP, "guard"], arguments].concat()))
    }

    /// As [`Guard::start`], with the command that becomes it.
    pub(crate) fn start_by(netns: &Netns, mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let guard = Self::spawn(command);
        // Its rules stand before that, but it has not yet seen that they do.
        wait_until("a guard to say what it guards", || guard.has_spoken());
        let status = status(netns).0;
        let table = status["table"].as_str().unwrap();
        assert!(["guarded", "watched"].contains(&table), "{status}");
        assert_eq!(status["keeper"]["guard"], guard.pid());
        guard
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        command.stderr(Stdio::piped());
        Self { child: command.spawn().expect("cannot run ip: install iproute2") }
    }

    fn has_spoken(&self) -> bool {
        let output = self.child.stdout.as_ref().unwrap();
        let mut readable = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        poll(&mut readable, PollTimeout::ZERO).unwrap();
        readable[0].revents().unwrap().contains(PollFlags::POLLIN)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Hundredths of a second that it has run for.
    pub(crate) fn ticks(&self) -> u32 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.split(' ').skip(13).take(2).map(|field| field.parse::<u32>().unwrap()).sum()
    }

    /// How often it has gone to sleep.
    pub(crate) fn sleeps(&self) -> u32 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse().unwrap()
    }

    /// Sends a signal and waits for its end.
    pub(crate) fn end(mut self, signal: Signal) -> Output {
        self.signal(signal);
        let child = std::mem::replace(&mut self.child, idle());
        child.wait_with_output().unwrap()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn idle() -> Child {
    Command::new("true").spawn().unwrap()
}

/// Clients of both families reach the daemon's address.
pub(crate) fn assert_redirects(netns: &Netns) {
    for v6 in [false, true] {
        let daemon = listen(netns, loopback(v6, 1324));
        let _client = connect(netns, GID, peer(v6, 8333)).unwrap();
        assert_eq!(original_dst(&daemon.accept().unwrap().0).unwrap(), peer(v6, 8333));
    }
}

/// Clients of both families are reset, although somebody listens, and nothing leaves.
pub(crate) fn assert_blocks(netns: &Netns, peer_netns: &Netns) {
    for v6 in [false, true] {
        let _peer = listen(peer_netns, peer(v6, 8333));
        let mut capture = Capture::start(peer_netns);
        let refused = connect(netns, GID, peer(v6, 8333)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_wire_is_clean(netns, &mut capture, v6);
        assert_eq!(capture.tcp_packets(), 0);
    }
}

/// Clients of both families reach their peers, unprotected.
pub(crate) fn assert_open(netns: &Netns, peer_netns: &Netns) {
    for v6 in [false, true] {
        let listener = listen(peer_netns, peer(v6, 8333));
        let client = connect(netns, GID, peer(v6, 8333)).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }
}

pub(crate) fn joined() -> (Netns, Netns) {
    let (client, peer) = (Netns::new(), Netns::new());
    client.join(&peer);
    (client, peer)
}

/// What `status` says first, and whether it finds the redirect standing.
pub(crate) fn state(netns: &Netns) -> (String, bool) {
    let (status, stands) = status(netns);
    (status["table"].as_str().unwrap().to_owned(), stands)
}

/// What `status --json` says, and whether it succeeds.
pub(crate) fn status(netns: &Netns) -> (serde_json::Value, bool) {
    let output = netns.setup(&["status", "--json"]);
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.success())
}

pub(crate) fn is(state: &str, stands: bool) -> (String, bool) {
    (state.to_owned(), stands)
}

#[test]
fn nobody_else_can_remove_or_change_an_owned_table() {
    let (client, _peer) = joined();
    let guard = Guard::start(&client, &[]);
    client.expect(&["nft", "add table inet other"]);
    client.expect(&["nft", "flush ruleset"]);
    // What is nobody's is put back, and what is the guard's was never gone.
    wait_until("the guard's tables alone", || client.tables() == guarded_tables());
    for change in [
        "delete table inet bip324",
        "flush table inet bip324",
        "add rule inet bip324 nat_output accept",
        "delete element inet bip324 ports { 8333 }",
        "add table inet bip324 { flags dormant; }",
    ] {
        let output = client.run(&["nft", change]);
        assert!(complaint(&output).contains("Operation not permitted"), "{change}");
    }
    assert_redirects(&client);
    assert_eq!(state(&client), is("guarded", true));
    drop(guard);
}

#[test]
fn without_an_owner_the_same_flush_removes_the_rules() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    netns.expect(&["nft", "flush ruleset"]);
    assert!(netns.tables().is_empty());
}

#[test]
fn up_and_down_and_a_second_guard_are_refused_while_a_guard_stands() {
    let netns = Netns::new();
    for arguments in [&[][..], &["--no-owner"]] {
        let guard = Guard::start(&netns, arguments);
        let remedy = format!("`systemctl stop bip324-guard`, or with `kill {}`", guard.pid());
        for command in ["up", "down", "guard"] {
            let output = netns.setup(&[command]);
            assert_eq!(output.status.code(), Some(75), "{command}");
            assert!(complaint(&output).contains(&remedy), "{}", complaint(&output));
        }
        assert!(state(&netns).1);
        guard.end(Signal::SIGTERM);
        netns.setup_ok(&["down"]);
    }
}

#[test]
fn check_does_not_recommend_what_a_guard_refuses() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &[]);
    let output = netns.setup(&["check", "--port", "18444"]);
    assert_eq!(output.status.code(), Some(78));
    let said = complaint(&output);
    let remedy = format!("or with `kill {}`, then run that with sudo", guard.pid());
    assert!(said.contains(&remedy), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_table_that_a_stranger_owns_is_refused() {
    let netns = Netns::new();
    let stranger = netns::Owner::start(&netns);
    let output = netns.setup(&["guard"]);
    assert_eq!(output.status.code(), Some(75));
    let said = complaint(&output);
    assert!(said.contains(", nft) owns table inet bip324"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    drop(stranger);
}

#[test]
fn killed_it_leaves_an_orphan_that_redirects_and_is_adopted() {
    let (client, _peer) = joined();
    Guard::start(&client, &[]).end(Signal::SIGKILL);
    if tables_persist() {
        assert_eq!(state(&client), is("orphaned", true));
        assert_redirects(&client);
    } else {
        assert_eq!(state(&client), is("blocked", false));
    }
    let _guard = Guard::start(&client, &[]);
    assert_eq!(state(&client), is("guarded", true));
    client.expect(&["nft", "flush ruleset"]);
    assert_redirects(&client);
}

#[test]
fn an_orphan_can_be_replaced_by_up_and_removed_by_down() {
    let netns = Netns::new();
    Guard::start(&netns, &[]).end(Signal::SIGKILL);
    netns.setup_ok(&["up"]);
    assert_eq!(state(&netns), is("installed", true));
    netns.setup_ok(&["down"]);
    Guard::start(&netns, &[]).end(Signal::SIGKILL);
    let said = netns.setup_ok(&["down"]);
    assert!(said.contains("clients connect in plaintext from now on"), "{said}");
    assert!(netns.tables().is_empty());
}

#[test]
fn stopped_it_leaves_the_block_that_the_shipped_file_describes() {
    let (client, peer_netns) = joined();
    for (arguments, signal) in [
        (&[][..], Signal::SIGTERM),
        (&["--on-exit", "block"], Signal::SIGINT),
        (&["--no-owner"], Signal::SIGTERM),
        (&["--no-persist"], Signal::SIGTERM),
    ] {
        let output = Guard::start(&client, arguments).end(signal);
        assert!(output.status.success(), "{}", complaint(&output));
        assert_eq!(client.tables(), ["inet bip324_block"]);
        assert_eq!(state(&client), is("blocked", false));
        assert_blocks(&client, &peer_netns);
    }
    let left = client.listing("bip324_block");
    client.expect(&["nft", "flush ruleset"]);
    client.expect(&["nft", "-f", &shipped("bip324-block.nft")]);
    assert_eq!(client.listing("bip324_block"), left);
}

#[test]
fn a_block_leaves_others_and_loopback_alone() {
    let (client, peer_netns) = joined();
    Guard::start(&client, &[]).end(Signal::SIGTERM);
    for v6 in [false, true] {
        let listener = listen(&peer_netns, peer(v6, 8333));
        let other = connect(&client, netns::OTHER_GID, peer(v6, 8333)).unwrap();
        assert_eq!(listener.accept().unwrap().1, other.local_addr().unwrap());
        let _node = listen(&client, loopback(v6, 8333));
        connect(&client, GID, loopback(v6, 8333)).unwrap();
    }
}

#[test]
fn a_live_session_is_reset_when_the_guard_stops() {
    let (client_netns, peer_netns) = joined();
    for v6 in [false, true] {
        let guard = Guard::start(&client_netns, &[]);
        let mut capture = Capture::start(&peer_netns);
        let (mut client, _accepted) = crate::redirect::live_session(&client_netns, v6);
        guard.end(Signal::SIGTERM);
        std::io::Write::write_all(&mut client, SECRET).unwrap();
        let error = std::io::Read::read(&mut client, &mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_wire_is_clean(&client_netns, &mut capture, v6);
    }
}

#[test]
fn what_a_closed_client_left_unsent_is_reset_when_the_guard_stops() {
    let (client, peer) = joined();
    for v6 in [false, true] {
        let guard = Guard::start(&client, &[]);
        let mut capture = Capture::start(&peer);
        orphan(&client, v6, || drop(guard.end(Signal::SIGTERM)));
        wait_until("the block to reset the orphan", || client.has_blocked());
        assert_wire_is_clean(&client, &mut capture, v6);
    }
}

#[test]
fn stopped_with_on_exit_open_it_leaves_nothing() {
    let (client, peer) = joined();
    for arguments in [&["--on-exit", "open"][..], &["--on-exit", "open", "--no-owner"]] {
        Guard::start(&client, arguments).end(Signal::SIGTERM);
        assert!(client.tables().is_empty());
        assert_eq!(state(&client), is("absent", false));
        assert_open(&client, &peer);
    }
}

#[test]
fn up_and_guard_replace_a_block_and_down_removes_it() {
    let (client, _peer) = joined();
    let block = || drop(Guard::start(&client, &[]).end(Signal::SIGTERM));
    block();
    client.setup_ok(&["up"]);
    assert_eq!(client.tables(), ["inet bip324"]);
    assert_redirects(&client);
    block();
    let guard = Guard::start(&client, &[]);
    assert_eq!(client.tables(), guarded_tables());
    assert_redirects(&client);
    drop(guard.end(Signal::SIGTERM));
    client.setup_ok(&["down"]);
    assert!(client.tables().is_empty());
}

#[test]
fn check_knows_each_state() {
    const MEMBER: [&str; 5] = ["setpriv", "--reuid=43242", "--regid=43240", "--clear-groups", "--"];
    let netns = Netns::new();
    let _daemon = Daemon::start(&netns, BANNER);
    let check = |caller: &[&str]| {
        let output = netns.run(&[caller, &[SETUP, "check"]].concat());
        (output.status.code().unwrap(), complaint(&output))
    };
    let guard = Guard::start(&netns, &[]);
    assert_eq!(check(&[]), (0, String::new()));
    assert_eq!(check(&MEMBER), (0, String::new()));
    guard.end(Signal::SIGKILL);
    if tables_persist() {
        let (code, said) = check(&[]);
        assert_eq!(code, 0);
        assert!(said.contains("warning: the guard was killed"), "{said}");
        assert_eq!(check(&MEMBER), (0, String::new()));
    }
    Guard::start(&netns, &[]).end(Signal::SIGTERM);
    for caller in [&[][..], &MEMBER] {
        let (code, said) = check(caller);
        assert_eq!(code, 78);
        assert!(said.contains("127.0.0.1:324 is prohibited"), "{said}");
        assert!(said.contains("`sudo bip324-setup up`"), "{said}");
    }
}

#[test]
fn everything_but_net_admin_is_dropped_and_it_stays_small() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &[]);
    let read = || fs::read_to_string(format!("/proc/{}/status", guard.pid())).unwrap();
    // It is raised while the rules are read back, and never after.
    wait_until("the end of the batch", || read().contains("CapEff:\t0000000000000000\n"));
    let status = read();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().to_owned()
    };
    assert_eq!(value("CapPrm:"), "0000000000001000");
    for empty in ["CapInh:", "CapBnd:", "CapAmb:"] {
        assert_eq!(value(empty), "0000000000000000", "{empty}");
    }
    assert_eq!(value("NoNewPrivs:"), "1");
    assert_eq!(value("Threads:"), "1");
    let resident: u32 = value("VmRSS:").trim_end_matches(" kB").parse().unwrap();
    println!("a guard holds {resident} KiB");
    assert!(resident < 8 * 1024, "{resident} KiB");
}
