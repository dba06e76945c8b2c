//! `guard` where its configuration cannot be used: it stays, and what refuses the group is its own.

use std::fs;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::block::assert_blocks_all;
use crate::guard::{Guard, assert_redirects, is, joined, state, status};
use crate::manager::Manager;
use crate::netns::{
    GID, Netns, OTHER_GID, SETUP, UNPRIVILEGED, complaint, loopback, peer, wait_until,
};
use crate::redirect::{connect, listen, nft};
use crate::rules::shipped;

const CONFIG: [&str; 2] = ["--config", "/etc/config.toml"];

const BROKEN: &str = "ports = [18444]\nprots = [8333]\n";
const REASON: &str = "/etc/config.toml:2: unknown key `prots`: did you mean `ports`?";

/// Starts a guard with a file that cannot be used; returns what it tells its manager.
fn start_shut(netns: &Netns, manager: &mut Manager<'_>, options: &[&str]) -> (Guard, String) {
    netns.write_etc("config.toml", BROKEN);
    let guard = manager.start(&[&CONFIG[..], options].concat());
    (guard, manager.heard.last().unwrap().clone())
}

/// A whole ruleset that replaces all others, as nftables.service loads it.
fn load_ruleset(netns: &Netns) {
    let path = netns.etc_path("nftables.conf");
    fs::write(&path, "flush ruleset\ntable inet filter {\n\tchain output {\n\t\ttype filter hook output priority filter;\n\t}\n}\n").unwrap();
    netns.expect(&["nft", "-f", path.to_str().unwrap()]);
}

fn assert_shut(netns: &Netns, guard: &Guard) {
    let (status, stands) = status(netns);
    assert!(!stands && status["table"] == "shut", "{status}");
    assert_eq!(status["keeper"]["guard"], guard.pid());
}

