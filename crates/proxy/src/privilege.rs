//! Who the daemon runs as, and proof that it can do nothing else.

use std::io;

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::unistd::Group;
use thiserror::Error;

/// Why the daemon does not start.
#[derive(Debug, Error)]
pub enum Error {
    /// It was started as root.
    #[error("refusing to run as root: start it as a user of its own, such as _bip324")]
    Root,
    /// It was started in the clients' group, whose connections are redirected to it.
    #[error(
        "refusing to run as the clients' group (gid {0}), whose connections are redirected \
         here: start it with a group of its own, such as _bip324"
    )]
    ClientsGroup(u32),
    /// The group named on the command line is not there.
    #[error(
        "there is no group {0}: create it with `bip324-setup up --create-group --group {0}`, or mend \
         --group or `group` in the configuration"
    )]
    NoGroup(String),
    /// The system does not answer about groups.
    #[error("cannot look the group up: {0}")]
    GroupLookup(#[source] nix::Error),
    /// Capabilities could not be dropped.
    #[error("cannot drop capabilities: {0}")]
    Capabilities(#[source] caps::errors::CapsError),
    /// `no_new_privs` could not be set.
    #[error("cannot set no_new_privs: {0}")]
    NoNewPrivs(#[source] nix::Error),
    /// The process could not be made undumpable.
    #[error("cannot forbid core dumps: {0}")]
    Dumpable(#[source] nix::Error),
    /// `/proc` is not there or does not say what it should.
    #[error("cannot read {0} in /proc/self: {1}")]
    Proc(&'static str, #[source] io::Error),
    /// The process still has what was dropped.
    #[error("privileges are left ({0}): this is a bug")]
    Left(String),
}

/// The gid of the clients' group. Without a name it is `bip324`, which need not exist: then there
/// are no clients to be mistaken for.
///
/// # Errors
/// The named group does not exist.
pub fn clients_group(name: Option<&str>) -> Result<Option<u32>, Error> {
    let found = Group::from_name(name.unwrap_or(DEFAULT_GROUP)).map_err(Error::GroupLookup)?;
    match (found, name) {
        (Some(group), _) => Ok(Some(group.gid.as_raw())),
        (None, Some(name)) => Err(Error::NoGroup(name.to_owned())),
        (None, None) => Ok(None),
    }
}

/// Refuses root, and any identity whose connections the rules would redirect. Returns whether the
/// clients' group is among the supplementary ones, which is harmless but not meant.
///
/// # Errors
/// [`Error::Root`], [`Error::ClientsGroup`], or `/proc` cannot be read.
pub fn check_identity(clients: Option<u32>) -> Result<bool, Error> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| Error::Proc("status", error))?;
    judge_identity(&status, clients)
}

/// Gives up every capability and the ways to regain one, and proves it; and lets no other process
/// of the same user read this one's memory, nor a core dump keep it: session keys are in there. The
/// bounding set is cleared too where CAP_SETPCAP allows it; elsewhere `no_new_privs` alone keeps it
/// from being drawn on.
///
/// Threads inherit what the one has that starts them: there must be no other yet, which is proved,
/// too.
///
/// # Errors
/// [`Error::Left`], or the kernel refuses, which it does not for a process without privileges.
pub fn drop_all() -> Result<(), Error> {
    let dropped = || -> Result<bool, caps::errors::CapsError> {
        let bounding = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)?;
        if bounding {
            caps::clear(None, CapSet::Bounding)?;
        }
        for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            // Under systemd there is nothing to clear, and no permission to try.
            if !caps::read(None, set)?.is_empty() {
                caps::clear(None, set)?;
            }
        }
        Ok(bounding)
    };
    let bounding = dropped().map_err(Error::Capabilities)?;
    prctl::set_no_new_privs().map_err(Error::NoNewPrivs)?;
    prctl::set_dumpable(false).map_err(Error::Dumpable)?;
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|error| Error::Proc("status", error))?;
    judge_privileges(&status, bounding)
}

fn judge_identity(status: &str, clients: Option<u32>) -> Result<bool, Error> {
    // Real, effective, saved and file system id, each.
    if field(status, "Uid")?.any(|uid| uid == "0") {
        return Err(Error::Root);
    }
    let Some(clients) = clients else {
        return Ok(false);
    };
    let gid = clients.to_string();
    if field(status, "Gid")?.any(|found| found == gid) {
        return Err(Error::ClientsGroup(clients));
    }
    Ok(field(status, "Groups")?.any(|found| found == gid))
}

