//! `bip324-run`: when it starts nothing, and what it says then.

use std::io::Write;
use std::process::Output;
use std::thread;

use crate::daemon::{BANNER, Daemon};
use crate::launch::{Install, MEMBER, NON_MEMBER, PACKAGED, RUN, launch, sound};
use crate::netns::{MALLORY, Netns, complaint, loopback};

/// A client that leaves a trace.
const CLIENT: [&str; 3] = ["sh", "-c", "echo started >/etc/home/trace"];

/// Runs the client by way of `caller`, who may write the trace.
fn attempt(netns: &Netns, install: &Install, caller: &[&str], options: &[&str]) -> Output {
    launch(netns, install, &[caller, &[RUN], options, &CLIENT].concat()).output().unwrap()
}

/// The client must not have run, the code be that, and what is said hold on one line all of `words`.
fn assert_refused(netns: &Netns, output: &Output, code: i32, words: &[&str]) {
    let said = complaint(output);
    assert!(!netns.has_etc("home/trace"), "the client was started: {said}");
    assert!(netns.has_etc("home"), "the program was not even installed: {said}");
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

#[test]
fn the_client_leaves_a_trace_where_nothing_is_wrong() {
    let (netns, _daemon) = sound();
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(netns.read_etc("home/trace"), "started\n");
}

#[test]
fn the_kernel_refuses_who_is_not_in_the_group() {
    let (netns, _daemon) = sound();
    let output = attempt(&netns, &PACKAGED, &NON_MEMBER, &[]);
    // env says so, as a shell would.
    assert_refused(&netns, &output, 126, &["env: ", RUN, "Permission denied"]);
}

#[test]
fn no_new_privs() {
    let (netns, _daemon) = sound();
    let caller = [&MEMBER[..], &["setpriv", "--no-new-privs", "--"]].concat();
    let output = attempt(&netns, &PACKAGED, &caller, &[]);
    assert_refused(&netns, &output, 77, &["no_new_privs is set here", "Group=bip324"]);
}

#[test]
fn a_nosuid_mount() {
    let (netns, _daemon) = sound();
    let nosuid = Install { mount: "nosuid", ..PACKAGED };
    let output = attempt(&netns, &nosuid, &MEMBER, &[]);
    assert_refused(&netns, &output, 77, &[RUN, "mounted nosuid", "sudo -g bip324"]);
}

#[test]
fn a_user_namespace_without_the_group() {
    let (netns, _daemon) = sound();
    netns.require_user_namespaces();
    let caller = [&MEMBER[..], &["unshare", "--user", "--"]].concat();
    let output = attempt(&netns, &PACKAGED, &caller, &[]);
    assert_refused(&netns, &output, 77, &["does not give this program the group bip324"]);
}

#[test]
fn no_set_group_id_bit() {
    let (netns, _daemon) = sound();
    // With 2705 the bit is set, and without effect.
    for (mode, caller) in [("755", MEMBER), ("755", NON_MEMBER), ("2705", NON_MEMBER)] {
        let output = attempt(&netns, &Install { mode, mount: "suid" }, &caller, &[]);
        let words = ["/etc/run/bip324-run is not set-group-ID bip324", "sudo chmod 2750"];
        assert_refused(&netns, &output, 77, &words);
    }
}

#[test]
fn root_is_refused_as_well() {
    let (netns, _daemon) = sound();
    let output = attempt(&netns, &Install { mode: "755", ..PACKAGED }, &[], &[]);
    assert_refused(&netns, &output, 77, &["is not set-group-ID bip324"]);
}

#[test]
fn another_group_than_the_programs() {
    let (netns, _daemon) = sound();
    for (group, code, words) in [
        ("alice", 77, "is not set-group-ID alice"),
        ("root", 78, "group root has gid 0"),
        ("no-such", 66, "there is no group no-such"),
    ] {
        let output = attempt(&netns, &PACKAGED, &MEMBER, &["--group", group]);
        assert_refused(&netns, &output, code, &[words]);
    }
}

#[test]
fn no_rules() {
    let (netns, _daemon) = sound();
    netns.setup_ok(&["down"]);
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    let words = ["127.0.0.1:324 is not redirected", "run `sudo bip324-setup up`"];
    assert_refused(&netns, &output, 78, &words);
}

#[test]
fn no_rule_for_one_family() {
    let (netns, _daemon) = sound();
    netns.expect(&["nft", "flush chain inet bip324 nat_output"]);
    let rule = "meta skgid bip324 ip daddr 127.0.0.1 tcp dport 324 dnat ip to 127.0.0.1:1324";
    netns.expect(&["nft", "add rule inet bip324 nat_output", rule]);
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    assert_refused(&netns, &output, 78, &["[::1]:324 is not redirected"]);
}

#[test]
fn no_daemon() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    let words = ["nothing listens on 127.0.0.1:1324", "start bip324-proxy"];
    assert_refused(&netns, &output, 69, &words);
}

/// It answers the canary as the daemon does, which anyone can.
#[test]
fn another_users_listener() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _stranger = Daemon::of(&netns, MALLORY);
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    assert_refused(&netns, &output, 65, &["127.0.0.1:1324 is held by user mallory"]);
}

#[test]
fn another_users_listener_on_ipv6_alone() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _daemon = Daemon::on(&netns, &[loopback(false, 1324)], BANNER);
    let _stranger = netns.listen(MALLORY, loopback(true, 1324));
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    assert_refused(&netns, &output, 65, &["[::1]:1324 is held by user mallory"]);
}

/// As any user can where net.ipv4.ip_unprivileged_port_start is 324 or less.
#[test]
fn another_users_answer_to_the_canary_while_there_are_no_rules() {
    let netns = Netns::new();
    let _daemon = Daemon::start(&netns, BANNER);
    for v6 in [false, true] {
        let stranger = netns.listen(MALLORY, loopback(v6, 324));
        // Ends with the test's process.
        thread::spawn(move || {
            while let Ok((mut client, _)) = stranger.accept() {
                let _ = client.write_all(BANNER.as_bytes());
            }
        });
    }
    let output = attempt(&netns, &PACKAGED, &MEMBER, &[]);
    assert_refused(&netns, &output, 65, &["127.0.0.1:324 is answered by another program", "ss -"]);
}

#[test]
fn no_more_descriptors() {
    let (netns, _daemon) = sound();
    // Four are enough to load a program, where the caller of the tests has left no more open.
    let limited = ["sh", "-c", r#"exec prlimit --nofile=4 -- "$@" 3<&-"#, "sh"];
    let caller = [&MEMBER[..], &limited].concat();
    let output = attempt(&netns, &PACKAGED, &caller, &[]);
    assert_refused(&netns, &output, 71, &["Too many open files"]);
}

#[test]
fn a_command_line_that_makes_no_sense() {
    let (netns, _daemon) = sound();
    for options in [&["--check"][..], &["--frobnicate"], &["--listen-port", "0"], &["--group", "7"]]
    {
        let output = attempt(&netns, &PACKAGED, &MEMBER, options);
        assert!(!netns.has_etc("home/trace"), "{options:?}");
        assert_eq!(output.status.code(), Some(64), "{options:?}: {}", complaint(&output));
    }
    let nothing = launch(&netns, &PACKAGED, &[&MEMBER[..], &[RUN]].concat()).output().unwrap();
    assert_eq!(nothing.status.code(), Some(64));
}
