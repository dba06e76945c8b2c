//! `bip324-run` as NixOS installs it: the program is as plain as all in the store, and a wrapper that is
//! set-group-ID executes it. A copy of env does what NixOS' wrapper does, and can set a variable.

use std::process::Output;

use crate::daemon::Daemon;
use crate::launch::{MEMBER, NON_MEMBER, RUN, sound};
use crate::netns::{Netns, complaint};

/// Mode 2510 is what `security.wrappers` makes of `u+rx,g+x,o-rwx`.
const INSTALL: &str = r#"
    mkdir -p /etc/run && mount -t tmpfs -o mode=755,suid tmpfs /etc/run &&
    install -m 555 "$0" /etc/run/bip324-run &&
    install -o root -g bip324 -m 2510 "$(command -v env)" /etc/run/wrapper && exec "$@"
"#;

/// Runs the wrapper by way of `caller`, with a variable and the program's arguments.
fn run(netns: &Netns, caller: &[&str], variable: &str, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_bip324-run");
    let wrapped = ["/etc/run/wrapper", variable, RUN];
    let words = [&["sh", "-c", INSTALL, program], caller, &wrapped, arguments].concat();
    netns.command(&words).output().unwrap()
}

fn printed(command: &[&str]) -> String {
    let (netns, _daemon): (Netns, Daemon) = sound();
    let output = run(&netns, &MEMBER, "TMPDIR=/nonexistent", command);
    assert!(output.status.success(), "{}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_wrapper_may_have_the_bit() {
    assert!(printed(&["--check"]).starts_with("clients run as group bip324 (gid 43240)"));
    let gids = printed(&["sh", "-c", "grep ^Gid: /proc/self/status; umask"]);
    assert_eq!(
        gids.split_whitespace().collect::<Vec<_>>(),
        ["Gid:", "43240", "43240", "43240", "43240", "0077"]
    );
}

/// ld.so takes from it what could be used against it, as from a program that has the bit itself.
#[test]
fn a_wrapped_program_trusts_the_environment_no_more() {
    assert_eq!(printed(&["sh", "-c", "echo ${TMPDIR-none}"]), "none\n");
}

#[test]
fn no_new_privs_is_told_through_a_wrapper() {
    let (netns, _daemon) = sound();
    let caller = [&MEMBER[..], &["setpriv", "--no-new-privs", "--"]].concat();
    let output = run(&netns, &caller, "A=b", &["--check"]);
    assert_eq!(output.status.code(), Some(77), "{}", complaint(&output));
    assert!(complaint(&output).contains("no_new_privs is set here"));
}

#[test]
fn a_wrapper_is_for_members() {
    let (netns, _daemon) = sound();
    let output = run(&netns, &NON_MEMBER, "A=b", &["--check"]);
    assert_eq!(output.status.code(), Some(126), "{}", complaint(&output));
}
