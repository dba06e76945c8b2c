//! Capabilities: what must be held, and proof that nothing else is.
//!
//! The types see to it that everything else is gone before nftables hears of us: each function that
//! sends it a message takes a [`NetAdmin`], and the only way to one is [`NetAdmin::keep_only`], which
//! drops the rest and reads back that it is dropped.

use std::fs;
use std::io;

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl;

/// Proof that this process has `CAP_NET_ADMIN` permitted, and no capability in any other set.
#[derive(Debug)]
pub struct NetAdmin {
    /// Not the one that the caller left, where that could not be changed.
    bounding_emptied: bool,
}

/// Why the capabilities are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The one capability that the rules need is missing.
    #[error(
        "changing or reading the rules needs CAP_NET_ADMIN: run this as root, for example with sudo"
    )]
    NetAdminMissing,
    /// A capability set could not be read or changed.
    #[error("cannot change this process's capabilities")]
    Capabilities(#[from] CapsError),
    /// `PR_SET_NO_NEW_PRIVS` failed.
    #[error("cannot set no_new_privs")]
    NoNewPrivs(#[source] nix::Error),
    /// /proc/self/task could not be read.
    #[error("cannot verify that capabilities were dropped: /proc/self/task is not readable")]
    Proc(#[source] io::Error),
    /// A thread exists already and has kept what this one gave up.
    #[error("a second thread exists, whose capabilities were not dropped")]
    SecondThread,
    /// The kernel reports something else than was asked for.
    #[error("capabilities were not dropped: the kernel reports {0}")]
    NotDropped(String),
}

/// Checks, without changing anything, that the rules can be changed.
///
/// # Errors
/// [`Error::NetAdminMissing`], with what to do.
pub fn require_net_admin() -> Result<(), Error> {
    if holds_net_admin()? { Ok(()) } else { Err(Error::NetAdminMissing) }
}

/// Whether this process may read the rules.
///
/// # Errors
/// When the kernel does not tell.
pub fn holds_net_admin() -> Result<bool, Error> {
    Ok(caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_ADMIN)?)
}

/// Whether another process may change the rules, as far as /proc tells.
#[must_use]
pub fn process_holds_net_admin(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    set_of(&status, "CapPrm:").is_some_and(|set| set & Capability::CAP_NET_ADMIN.bitmask() != 0)
}

/// Whether this process may take on any group.
///
/// # Errors
/// When the kernel does not tell.
pub fn may_switch_group() -> Result<bool, Error> {
    Ok(caps::has_cap(None, CapSet::Effective, Capability::CAP_SETGID)?)
}

impl NetAdmin {
    /// Gives up every capability but `CAP_NET_ADMIN`, which stays permitted and is not effective.
    /// Call it before a second thread exists.
    ///
    /// # Errors
    /// When it is not permitted, or when the result cannot be proved.
    pub fn keep_only() -> Result<Self, Error> {
        require_net_admin()?;
        let bounding_emptied = reduce_to(Some(Capability::CAP_NET_ADMIN))?;
        Ok(Self { bounding_emptied })
    }

    /// Whether the bounding set is empty. To change it takes `CAP_SETPCAP`; where that lacked,
    /// no_new_privs alone sees to it that nothing is gained by executing a file.
    #[must_use]
    pub const fn bounding_emptied(&self) -> bool {
        self.bounding_emptied
    }

    /// Runs `send` with `CAP_NET_ADMIN` effective. The kernel checks the sender of each netlink
    /// message (`netlink_net_capable` in net/netfilter/nfnetlink.c), so nothing else needs it.
    ///
    /// # Errors
    /// When the capability cannot be raised or lowered.
    pub fn raised<T>(&self, send: impl FnOnce() -> T) -> Result<T, Error> {
        caps::raise(None, CapSet::Effective, Capability::CAP_NET_ADMIN)?;
        let sent = send();
        caps::clear(None, CapSet::Effective)?;
        Ok(sent)
    }
}

/// Gives up every capability. Call it before a second thread exists.
///
/// # Errors
/// When the result cannot be proved.
pub fn drop_all() -> Result<(), Error> {
    reduce_to(None).map(drop)
}

/// Leaves `kept` permitted; empties every other set. Tells whether that includes the bounding set.
fn reduce_to(kept: Option<Capability>) -> Result<bool, Error> {
    let kept: CapsHashSet = kept.into_iter().collect();
    // Without CAP_SETPCAP the bounding set is the caller's to keep; no_new_privs makes it moot.
    let bounding = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)?;
    if bounding {
        for capability in caps::runtime::thread_all_supported() {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    caps::clear(None, CapSet::Effective)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    prctl::set_no_new_privs().map_err(Error::NoNewPrivs)?;
    verify(kept.iter().map(Capability::bitmask).sum(), bounding)?;
    Ok(bounding)
}

/// Reads back what the kernel says of every thread of this process.
fn verify(permitted: u64, bounding: bool) -> Result<(), Error> {
    let tasks: Vec<_> =
        fs::read_dir("/proc/self/task").and_then(Iterator::collect).map_err(Error::Proc)?;
    let [task] = tasks.as_slice() else {
        return Err(Error::SecondThread);
    };
    let status = fs::read_to_string(task.path().join("status")).map_err(Error::Proc)?;
    verify_status(&status, permitted, bounding)
}

fn verify_status(status: &str, permitted: u64, bounding: bool) -> Result<(), Error> {
    let expected = [
        ("CapInh:", Some(0)),
        ("CapPrm:", Some(permitted)),
        ("CapEff:", Some(0)),
        ("CapBnd:", bounding.then_some(0)),
        ("CapAmb:", Some(0)),
    ];
    for (name, expected) in expected {
        // An unreadable line is as bad as a wrong one.
        let set = set_of(status, name);
        let as_expected = |set| expected.is_none_or(|expected| expected == set);
        if !set.is_some_and(as_expected) {
            let set = set.map_or_else(|| "nothing".to_owned(), |set| format!("{set:#x}"));
            return Err(Error::NotDropped(format!("{name} {set}")));
        }
    }
    Ok(())
}

/// A set of capabilities that /proc/PID/status tells.
fn set_of(status: &str, name: &str) -> Option<u64> {
    let text = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(text.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NET_ADMIN: u64 = 1 << 12;

    fn status(sets: [u64; 5]) -> String {
        let names = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        let lines = names.iter().zip(sets).map(|(name, set)| format!("{name}:\t{set:016x}\n"));
        format!("Name:\tx\nThreads:\t1\n{}NoNewPrivs:\t1\n", lines.collect::<String>())
    }

    #[test]
    fn what_was_asked_for_is_accepted() {
        let text = status([0, NET_ADMIN, 0, 0, 0]);
        verify_status(&text, NET_ADMIN, true).unwrap();
    }

    #[test]
    fn each_set_is_looked_at() {
        for set in 0..5 {
            let mut sets = [0, NET_ADMIN, 0, 0, 0];
            sets[set] |= 1;
            let error = verify_status(&status(sets), NET_ADMIN, true).unwrap_err();
            assert!(matches!(error, Error::NotDropped(_)), "set {set}: {error}");
        }
    }

    #[test]
    fn the_bounding_set_counts_only_where_it_could_be_changed() {
        let text = status([0, 0, 0, u64::MAX, 0]);
        verify_status(&text, 0, false).unwrap();
        verify_status(&text, 0, true).unwrap_err();
    }

    #[test]
    fn a_missing_line_is_an_error() {
        verify_status("Name:\tx\n", 0, false).unwrap_err();
    }
}
