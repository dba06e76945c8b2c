//! `guard` and its configuration file: what it takes from it, and when it takes it again.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::libc;
use nix::sys::signal::Signal;

use crate::daemon::original_dst;
use crate::guard::joined;
use crate::manager::{Deaf, Manager};
use crate::netns::{GID, Netns, OTHER_GID, complaint, loopback, peer, wait_until};
use crate::redirect::{connect, listen};

const CONFIG: [&str; 2] = ["--config", "/etc/config.toml"];

const UNGUARDED: &str = "inet bip324_unguarded";

/// Whether a client's connection to that port reaches the daemon: its own port refuses otherwise.
fn is_redirected(netns: &Netns, gid: u32, port: u16) -> bool {
    [false, true].into_iter().all(|v6| {
        let daemon = listen(netns, loopback(v6, 1324));
        match connect(netns, gid, peer(v6, port)) {
            Ok(_client) => original_dst(&daemon.accept().unwrap().0).unwrap() == peer(v6, port),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                false
            }
        }
    })
}

#[test]
fn a_reload_adds_and_removes_a_port() {
    let (client, _peer) = joined();
    let mut manager = Manager::new(&client);
    client.write_etc("config.toml", "ports = [8333]\n");
    let guard = manager.start(&CONFIG);
    assert!(is_redirected(&client, GID, 8333) && !is_redirected(&client, GID, 18444));
    client.write_etc("config.toml", "ports = [8333, 18444]\n");
    manager.reload(&guard);
    assert!(is_redirected(&client, GID, 8333) && is_redirected(&client, GID, 18444));
    client.write_etc("config.toml", "ports = [18444]\n");
    manager.reload(&guard);
    assert!(!is_redirected(&client, GID, 8333) && is_redirected(&client, GID, 18444));
    let status = manager.heard.last().unwrap();
    assert!(status.contains("connections to port 18444 go to"), "{status}");
    client.setup_ok(&[&["status"], &CONFIG[..]].concat());
    // What it leaves behind is about the same ports.
    guard.end(Signal::SIGTERM);
    drop(manager);
    assert!(client.listing("bip324_block").contains("elements = { 18444 }"));
}

