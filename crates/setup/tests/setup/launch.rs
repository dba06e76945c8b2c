//! `bip324-run`, installed as a package installs it, and what the command gets from it.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};

use crate::daemon::{BANNER, Daemon};
use crate::netns::{Netns, complaint};

/// Alice, who has the clients' group as a supplementary one: what `usermod -aG` gives. (setpriv itself
/// still has capabilities when it executes something, and may execute anything; env has none.)
pub(crate) const MEMBER: [&str; 6] =
    ["setpriv", "--reuid=43242", "--regid=43242", "--groups=43240", "--", "env"];

/// Mallory, who is not in the clients' group.
pub(crate) const NON_MEMBER: [&str; 6] =
    ["setpriv", "--reuid=43244", "--regid=43244", "--clear-groups", "--", "env"];

/// How the program is installed.
pub(crate) struct Install {
    /// Its mode.
    pub(crate) mode: &'static str,
    /// Mount options of its file system.
    pub(crate) mount: &'static str,
}

/// As a package does.
pub(crate) const PACKAGED: Install = Install { mode: "2750", mount: "suid" };

const MAN_PAGE: &str = include_str!("../../../../packaging/man/bip324-run.1");

/// The program, as commands of [`launch`] see it.
pub(crate) const RUN: &str = "/etc/run/bip324-run";

/// Arguments: the program as built, mount options, its mode, the command to run. Whoever runs it may
/// write to /etc/home.
const INSTALL: &str = r#"
    mkdir -p /etc/run /etc/home && chmod 777 /etc/home &&
    mount -t tmpfs -o "mode=755,$1" tmpfs /etc/run &&
    install -o root -g bip324 -m "$2" "$0" /etc/run/bip324-run && shift 2 && exec "$@"
"#;

/// `words` in the namespace, where [`RUN`] is installed.
pub(crate) fn launch(netns: &Netns, install: &Install, words: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_bip324-run");
    let installed = ["sh", "-c", INSTALL, program, install.mount, install.mode];
    netns.command(&[&installed, words].concat())
}

/// Rules and a daemon: everything as it should be.
pub(crate) fn sound() -> (Netns, Daemon) {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let daemon = Daemon::start(&netns, BANNER);
    (netns, daemon)
}

/// Runs the program as a member, by way of `wrapper`, such as env.
fn run_through(netns: &Netns, wrapper: &[&str], arguments: &[&str]) -> Output {
    launch(netns, &PACKAGED, &[&MEMBER[..], wrapper, &[RUN], arguments].concat()).output().unwrap()
}

/// What a command prints that a member starts.
fn printed(netns: &Netns, command: &[&str]) -> Vec<u8> {
    printed_through(netns, &[], command)
}

fn printed_through(netns: &Netns, wrapper: &[&str], command: &[&str]) -> Vec<u8> {
    let output = run_through(netns, wrapper, command);
    assert!(output.status.success(), "{command:?}: {}", complaint(&output));
    assert_eq!(complaint(&output), "");
    output.stdout
}

fn text(printed: Vec<u8>) -> String {
    String::from_utf8(printed).unwrap()
}

#[test]
fn the_command_has_the_group_for_good_and_nothing_else_new() {
    let (netns, _daemon) = sound();
    let cat = ["cat", "/proc/self/status"];
    let before = launch(&netns, &PACKAGED, &[&MEMBER[..], &cat].concat()).output().unwrap();
    let [before, after] = [before.stdout, printed(&netns, &cat)].map(text);
    let line = |status: &str, name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in {status}")).trim().to_owned()
    };
    assert_eq!(line(&before, "Gid:"), "43242\t43242\t43242\t43242");
    assert_eq!(line(&after, "Gid:"), "43240\t43240\t43240\t43240");
    assert_eq!(line(&after, "Umask:"), "0077");
    // Rust's runtime ignores SIGPIPE: not the command.
    for same in ["Uid:", "Groups:", "CapPrm:", "CapBnd:", "NoNewPrivs:", "SigBlk:", "SigIgn:"] {
        assert_eq!(line(&before, same), line(&after, same), "{same}");
    }
    assert_eq!(line(&after, "CapPrm:"), "0000000000000000");
}

#[test]
fn the_command_is_no_set_group_id_process() {
    let (netns, _daemon) = sound();
    let vector = printed(&netns, &["cat", "/proc/self/auxv"]);
    let at_secure: Vec<_> = vector
        .chunks_exact(16)
        .map(|entry| [0, 8].map(|at| u64::from_ne_bytes(entry[at..at + 8].try_into().unwrap())))
        .filter_map(|[key, value]| (key == 23).then_some(value))
        .collect();
    assert_eq!(at_secure, [0], "the C library would distrust its environment");
}

