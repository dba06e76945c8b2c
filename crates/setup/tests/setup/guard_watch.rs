//! `guard` where it cannot own its table: it watches, and puts back what is changed.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::guard::{Guard, is, state};
use crate::guard_managed::netlink_socket;
use crate::manager::{Deaf, Manager};
use crate::netns::{GID, Netns, Owner, SETUP, complaint, loopback, wait_until};
use crate::redirect::{connect, listen};

/// The longest that a change may last.
const LIMIT: Duration = Duration::from_millis(100);

#[test]
fn the_rules_are_back_within_100_ms_of_a_flush() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &["--no-owner"]);
    let daemon = listen(&netns, loopback(false, 1324));
    let done = AtomicBool::new(false);
    let mut gaps = thread::scope(|scope| {
        // The canary is refused for as long as the rules are away.
        let canaries = scope.spawn(|| {
            netns.with_group(GID, || {
                let mut gaps = Vec::new();
                let mut refused: Option<Instant> = None;
                while !done.load(Ordering::Relaxed) || refused.is_some() {
                    match std::net::TcpStream::connect(loopback(false, 324)) {
                        Ok(_) => {
                            daemon.accept().unwrap();
                            gaps.extend(refused.take().map(|since| since.elapsed()));
                        }
                        Err(error) => {
                            // Reset where the rules went in the middle of the handshake.
                            let kinds = [ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset];
                            assert!(kinds.contains(&error.kind()), "{error}");
                            refused.get_or_insert_with(Instant::now);
                        }
                    }
                    // Else it would run out of ports.
                    thread::sleep(Duration::from_millis(1));
                }
                gaps
            })
        });
        for _ in 0..20 {
            netns.expect(&["nft", "flush ruleset"]);
            wait_until("the rules", || netns.tables() == ["inet bip324"]);
        }
        done.store(true, Ordering::Relaxed);
        canaries.join().unwrap()
    });
    println!("gaps that a client saw in 20 flushes: {gaps:?}");
    // Where a client saw none, there was hardly any; the longest ones tell how busy the machine is.
    gaps.resize(gaps.len().max(20), Duration::ZERO);
    gaps.sort_unstable();
    assert!(gaps[gaps.len() / 2] < LIMIT, "{gaps:?}");
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert!(said.contains("`nft flush ruleset` opens a gap of up to 100 ms"));
    let restored = said.matches("put the rules back: table inet bip324: is missing").count();
    assert_eq!(restored, 20, "{said}");
}

#[test]
fn every_change_is_put_back() {
    let netns = Netns::new();
    let _guard = Guard::start(&netns, &["--no-owner"]);
    let before = netns.table();
    for change in [
        "delete table inet bip324",
        "flush chain inet bip324 mark_output",
        "add rule inet bip324 nat_output accept",
        "delete element inet bip324 ports { 8333 }",
        "add element inet bip324 ports { 443 }",
        "add table inet bip324 { flags dormant; }",
        "add chain inet bip324 stray",
    ] {
        netns.expect(&["nft", change]);
        wait_until(change, || state(&netns) == is("watched", true));
        assert_eq!(netns.table(), before, "{change}");
    }
}

#[test]
fn changes_that_are_too_many_to_hear_of_are_noticed_all_the_same() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &["--no-owner"]);
    guard.signal(Signal::SIGSTOP);
    // Fills its socket first, so that the flush is what it does not hear of.
    let elements: Vec<String> = (1..=20_000).map(|number| number.to_string()).collect();
    let elements = elements.join(", ");
    netns.write_etc(
        "many",
        &format!(
            "add table inet other\nadd set inet other many {{ type mark; }}\n\
             add element inet other many {{ {elements} }}\n"
        ),
    );
    netns.expect(&["nft", "-f", "/etc/many"]);
    netns.expect(&["nft", "flush ruleset"]);
    assert!(netns.tables().is_empty());
    guard.signal(Signal::SIGCONT);
    wait_until("the rules", || state(&netns) == is("watched", true));
}

/// Such as a terminal that was stopped with Ctrl-S.
#[test]
fn rules_are_put_back_while_nobody_reads_what_it_says() {
    let netns = Netns::new();
    let full = "mkfifo /etc/full && exec 2<>/etc/full && \
        dd if=/dev/zero of=/etc/full bs=4096 oflag=nonblock 2>/dev/null; exec \"$@\"";
    let command = netns.command(&["sh", "-c", full, "sh", SETUP, "guard", "--no-owner"]);
    let _guard = Guard::start_by(&netns, command);
    for _ in 0..2 {
        netns.expect(&["nft", "flush ruleset"]);
        wait_until("the rules", || state(&netns) == is("watched", true));
    }
}

#[test]
fn a_block_put_beside_the_rules_is_removed() {
    let netns = Netns::new();
    let _guard = Guard::start(&netns, &["--no-owner"]);
    netns.expect(&["nft", "-f", &crate::rules::shipped("bip324-block.nft")]);
    wait_until("the block's end", || netns.tables() == ["inet bip324"]);
}

#[test]
fn rules_that_cannot_be_put_back_are_complained_of_once() {
    let netns = Netns::new();
    let mut manager = Manager::new(&netns);
    let socket = netlink_socket(&netns);
    manager.store.push(socket.try_clone().unwrap());
    let guard = manager.start(&["--no-owner"]);
    let deaf = Deaf::to_all_but(&socket, None);
    netns.expect(&["nft", "flush ruleset"]);
    let start = guard.sleeps();
    wait_until("many attempts", || guard.sleeps() > start + 20);
    drop(deaf);
    wait_until("the rules", || state(&netns) == is("watched", true));
    let said = complaint(&guard.end(Signal::SIGTERM));
    assert_eq!(said.matches("cannot put the rules back yet").count(), 1, "{said}");
    assert_eq!(said.matches("put the rules back: ").count(), 1, "{said}");
}

#[test]
fn it_ends_where_a_stranger_comes_to_own_the_table() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &["--no-owner"]);
    // While it cannot put its own back.
    guard.signal(Signal::SIGSTOP);
    netns.expect(&["nft", "delete table inet bip324"]);
    let _stranger = Owner::start(&netns);
    let output = guard.end(Signal::SIGCONT);
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains(", nft) owns table inet bip324: stop its process"), "{said}");
}

#[test]
fn it_sleeps_while_nothing_changes_and_while_others_change_theirs() {
    let netns = Netns::new();
    let guard = Guard::start(&netns, &["--no-owner"]);
    let daemon = listen(&netns, loopback(true, 1324));
    let before = guard.ticks();
    for _ in 0..50 {
        netns.expect(&["nft", "add table inet other; delete table inet other"]);
    }
    let _client = connect(&netns, GID, loopback(true, 324)).unwrap();
    daemon.accept().unwrap();
    // A hundredth of a second each.
    assert!(guard.ticks() - before < 10, "{} ticks", guard.ticks() - before);
}
