//! `bip324-run`: becomes the clients' group for good, proves the redirect, and becomes the command.
//! The proof is [`reach_daemon`](crate::check::reach_daemon), which `bip324-setup check` makes too.
//!
//! The program is installed set-group-ID (root:bip324, mode 2750), so its caller chooses everything
//! about the process but the code. What it may not trust, and why nothing depends on it:
//!
//! - **Whether it has the group.** The kernel ignores the bit, silently, under `no_new_privs`, on a
//!   nosuid mount, in a user namespace without the gid, and on older kernels under a debugger. So
//!   [`take_on`] asks for the effective gid first. Capabilities are neither held nor asked for.
//! - **The environment.** ld.so has removed what steers the C library (`AT_SECURE`); of the rest, no
//!   variable is read here but `PATH`, by `execvp`, to find a command that runs with the caller's own
//!   rights. (The standard library reads `RUST_BACKTRACE`, for a panic; clap the terminal's colours.)
//!   No configuration file is read either.
//! - **Descriptors 0 to 2.** Those that are closed are opened before `main`, so that no socket of ours
//!   becomes the command's standard output: as /dev/full and /dev/null, the wrong way round, by glibc
//!   where the bit counted, else as /dev/null by Rust's runtime. Ours are all close-on-exec.
//! - **Limits and signals.** They can end this process early, or stop it for long; the exec comes last,
//!   after every check, so that nothing is started then.
//! - **A debugger.** None can attach: until its exec the process is not dumpable. One that was there
//!   before is a member's, and sees no more than a member may do anyway.
//! - **Arguments.** From the command's name on they are the command's, not looked at.
//!
//! The checks prove a moment. What holds afterwards is the rules, which reset what they cannot
//! redirect, and the guard that keeps them.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, getegid, getresgid, setfsgid};

use crate::group::{self, Group, GroupName};

/// Why the command was not started.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The group is missing, refused, or not to be taken on.
    #[error(transparent)]
    Group(#[from] group::Error),
    /// A sandbox forbids new privileges, a set-group-ID bit among them.
    #[error(
        "no_new_privs is set here, so the kernel does not give this program the group {0}: \
         start it outside of the sandbox or service that set it, or give that service Group={0}"
    )]
    NoNewPrivs(GroupName),
    /// The program has no set-group-ID bit, or belongs to another group.
    #[error(
        "{program} is not set-group-ID {group}: run `sudo chgrp {group} {program}` and \
         `sudo chmod 2750 {program}`, or start it with `sudo -g {group}`"
    )]
    NotSetgid {
        /// Path of this program.
        program: String,
        /// The group that it should belong to.
        group: GroupName,
    },
    /// The program lies in the Nix store, where a wrapper with the bit should have started it.
    #[error(
        "{program} is not set-group-ID, as nothing is in the Nix store: start its wrapper, \
         /run/wrappers/bin/bip324-run (services.bip324-proxy.launcher.enable), and that without a \
         debugger and outside of a user namespace; or start it with `sudo -g {group}`"
    )]
    InStore {
        /// Path of this program.
        program: String,
        /// The group that it should have got.
        group: GroupName,
    },
    /// The program lies on a mount that ignores the set-group-ID bit.
    #[error(
        "{program} lies on a file system that is mounted nosuid, so it does not get the group \
         {group}: install it on another, or start it with `sudo -g {group}`"
    )]
    NoSuid {
        /// Path of this program.
        program: String,
        /// The group that it should have got.
        group: GroupName,
    },
    /// The set-group-ID bit was ignored for another reason.
    #[error(
        "the kernel does not give this program the group {0}: \
         start it without a debugger (strace, gdb) and outside of a user namespace"
    )]
    Withheld(GroupName),
    /// The kernel reports other gids than were set.
    #[error("group {0} was not taken on: the kernel reports another one")]
    NotTaken(GroupName),
    /// There is no such command.
    #[error("cannot find {0:?}: check its name and PATH, or give its path")]
    NotFound(OsString, #[source] io::Error),
    /// The command is there and cannot be executed.
    #[error("cannot run {0:?}: check its name and its permissions")]
    NotExecutable(OsString, #[source] io::Error),
}

/// Leaves this process with the group as its real, effective, saved and fs group, and with a umask
/// of 077: other members of the group are not to read or write what the command creates. Its
/// supplementary groups stay.
///
/// # Errors
/// When the group is not the effective one already, with what to do about it.
pub fn take_on(name: &GroupName) -> Result<Group, Refusal> {
    let group = Group::resolve(name)?;
    let gid = Gid::from_raw(group.gid.as_raw());
    if getegid() != gid {
        return Err(why_withheld(group));
    }
    group.switch_to()?;
    verify(&group, gid)?;
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    Ok(group)
}

/// Becomes the command: same process, working directory, environment and descriptors. Rust's
/// runtime ignores SIGPIPE; the command gets its default action.
///
/// # Errors
/// Only returns when the kernel refuses.
pub fn become_command(program: &OsStr, arguments: &[OsString]) -> Result<Infallible, Refusal> {
    let error = Command::new(program).args(arguments).exec();
    let program = program.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Err(Refusal::NotFound(program, error)),
        _ => Err(Refusal::NotExecutable(program, error)),
    }
}