#[test]
fn files_of_the_command_are_the_users_alone() {
    let (netns, _daemon) = sound();
    let script =
        "umask 022; exec \"$0\" sh -c 'umask; >/etc/home/wallet; stat -c %a:%g /etc/home/wallet'";
    let output = launch(&netns, &PACKAGED, &[&MEMBER[..], &["sh", "-c", script, RUN]].concat());
    let output = { output }.output().unwrap();
    assert_eq!(text(output.stdout.clone()), "0077\n600:43240\n", "{}", complaint(&output));
}

#[test]
fn connections_of_the_command_are_redirected() {
    let (netns, _daemon) = sound();
    let peer = Netns::new();
    netns.join(&peer);
    // Nothing listens at the peer: who gets through has reached the daemon.
    let dial = "exec 3<>/dev/tcp/203.0.113.2/8333 && exec 4<>/dev/tcp/fd00:b324::2/8333";
    printed(&netns, &["bash", "-c", dial]);
    let output = netns.run(&[&MEMBER[..], &["bash", "-c", dial]].concat());
    assert!(complaint(&output).contains("Connection refused"), "{}", complaint(&output));
}

#[test]
fn arguments_arrive_as_they_are() {
    let (netns, _daemon) = sound();
    let words: [&[u8]; 9] = [
        b"--check",
        b"--group",
        b"--",
        b"-x",
        b"",
        b"a b",
        b"new\nline",
        b"\xff\xfe",
        b"'\"$(id)\\",
    ];
    for before in [&[RUN][..], &[RUN, "--"], &[RUN, "--group", "bip324"]] {
        let to = [&MEMBER[..], before, &["printf", "%s\\0"]].concat();
        let mut command = launch(&netns, &PACKAGED, &to);
        let output = command.args(words.map(OsStr::from_bytes)).output().unwrap();
        assert_eq!(output.stdout, [&words.join(&0)[..], b"\0"].concat(), "{}", complaint(&output));
    }
}

#[test]
fn the_environment_arrives_but_for_what_is_unsafe_in_a_set_group_id_program() {
    let (netns, _daemon) = sound();
    let kept = [
        "PATH=/usr/bin:/bin",
        "WAYLAND_DISPLAY=wayland-0",
        "XDG_RUNTIME_DIR=/run/user/43242",
        "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/43242/bus",
        "DISPLAY=:0",
        "HOME=/home/alice",
        "RUST_BACKTRACE=1",
        "RUST_LOG=trace",
        "ODD= a=b\n\"",
        "TZ=UTC",
    ];
    // ld.so complains of an LD_DEBUG that it does not know before it removes it.
    let value = |name| if name == "LD_DEBUG" { "files" } else { "/nowhere" };
    let stripped = STRIPPED.map(|name| format!("{name}={}", value(name)));
    let mut wrapper = vec!["env", "-i"];
    wrapper.extend(stripped.iter().map(String::as_str));
    wrapper.extend(kept);
    let environment = printed_through(&netns, &wrapper, &["env", "-0"]);
    assert_eq!(text(environment), kept.map(|variable| format!("{variable}\0")).concat());
}

