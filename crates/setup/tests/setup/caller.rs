//! Who may run the program: capabilities, and what is said of the group.

use std::fs;
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, write};

use crate::netns::{GID, Netns, SETUP, UNPRIVILEGED, complaint, wait_until};

const NET_ADMIN: u64 = 1 << 12;

#[test]
fn without_net_admin_each_command_that_needs_it_says_so() {
    let netns = Netns::new();
    for command in ["up", "down", "status"] {
        let output = netns.run(&[&UNPRIVILEGED[..], &[SETUP, command]].concat());
        assert_eq!(output.status.code(), Some(77));
        let said = complaint(&output);
        assert!(said.contains("needs CAP_NET_ADMIN: run this as root"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn net_admin_alone_is_enough_for_an_ordinary_user() {
    let netns = Netns::new();
    let caps = ["--inh-caps=+net_admin", "--ambient-caps=+net_admin"];
    let caller = ["setpriv", "--reuid=43242", "--regid=43242", "--clear-groups"];
    for command in ["up", "status", "down"] {
        netns.expect(&[&caller[..], &caps, &["--", SETUP, command]].concat());
    }
}

#[test]
fn everything_but_net_admin_is_dropped() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    // It writes last, and into a full pipe: there it stays while it is looked at.
    for (command, permitted) in [("status", NET_ADMIN), ("up", NET_ADMIN)] {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).unwrap();
        fill(&writer);
        let mut child = netns.command(&[SETUP, command]).stdout(writer).spawn().unwrap();
        wait_until("the program to write", || {
            fs::read_to_string(format!("/proc/{}/wchan", child.id()))
                .is_ok_and(|place| place.contains("pipe_write"))
        });
        let tasks: Vec<_> = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap().collect();
        assert_eq!(tasks.len(), 1);
        for task in tasks {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            assert_eq!(set(&status, "CapPrm"), permitted, "{status}");
            assert_eq!(set(&status, "CapBnd"), 0, "{status}");
            for empty in ["CapInh", "CapEff", "CapAmb"] {
                assert_eq!(set(&status, empty), 0, "{status}");
            }
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        }
        drop(reader);
        child.wait().unwrap();
    }
}

#[test]
fn processes_end_with_their_namespace() {
    let netns = Netns::new();
    let mut sleeper = netns.command(&["sleep", "60"]).spawn().unwrap();
    // Until it has entered, it is not of the namespace.
    wait_until("the sleeper", || {
        fs::read_to_string(format!("/proc/{}/comm", sleeper.id())).is_ok_and(|c| c == "sleep\n")
    });
    drop(netns);
    wait_until("the sleeper's end", || sleeper.try_wait().unwrap().is_some());
}

fn fill(pipe: &OwnedFd) {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL).unwrap());
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    while write(pipe, &[0; 4096]).is_ok() {}
    fcntl(pipe, FcntlArg::F_SETFL(flags)).unwrap();
}

fn set(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line.split('\t').nth(1).unwrap(), 16).unwrap()
}

#[test]
fn a_missing_group_is_created_on_request_only() {
    let netns = Netns::new();
    let output = netns.setup(&["up", "--group", "fresh"]);
    assert_eq!(output.status.code(), Some(66));
    let said = complaint(&output);
    assert!(said.contains("add --create-group"), "{said}");
    assert!(!netns.read_etc("group").contains("fresh"));

    // That remedy, twice: the second time the group exists.
    for _ in 0..2 {
        netns.setup_ok(&["up", "--create-group", "--group", "fresh"]);
    }
    let groups = netns.read_etc("group");
    let entry = groups.lines().find(|line| line.starts_with("fresh:")).unwrap();
    let gid: u32 = entry.split(':').nth(2).unwrap().parse().unwrap();
    assert!(gid < 1000, "not a system group: {entry}");
    assert!(netns.table().contains(&format!("meta skgid {gid} ")));
}

#[test]
fn without_net_admin_no_group_is_created() {
    let netns = Netns::new();
    let caller = ["setpriv", "--bounding-set=-net_admin", "--"];
    let up = [SETUP, "up", "--create-group", "--group", "fresh"];
    let output = netns.run(&[&caller[..], &up].concat());
    assert_eq!(output.status.code(), Some(77), "{}", complaint(&output));
    assert!(!netns.read_etc("group").contains("fresh"));
}

#[test]
fn groups_that_would_loop_or_catch_everything_are_refused() {
    let netns = Netns::new();
    netns.write_etc("passwd", &format!("root:x:0:0::/:/bin/sh\n_bip324:x:500:{GID}::/:/bin/sh\n"));
    for (group, reason) in [
        ("root", "group root has gid 0"),
        ("bip324", "group bip324 is the primary group of _bip324"),
    ] {
        for command in ["up", "check"] {
            let output = netns.setup(&[command, "--group", group]);
            assert_eq!(output.status.code(), Some(78));
            assert!(complaint(&output).contains(reason), "{}", complaint(&output));
        }
    }
    assert_eq!(netns.expect(&["nft", "list", "tables"]), "");
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let netns = Netns::new();
    for arguments in [
        &["sideways"][..],
        &["up", "--port", "0"],
        &["up", "--port", "65536"],
        &["up", "--port", "1324"],
        &["up", "--group", "x\"; flush ruleset"],
        &["status", "--listen-port", "8333"],
        &[],
    ] {
        let output = netns.setup(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!complaint(&output).is_empty());
    }
    assert!(netns.setup_ok(&["--help"]).contains("check"));
}