#[test]
fn a_guard_that_cannot_use_its_configuration_refuses_all_and_nobody_can_change_that() {
    let (client, peer_netns) = joined();
    let mut manager = Manager::new(&client);
    for options in [&[][..], &["--no-persist"]] {
        let (guard, said) = start_shut(&client, &mut manager, options);
        for part in
            ["READY=1\n", "STATUS=", REASON, "mend it, then run `systemctl reload bip324-guard`"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert_shut(&client, &guard);
        assert_blocks_all(&client, &peer_netns);
        // It is what the block is made of.
        let held = client.table();
        client.expect(&["nft", "flush ruleset"]);
        assert_blocks_all(&client, &peer_netns);
        load_ruleset(&client);
        assert_blocks_all(&client, &peer_netns);
        for change in ["delete table inet bip324", "flush table inet bip324"] {
            let output = client.run(&["nft", change]);
            assert!(complaint(&output).contains("Operation not permitted"), "{change}");
        }
        assert_eq!(client.table(), held);
        assert_shut(&client, &guard);
        let said = complaint(&guard.end(Signal::SIGTERM));
        assert!(said.contains(&format!("the configuration cannot be used: {REASON}")), "{said}");
        manager.store.clear();
        wait_until("the block", || !client.tables().contains(&"inet bip324".to_owned()));
        let block = client.listing("bip324_block");
        let rules = |listing: &str| listing.split_once("\tset ports").unwrap().1.to_owned();
        assert_eq!(rules(&held), rules(&block));
        client.expect(&["nft", "-f", &shipped("bip324-block-all.nft")]);
        let named = client.listing("bip324_block").replace("{ 8333 }", "{ 8333, 18444 }");
        assert_eq!(named, block);
        client.setup_ok(&["down"]);
    }
}

/// Where tables have no owner: a gap, as for the redirect.
#[test]
fn a_watching_guard_that_cannot_use_its_configuration_puts_its_refusals_back() {
    let (client, peer_netns) = joined();
    let mut manager = Manager::new(&client);
    let (guard, _) = start_shut(&client, &mut manager, &["--no-owner"]);
    assert_shut(&client, &guard);
    client.expect(&["nft", "flush ruleset"]);
    wait_until("the refusals", || client.tables() == ["inet bip324"]);
    assert_shut(&client, &guard);
    assert_blocks_all(&client, &peer_netns);
}

/// From the first refusal to the first redirect, and back, with clients connecting all the time.
#[test]
fn no_client_slips_through_while_a_guard_has_no_configuration_or_gets_one() {
    let (client, peer_netns) = joined();
    let leaks = [false, true].map(|v6| listen(&peer_netns, peer(v6, 8333)));
    let (refused, served, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let mut manager = Manager::new(&client);
    let (mut guard, _) = start_shut(&client, &mut manager, &[]);
    let daemons = [false, true].map(|v6| listen(&client, loopback(v6, 1324)));
    for daemon in &daemons {
        daemon.set_nonblocking(true).unwrap();
    }
    thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        for v6 in [false, true] {
            let (client, over, refused, served) = (&client, &over, &refused, &served);
            let daemon = &daemons[usize::from(v6)];
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if let Err(error) = connect(client, GID, peer(v6, 8333)) {
                        // The latter where the rules change half-way.
                        let kinds = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
                        assert!(kinds.contains(&error.kind()), "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    while daemon.accept().is_ok() {}
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let more = |count: &AtomicU64| {
            let before = count.load(Ordering::Relaxed);
            wait_until("clients", || count.load(Ordering::Relaxed) > before + 20);
        };
        for _ in 0..2 {
            client.expect(&["nft", "flush ruleset"]);
            more(&refused);
            load_ruleset(&client);
            more(&refused);
            // Mended, and read again.
            client.write_etc("config.toml", "");
            manager.reload(&guard);
            more(&served);
            // Broken, and read again: what stood goes on.
            client.write_etc("config.toml", BROKEN);
            manager.reload(&guard);
            more(&served);
            client.expect(&["nft", "flush ruleset"]);
            more(&served);
            // Killed: the manager has its socket, and the next one finds the broken file.
            guard.end(Signal::SIGKILL);
            client.expect(&["nft", "flush ruleset"]);
            more(&served);
            guard = manager.start(&CONFIG);
            more(&refused);
            guard.end(Signal::SIGKILL);
            client.expect(&["nft", "flush ruleset"]);
            more(&refused);
            // A restart into a file that is mended.
            guard = manager.start(&CONFIG);
            guard.end(Signal::SIGTERM);
            client.expect(&["nft", "flush ruleset"]);
            more(&refused);
            client.write_etc("config.toml", "");
            guard = manager.start(&CONFIG);
            more(&served);
            // And back.
            guard.end(Signal::SIGTERM);
            client.write_etc("config.toml", BROKEN);
            client.expect(&["nft", "flush ruleset"]);
            guard = manager.start(&CONFIG);
            more(&refused);
        }
    });
    println!("{} refused, {} served", refused.into_inner(), served.into_inner());
    for leak in leaks {
        leak.set_nonblocking(true).unwrap();
        assert_eq!(leak.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

/// Ends the clients, also where the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn mended_and_reloaded_it_redirects() {
    let (client, _peer) = joined();
    let mut manager = Manager::new(&client);
    for options in [&[][..], &["--no-persist"], &["--no-owner"]] {
        let (guard, _) = start_shut(&client, &mut manager, options);
        client.write_etc("config.toml", "ports = 8333\n");
        manager.reload(&guard);
        // What is wrong by now.
        let said = manager.heard.last().unwrap();
        assert!(
            said.contains("/etc/config.toml:1: `ports`: ") && !said.contains("prots"),
            "{said}"
        );
        assert_shut(&client, &guard);
        client.write_etc("config.toml", "ports = [8333]\non_exit = \"open\"\n");
        manager.reload(&guard);
        let said = manager.heard.last().unwrap();
        assert!(said.contains("STATUS=group bip324: connections to port 8333 go to "), "{said}");
        assert_redirects(&client);
        assert!(state(&client).1);
        let said = complaint(&guard.end(Signal::SIGTERM));
        let lost = "warning: once the guard is stopped, clients connect in plaintext from now on";
        assert!(said.contains(lost), "{said}");
        manager.store.clear();
        wait_until("no table, as the mended file said", || client.tables().is_empty());
    }
}

#[test]
fn each_file_that_cannot_be_used_shuts() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    for (text, reason) in [
        (None, "cannot read /etc/config.toml: No such file"),
        (Some("colour = 1\n"), "/etc/config.toml:1: unknown key `colour`: did you mean `"),
        (Some("ports = []\n"), "/etc/config.toml:1: `ports`: empty"),
        (Some("ports = [1324]\n"), "/etc/config.toml:1: `ports`: 1324 is the daemon's own port"),
        // Whether clients may be let out is not known either.
        (Some("on_exit = \"open\"\nports = [\n"), "/etc/config.toml:2: "),
    ] {
        if let Some(text) = text {
            netns.write_etc("config.toml", text);
        }
        let guard = manager.start(&CONFIG);
        let said = manager.heard.last().unwrap();
        assert!(said.contains(reason), "{said}");
        assert_shut(&netns, &guard);
        guard.end(Signal::SIGTERM);
        manager.store.clear();
        wait_until("the block alone", || netns.tables() == ["inet bip324_block"]);
        assert_eq!(state(&netns), is("shut", false));
        netns.setup_ok(&["down"]);
    }
}

/// The group is the one that the file names all the same. Where it names none, it is the one that the
/// rules are about which stand.
#[test]
fn a_guess_does_not_let_go_another_group() {
    let netns = Netns::new();
    let groups = format!("root:x:0:\nclients:x:{OTHER_GID}:\nbip324:x:{GID}:\n");
    netns.write_etc("group", &groups);
    let refuses = |gid: u32| netns.table().contains(&format!("meta skgid {gid} meta l4proto"));
    let mut manager = Manager::new(&netns);
    let (guard, _) = start_shut(&netns, &mut manager, &[]);
    assert!(refuses(GID) && !refuses(OTHER_GID));
    netns.write_etc("config.toml", "prots = 1\ngroup = \"clients\"\n");
    manager.reload(&guard);
    assert!(refuses(OTHER_GID) && !refuses(GID));
    guard.end(Signal::SIGTERM);
    netns.write_etc("config.toml", "group = clients\n");
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        guard_again(&mut manager, signal);
        assert!(refuses(OTHER_GID) && !refuses(GID));
    }

    // The redirect of before counts as well, and so does a block.
    netns.write_etc("config.toml", "group = \"clients\"\n");
    guard_again(&mut manager, Signal::SIGKILL);
    assert_eq!(state(&netns).0, "differs");
    netns.write_etc("config.toml", "group = clients\n");
    guard_again(&mut manager, Signal::SIGTERM);
    assert!(refuses(OTHER_GID) && !refuses(GID));
    manager.store.clear();
    wait_until("the block", || netns.tables() == ["inet bip324_block"]);
    guard_again(&mut manager, Signal::SIGKILL);
    assert!(refuses(OTHER_GID) && !refuses(GID));
}

/// Starts a guard and ends it so.
fn guard_again(manager: &mut Manager<'_>, signal: Signal) {
    drop(manager.start(&CONFIG).end(signal));
}

#[test]
fn without_group_or_capability_it_fails_as_ever() {
    let netns = Netns::new();
    netns.write_etc("config.toml", BROKEN);
    let fails = |caller: &[&str], code: i32| {
        let output = netns.run(&[caller, &[SETUP, "guard"], &CONFIG[..]].concat());
        assert_eq!(output.status.code(), Some(code), "{}", complaint(&output));
        assert!(netns.tables().is_empty());
        complaint(&output)
    };
    let reason = format!("bip324-setup: {REASON}\n");
    assert_eq!(fails(&UNPRIVILEGED, 78), reason);
    let missing = "bip324-setup: nobody can be refused instead: there is no group bip324: ";
    netns.write_etc("group", "root:x:0:\n");
    let said = fails(&[], 78);
    assert!(said.starts_with(missing) && said.ends_with(&reason), "{said}");
    netns.write_etc("group", &format!("root:x:0:\nbip324:x:{GID}:\n"));
    netns.write_etc("config.toml", &(BROKEN.to_owned() + "group = \"clients\"\n"));
    let said = fails(&[], 78);
    assert!(said.contains("there is no group clients: ") && said.ends_with(&reason), "{said}");
}

#[test]
fn status_and_check_say_that_a_guard_refuses() {
    const MEMBER: [&str; 5] = ["setpriv", "--reuid=43242", "--regid=43240", "--clear-groups", "--"];
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    let (guard, _) = start_shut(&netns, &mut manager, &[]);
    let said = netns.setup(&["status"]);
    assert_eq!(said.status.code(), Some(78));
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("no redirect, and all TCP of the group but to this host is refused"),
        "{said}"
    );
    assert!(
        said.contains("its guard holds that until `sudo systemctl reload bip324-guard`"),
        "{said}"
    );
    for caller in [&[][..], &MEMBER] {
        let output = netns.run(&[caller, &[SETUP, "check"]].concat());
        assert_eq!(output.status.code(), Some(78));
        let said = complaint(&output);
        let guard = format!("process {}, a guard, could not use its configuration", guard.pid());
        assert!(said.contains(&guard) && said.contains("reload bip324-guard"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // Whose file is as broken is told that.
    let output = netns.setup(&["check", CONFIG[0], CONFIG[1]]);
    assert_eq!(complaint(&output), format!("bip324-setup: {REASON}\n"));
    // It is no redirect that could be taken over, and no others are let in.
    for command in ["up", "down"] {
        assert_eq!(netns.setup(&[command]).status.code(), Some(75));
    }
    let said = netns.setup(&["block", CONFIG[0], CONFIG[1]]);
    assert_eq!(said.status.code(), Some(78));
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said, format!("process {}, a guard, sees to the rules\n", guard.pid()));
    // What is left is anybody's: an orphan, or where tables do not persist the block.
    guard.end(Signal::SIGKILL);
    manager.store.clear();
    wait_until("the end of its socket", || status(&netns).0["keeper"].is_null());
    assert_eq!(state(&netns), is("shut", false));
    netns.setup_ok(&["up"]);
    assert_eq!(state(&netns), is("installed", true));
}

/// As where a package makes the group anew while a guard runs.
#[test]
fn block_refuses_a_group_that_the_guard_does_not_guard() {
    let (client, peer_netns) = joined();
    for options in [&[][..], &["--no-persist"], &["--no-owner"]] {
        let guard = Guard::start(&client, options);
        let old = format!("root:x:0:\nold:x:{GID}:\n");
        client.write_etc("group", &format!("{old}bip324-new:x:{OTHER_GID}:\n"));
        let said = client.setup_ok(&["block", "--group", "bip324-new"]);
        assert_eq!(
            said,
            "group bip324-new: connections to port 8333 are refused, \
                          unless the redirect that stands takes them\n"
        );
        let refused = || {
            for v6 in [false, true] {
                let _listener = listen(&peer_netns, peer(v6, 8333));
                let error = connect(&client, OTHER_GID, peer(v6, 8333)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            }
        };
        refused();
        // Neither does the guard take that for a change to its own.
        assert_redirects(&client);
        if options.contains(&"--no-owner") {
            nft(&client, "delete table inet bip324");
            wait_until("the rules", || client.tables().contains(&"inet bip324".to_owned()));
        }
        assert!(client.tables().contains(&"inet bip324_unguarded".to_owned()));
        refused();
        client.write_etc("group", &format!("{old}bip324:x:{OTHER_GID}:\n"));
        refused();
        guard.signal(Signal::SIGHUP);
        wait_until("the new group's redirect", || state(&client).1);
        assert!(!client.tables().contains(&"inet bip324_unguarded".to_owned()));
        let said = complaint(&guard.end(Signal::SIGTERM));
        let lost = format!("warning: group bip324 (gid {GID}) is not redirected any more");
        assert!(said.contains(&lost), "{said}");
        client.setup_ok(&["down"]);
        client.write_etc("group", &format!("root:x:0:\nbip324:x:{GID}:\n"));
    }
}