#[test]
fn a_reload_leaves_no_gap() {
    let (client, peer_netns) = joined();
    client.write_etc("config.toml", "ports = [8333]\n");
    let mut manager = Manager::new(&client);
    let guard = manager.start(&CONFIG);
    let daemons = [false, true].map(|v6| listen(&client, loopback(v6, 1324)));
    let leaks = [false, true].map(|v6| listen(&peer_netns, peer(v6, 8333)));
    let done = AtomicBool::new(false);
    let connections = thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                for (v6, daemon) in [false, true].into_iter().zip(&daemons) {
                    let _client = connect(&client, GID, peer(v6, 8333)).unwrap();
                    daemon.accept().unwrap();
                    count += 1;
                }
            }
            count
        });
        for round in 0..20 {
            let extra = if round % 2 == 0 { ", 18444" } else { "" };
            client.write_etc("config.toml", &format!("ports = [8333{extra}]\n"));
            manager.reload(&guard);
        }
        done.store(true, Ordering::Relaxed);
        clients.join().unwrap()
    });
    println!("{connections} connections during 20 reloads");
    for leak in leaks {
        leak.set_nonblocking(true).unwrap();
        assert_eq!(leak.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_broken_file_changes_nothing_and_is_said() {
    let (client, _peer) = joined();
    client.write_etc("config.toml", "ports = [8333, 18444]\n");
    let mut manager = Manager::new(&client);
    let guard = manager.start(&CONFIG);
    let before = client.table();
    let mut reasons = Vec::new();
    for (text, reason) in [
        ("\nport = 8333\n", "/etc/config.toml:2: unknown key `port`: did you mean `ports`?"),
        ("ports = [1324]\n", "/etc/config.toml:1: `ports`: 1324 is the daemon's own port"),
        ("group = \"nobody-has-it\"\n", "there is no group nobody-has-it"),
        ("group = \"root\"\n", "group root has gid 0"),
        ("ports = [", "/etc/config.toml:1: "),
    ] {
        client.write_etc("config.toml", text);
        manager.reload(&guard);
        let status = manager.heard.last().unwrap();
        assert!(status.contains("; not reloaded: ") && status.contains(reason), "{status}");
        assert_eq!(client.table(), before);
        reasons.push(reason);
    }
    std::fs::remove_file(client.etc_path("config.toml")).unwrap();
    manager.reload(&guard);
    reasons.push("cannot read /etc/config.toml: No such file");
    assert_eq!(client.table(), before);
    assert!(is_redirected(&client, GID, 18444));
    let said = complaint(&guard.end(Signal::SIGTERM));
    for reason in reasons {
        let line = said.lines().find(|line| line.contains(reason)).unwrap_or_default();
        assert!(line.contains("not reloaded, the rules stay as they were"), "{reason}: {said}");
    }
}

#[test]
fn a_reload_that_cannot_be_read_back_is_undone_and_said() {
    let (client, _peer) = joined();
    client.write_etc("config.toml", "ports = [8333]\n");
    let mut manager = Manager::new(&client);
    let guard = manager.start(&CONFIG);
    // The kernel's acknowledgements pass, what it lists does not.
    let socket = manager.store[0].try_clone().unwrap();
    let deaf = Deaf::to_all_but(&socket, Some(libc::NLMSG_ERROR as u16));
    client.write_etc("config.toml", "ports = [18444]\n");
    manager.reload(&guard);
    let status = manager.heard.last().unwrap();
    assert!(status.contains("connections to port 8333 go to"), "{status}");
    assert!(status.contains("; not reloaded: the kernel's nftables did not answer"), "{status}");
    assert!(is_redirected(&client, GID, 8333) && !is_redirected(&client, GID, 18444));
    drop(deaf);
    manager.reload(&guard);
    assert!(!is_redirected(&client, GID, 8333) && is_redirected(&client, GID, 18444));
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert!(said.contains("not reloaded, the rules of before are put back: "), "{said}");
}

/// The rules of before know nothing of a group that was made anew: what refuses it has to stay.
#[test]
fn a_reload_that_is_undone_goes_on_refusing_a_group_that_was_made_anew() {
    let (client, peer_netns) = joined();
    let _listeners = [false, true].map(|v6| listen(&peer_netns, peer(v6, 8333)));
    let mut manager = Manager::new(&client);
    let guard = manager.start(&[]);
    let group = |name: &str| format!("root:x:0:\nold:x:{GID}:\n{name}:x:{OTHER_GID}:\n");
    client.write_etc("group", &group("bip324-new"));
    client.setup_ok(&["block", "--group", "bip324-new"]);
    client.write_etc("group", &group("bip324"));
    let socket = manager.store[0].try_clone().unwrap();
    let deaf = Deaf::to_all_but(&socket, Some(libc::NLMSG_ERROR as u16));
    manager.reload(&guard);
    let status = manager.heard.last().unwrap();
    assert!(status.contains("; not reloaded: the kernel's nftables did not answer"), "{status}");
    assert!(is_redirected(&client, GID, 8333));
    for v6 in [false, true] {
        let refused = connect(&client, OTHER_GID, peer(v6, 8333)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    assert!(client.tables().contains(&UNGUARDED.to_owned()));
    drop(deaf);
    manager.reload(&guard);
    assert!(is_redirected(&client, OTHER_GID, 8333));
    assert!(!client.tables().contains(&UNGUARDED.to_owned()));
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert!(said.contains("not reloaded, the rules of before are put back: "), "{said}");
}

/// What is said of a guard that could not use its configuration is about the file as it is now.
#[test]
fn a_guard_that_refuses_says_why_it_was_not_reloaded() {
    let (client, _peer) = joined();
    let group = client.read_etc("group") + &format!("clients:x:{OTHER_GID}:\n");
    client.write_etc("group", &group);
    client.write_etc("config.toml", "prots = [8333]\n");
    let mut manager = Manager::new(&client);
    let guard = manager.start(&CONFIG);
    let refused = "STATUS=the configuration cannot be used, so all TCP of group bip324 but to this host is refused";
    assert!(manager.heard.last().unwrap().contains(&format!("{refused}: /etc/config.toml:1: ")));
    for (text, reason) in [
        ("group = \"nobody-has-it\"\n", "there is no group nobody-has-it: "),
        ("group = \"nobody-has-it\"\nprot = 1\n", "/etc/config.toml:2: unknown key `prot`"),
    ] {
        client.write_etc("config.toml", text);
        manager.reload(&guard);
        let said = manager.heard.last().unwrap();
        assert!(said.contains(refused) && !said.contains("prots"), "{said}");
        assert!(said.contains(&format!("; not reloaded: {reason}")), "{said}");
    }
    client.write_etc("config.toml", "group = \"clients\"\n");
    manager.reload(&guard);
    assert!(is_redirected(&client, OTHER_GID, 8333));
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert!(said.contains(&format!("warning: group bip324 (gid {GID}) is not refused any more")));
    for untrue in ["is not redirected any more", "nobody can be refused"] {
        assert!(!said.contains(untrue), "{said}");
    }
}

/// Where not even an acknowledgement arrives.
#[test]
fn a_reload_of_which_nothing_is_heard_is_undone_in_the_end() {
    let (client, _peer) = joined();
    client.write_etc("config.toml", "ports = [8333]\n");
    let mut manager = Manager::new(&client);
    let guard = manager.start(&CONFIG);
    let socket = manager.store[0].try_clone().unwrap();
    let deaf = Deaf::to_all_but(&socket, None);
    client.write_etc("config.toml", "ports = [18444]\n");
    manager.reload(&guard);
    drop(deaf);
    wait_until("the rules of before", || {
        is_redirected(&client, GID, 8333) && !is_redirected(&client, GID, 18444)
    });
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert!(said.contains("not reloaded, the rules of before are not put back yet: "), "{said}");
}

#[test]
fn a_reload_takes_another_group() {
    let (client, _peer) = joined();
    let group = client.read_etc("group") + &format!("clients:x:{OTHER_GID}:\n");
    client.write_etc("group", &group);
    client.write_etc("config.toml", "");
    let mut manager = Manager::new(&client);
    let guard = manager.start(&CONFIG);
    client.write_etc("config.toml", "group = \"clients\"\n");
    manager.reload(&guard);
    assert!(is_redirected(&client, OTHER_GID, 8333) && !is_redirected(&client, GID, 8333));
}

#[test]
fn the_command_line_comes_before_the_file() {
    let netns = Netns::new();
    netns.write_etc("config.toml", "ports = [18444]\ngroup = \"nobody-has-it\"\n");
    let mut manager = Manager::new(&netns);
    let given = ["--port", "48333", "--group", "bip324"];
    let _guard = manager.start(&[&CONFIG[..], &given].concat());
    assert!(netns.table().contains("elements = { 48333 }"));
}

#[test]
fn as_many_ports_as_there_can_be_fit_both_tables() {
    let netns = Netns::new();
    let ports: Vec<String> = (8000..8064).map(|port| format!("--port={port}")).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let mut manager = Manager::new(&netns);
    let guard = manager.start(&ports);
    guard.end(Signal::SIGTERM);
    manager.store.clear();
    wait_until("the block", || netns.tables() == ["inet bip324_block"]);
    assert!(netns.listing("bip324_block").contains("8063"));
}