#[test]
fn the_man_page_names_what_is_unsafe() {
    let words: Vec<_> = MAN_PAGE.split([' ', ',', '\n']).collect();
    let missing: Vec<_> = STRIPPED.iter().filter(|name| !words.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_working_directory_stays() {
    let (netns, _daemon) = sound();
    let directory = printed_through(&netns, &["env", "-C", "/proc/sys/net"], &["/bin/pwd", "-P"]);
    assert_eq!(text(directory), "/proc/sys/net\n");
}

#[test]
fn the_command_is_found_in_the_callers_path() {
    let (netns, _daemon) = sound();
    let script = r#"
        printf '#!/bin/sh\necho "$0 was started"\n' >/etc/home/client && chmod +x /etc/home/client &&
        PATH=/nowhere:/etc/home:/usr/bin:/bin exec "$0" client
    "#;
    let started = printed_through(&netns, &["sh", "-c", script], &[]);
    assert_eq!(text(started), "/etc/home/client was started\n");
}

#[test]
fn no_descriptor_of_ours_reaches_the_command() {
    let (netns, _daemon) = sound();
    let list = ["ls", "/proc/self/fd"];
    let before = launch(&netns, &PACKAGED, &[&MEMBER[..], &list].concat()).output().unwrap();
    assert_eq!(text(printed(&netns, &list)), text(before.stdout));
}

/// No socket of ours takes the number of one that is closed. What does is of as little use: glibc opens
/// it the wrong way round in a set-group-ID program (csu/check_fds.c).
#[test]
fn closed_descriptors_stay_useless() {
    let (netns, _daemon) = sound();
    // In no shell: dash keeps copies of what it redirects.
    let list = "find /proc/self/fd -name '[012]' -fprintf /etc/home/list '%f %M %l\n'";
    let script = format!("exec {RUN} {list} <&- >&- 2>&-");
    printed_through(&netns, &["sh", "-c", &script], &[]);
    let listed = netns.read_etc("home/list");
    let mut lines: Vec<_> = listed.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["0 l-wx------ /dev/full", "1 lr-x------ /dev/null", "2 lr-x------ /dev/null"]
    );
}

#[test]
fn the_exit_code_is_the_commands() {
    let (netns, _daemon) = sound();
    let output = run_through(&netns, &[], &["sh", "-c", "exit 42"]);
    assert_eq!(output.status.code(), Some(42), "{}", complaint(&output));
}

#[test]
fn a_command_that_cannot_be_executed_gives_the_codes_of_env() {
    let (netns, _daemon) = sound();
    for (command, code, says) in [
        ("no-such-client", 127, "cannot find \"no-such-client\": check its name"),
        ("/etc/passwd", 126, "cannot run \"/etc/passwd\": check its name and its permissions"),
    ] {
        // Where a folder in PATH is barred to the user, the first could be there.
        let output = run_through(&netns, &["env", "PATH=/usr/bin:/bin"], &[command]);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{said}");
    }
}

#[test]
fn check_says_that_a_client_would_be_started() {
    let (netns, daemon) = sound();
    assert_eq!(
        text(printed(&netns, &["--check"])),
        "clients run as group bip324 (gid 43240) and reach bip324-proxy 9.8.7 \
         on 127.0.0.1:1324 (user _bip324) and [::1]:1324 (user _bip324)\n"
    );
    drop(daemon);
    let output = run_through(&netns, &[], &["--check"]);
    assert_eq!(output.status.code(), Some(69), "{}", complaint(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn roots_listener_is_accepted() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _daemon = Daemon::of(&netns, 0);
    let line = text(printed(&netns, &["--check"]));
    assert!(line.contains("127.0.0.1:1324 (user root) and [::1]:1324 (user root)"), "{line}");
}

#[test]
fn another_listen_port_is_proved_when_named() {
    let netns = Netns::new();
    netns.setup_ok(&["up", "--listen-port", "2000"]);
    let at = |ip: &str| format!("{ip}:2000").parse::<SocketAddr>().unwrap();
    let _daemon = Daemon::on(&netns, &[at(&Ipv4Addr::LOCALHOST.to_string()), at("[::1]")], BANNER);
    printed(&netns, &["--listen-port", "2000", "true"]);
    let output = run_through(&netns, &[], &["true"]);
    assert_eq!(output.status.code(), Some(78), "{}", complaint(&output));
}

#[test]
fn without_its_bit_it_works_for_who_has_the_group_already() {
    let (netns, _daemon) = sound();
    let plain = Install { mode: "755", mount: "suid" };
    let gid =
        ["setpriv", "--reuid=43242", "--regid=43240", "--clear-groups", "--", RUN, "id", "-g"];
    let login = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups"];
    let line = format!("{RUN} id -g");
    let sg = [&login[..], &["sg", "bip324", "-c", &line]].concat();
    for words in [&gid[..], &sg] {
        let output = launch(&netns, &plain, words).output().unwrap();
        assert_eq!(text(output.stdout.clone()), "43240\n", "{}", complaint(&output));
    }
}

/// What the glibc of Debian 12 takes away, and that of Debian 13 too, which takes more
/// (sysdeps/generic/unsecvars.h).
const STRIPPED: [&str; 21] = [
    "GCONV_PATH",
    "GETCONF_DIR",
    "HOSTALIASES",
    "LD_AUDIT",
    "LD_DEBUG",
    "LD_DEBUG_OUTPUT",
    "LD_DYNAMIC_WEAK",
    "LD_LIBRARY_PATH",
    "LD_ORIGIN_PATH",
    "LD_PRELOAD",
    "LD_PROFILE",
    "LD_SHOW_AUXV",
    "LOCALDOMAIN",
    "LOCPATH",
    "MALLOC_TRACE",
    "NIS_PATH",
    "NLSPATH",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "TMPDIR",
    "TZDIR",
];