/// Asks the kernel for all four gids. Setting the fs gid to what it is tells what it is.
fn verify(group: &Group, gid: Gid) -> Result<(), Refusal> {
    let is = getresgid().map_err(|error| group::Error::Switch(group.name.clone(), error))?;
    if [is.real, is.effective, is.saved, setfsgid(gid)] == [gid; 4] {
        Ok(())
    } else {
        Err(Refusal::NotTaken(group.name.clone()))
    }
}

/// Why this program runs without its group, as far as it can be told.
fn why_withheld(group: Group) -> Refusal {
    let Group { name: group, gid, .. } = group;
    if prctl::get_no_new_privs().unwrap_or(false) {
        return Refusal::NoNewPrivs(group);
    }
    let program = std::env::current_exe()
        .map_or_else(|_| "bip324-run".to_owned(), |path| path.display().to_string());
    let is_setgid = |file: fs::Metadata| {
        file.mode() & SETGID == SETGID && [gid.as_raw(), UNMAPPED].contains(&file.gid())
    };
    if !fs::metadata(THIS_PROGRAM).is_ok_and(is_setgid) {
        return not_setgid(program, group);
    }
    if statvfs(THIS_PROGRAM).is_ok_and(|mount| mount.flags().contains(FsFlags::ST_NOSUID)) {
        return Refusal::NoSuid { program, group };
    }
    Refusal::Withheld(group)
}

fn not_setgid(program: String, group: GroupName) -> Refusal {
    if program.starts_with("/nix/store/") {
        Refusal::InStore { program, group }
    } else {
        Refusal::NotSetgid { program, group }
    }
}

const THIS_PROGRAM: &str = "/proc/self/exe";

/// The kernel honours the bit only on a file that the group may execute (`bprm_fill_uid`, fs/exec.c).
const SETGID: u32 = 0o2010;

/// What a user namespace shows for a gid that it does not map (/proc/sys/kernel/overflowgid).
const UNMAPPED: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_one_that_the_file_system_allows() {
        let said = |program: &str| not_setgid(program.to_owned(), GroupName::default()).to_string();
        assert!(said("/usr/bin/bip324-run").contains("`sudo chmod 2750 /usr/bin/bip324-run`"));
        let in_store = said("/nix/store/0a-bip324-proxy/bin/bip324-run");
        assert!(in_store.contains("start its wrapper, /run/wrappers/bin/bip324-run"), "{in_store}");
        assert!(!in_store.contains("chmod"), "{in_store}");
    }
}
