//! `guard`, as those see it who ask which one runs, and what any user can do to that.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Stdio;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use crate::guard::{Guard, is, state, status};
use crate::netns::{Netns, SETUP, complaint, wait_until};

/// In a user namespace of his own any user has every capability.
#[test]
fn an_ordinary_user_cannot_pose_as_a_guard() {
    let netns = Netns::new();
    netns.require_user_namespaces();
    let listen = "socket(S, AF_UNIX, SOCK_STREAM, 0) or die $!; \
        bind(S, pack_sockaddr_un(\"\\0bip324-setup-guard\")) or die $!; listen(S, 9) or die $!; sleep";
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups", "unshare", "--map-root-user"];
    let squatter = netns.command(&[&nobody[..], &["perl", "-MSocket", "-e", listen]].concat());
    let squatter = Guard::spawn(squatter);
    wait_until("the squatter", || netns.expect(&["ss", "-xlH"]).contains("@bip324-setup-guard"));
    assert_eq!(status(&netns).0["keeper"], serde_json::Value::Null);
    let guard = netns.command(&[SETUP, "guard"]);
    let guard = Guard::spawn(guard);
    wait_until("the rules", || state(&netns) == is("guarded", true));
    assert!(complaint(&guard.end(Signal::SIGTERM)).contains("another program has the unix socket"));
    netns.setup_ok(&["up"]);
    drop(squatter);
}

#[test]
fn it_sleeps_while_it_has_no_descriptor_for_those_who_ask() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &[]);
    let limit = |count: u32| {
        let (pid, limit) = (format!("--pid={}", guard.pid()), format!("--nofile={count}:"));
        netns.expect(&["prlimit", &pid, &limit]);
    };
    limit(3);
    let _asking = ask(&netns).unwrap();
    let before = guard.ticks();
    for _ in 0..50 {
        netns.expect(&["nft", "add table inet other; delete table inet other"]);
    }
    assert!(guard.ticks() - before < 10, "{} ticks", guard.ticks() - before);
    limit(1024);
    // The queue's length is the third column.
    wait_until("an answer", || {
        let listening = netns.expect(&["ss", "-xlH", "src", "@bip324-setup-guard"]);
        listening.split_whitespace().nth(2) == Some("0")
    });
}

#[test]
fn a_full_queue_does_not_hide_it() {
    let netns = with_short_queues();
    let guard = Guard::start(&netns, &[]);
    guard.signal(Signal::SIGSTOP);
    let mut queue = Vec::new();
    let full = loop {
        match ask(&netns) {
            Ok(asking) => queue.push(asking),
            Err(error) => break error,
        }
    };
    assert_eq!(full, Errno::EAGAIN);
    let mut status = netns.command(&[SETUP, "status", "--json"]);
    let status = status.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("status in the queue", || {
        let call = fs::read_to_string(format!("/proc/{}/syscall", status.id())).unwrap();
        call.starts_with(&format!("{} ", libc::SYS_connect))
    });
    guard.signal(Signal::SIGCONT);
    let said = status.wait_with_output().unwrap().stdout;
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["keeper"]["guard"], guard.pid());
}

/// As of a program that took the name and stands still.
#[test]
fn a_queue_that_stays_full_holds_nobody_up_for_ever() {
    let netns = with_short_queues();
    let guard = Guard::start(&netns, &[]);
    guard.signal(Signal::SIGSTOP);
    let _queue: Vec<OwnedFd> = std::iter::from_fn(|| ask(&netns).ok()).collect();
    let words = ["timeout", "8", SETUP, "status"];
    let output = netns.run(&words);
    assert!(output.status.success(), "{:?}: {}", output.status, complaint(&output));
}

/// A namespace in which queues are short: few descriptors fill one.
fn with_short_queues() -> Netns {
    let netns = Netns::new();
    netns.expect(&["sysctl", "-qw", "net.core.somaxconn=16"]);
    netns
}

/// Connects to the name of the guard, unless that would have to wait.
fn ask(netns: &Netns) -> nix::Result<OwnedFd> {
    netns.with_group(0, || {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let asking = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(asking.as_raw_fd(), &UnixAddr::new_abstract(b"bip324-setup-guard")?)?;
        Ok(asking)
    })
}