fn judge_privileges(status: &str, bounding: bool) -> Result<(), Error> {
    let sets = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
    for set in sets.into_iter().chain(bounding.then_some("CapBnd")) {
        let value: String = field(status, set)?.collect();
        if u64::from_str_radix(&value, 16) != Ok(0) {
            return Err(Error::Left(format!("{set} {value}")));
        }
    }
    for line in ["NoNewPrivs", "Threads"] {
        let value: String = field(status, line)?.collect();
        if value != "1" {
            return Err(Error::Left(format!("{line} {value}")));
        }
    }
    Ok(())
}

/// The values of one line of `/proc/PID/status` (proc_pid_status(5)).
pub(crate) fn field<'a>(
    status: &'a str,
    name: &'static str,
) -> Result<impl Iterator<Item = &'a str> + use<'a>, Error> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::split_whitespace)
        .ok_or_else(|| Error::Proc(name, io::ErrorKind::NotFound.into()))
}

const DEFAULT_GROUP: &str = "bip324";

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uid: &str, gid: &str, groups: &str, effective: &str, no_new_privs: &str) -> String {
        format!(
            "Name:\tbip324-proxy\nUid:\t{uid}\nGid:\t{gid}\nGroups:\t{groups} \n\
             CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t{effective}\n\
             CapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\nThreads:\t1\n\
             NoNewPrivs:\t{no_new_privs}\n"
        )
    }

    #[test]
    fn h2_the_clients_group_and_root_are_refused() {
        let judge = |uid, gid, groups, clients| {
            judge_identity(&status(uid, gid, groups, "0", "1"), clients)
        };
        assert!(matches!(judge("7 7 7 7", "8 8 8 8", "", Some(9)), Ok(false)));
        assert!(matches!(judge("7 7 7 7", "8 8 8 8", "", None), Ok(false)));
        assert!(matches!(judge("7 7 7 7", "8 8 8 8", "9 10", Some(9)), Ok(true)));
        assert!(matches!(judge("7 7 7 7", "8 8 8 8", "90", Some(9)), Ok(false)));
        for gid in ["9 8 8 8", "8 9 8 8", "8 8 9 8", "8 8 8 9"] {
            let refused = judge("7 7 7 7", gid, "", Some(9));
            assert!(matches!(refused, Err(Error::ClientsGroup(9))), "{gid}");
        }
        for uid in ["0 7 7 7", "7 0 7 7", "7 7 0 7", "7 7 7 0"] {
            assert!(matches!(judge(uid, "8 8 8 8", "", None), Err(Error::Root)), "{uid}");
        }
    }

    #[test]
    fn i6_privileges_left_are_found() {
        let judge = |effective, no_new_privs| {
            judge_privileges(&status("7", "8", "", effective, no_new_privs), false)
        };
        assert!(judge("0000000000000000", "1").is_ok());
        assert!(matches!(judge("0000000000001000", "1"), Err(Error::Left(_))));
        assert!(matches!(judge("0000000000000000", "0"), Err(Error::Left(_))));
        assert!(matches!(judge("nonsense", "1"), Err(Error::Left(_))));

        let threads = status("7", "8", "", "0", "1").replace("Threads:\t1", "Threads:\t2");
        assert!(matches!(judge_privileges(&threads, false), Err(Error::Left(_))));

        let bounded = status("7", "8", "", "0000000000000000", "1");
        assert!(matches!(judge_privileges(&bounded, true), Err(Error::Left(_))));
        assert!(judge_privileges(&bounded.replace("1ffffffffff", "00000000000"), true).is_ok());
    }

    #[test]
    fn a_status_without_the_line_is_an_error() {
        assert!(matches!(judge_privileges("Name:\tx\n", false), Err(Error::Proc("CapInh", _))));
        assert!(matches!(judge_identity("", None), Err(Error::Proc("Uid", _))));
    }

    #[test]
    fn a_named_group_must_exist() {
        assert!(matches!(clients_group(Some("root")), Ok(Some(0))));
        assert!(matches!(clients_group(Some("no-such-group")), Err(Error::NoGroup(_))));
    }
}
