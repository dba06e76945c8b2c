//! The clients' group: its name, its gid, and which groups it may not be.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::process::{Command, Stdio};

pub use bip324_config::GroupName;
use nix::unistd::{Group as Entry, User, getegid, getgroups, setresgid};

/// User that the daemon runs as; its primary group is never the clients'.
pub const DAEMON_USER: &str = "_bip324";

/// Id of a group that clients may run as: neither 0 nor the daemon's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Gid(u32);

/// An existing group.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// Its name.
    #[serde(serialize_with = "name_as_str")]
    pub name: GroupName,
    /// Its id.
    pub gid: Gid,
    /// Users who have it as a supplementary group, as /etc/group lists them.
    pub members: Vec<String>,
}

/// How this process stands to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// The group is the effective one: new sockets carry it.
    Effective,
    /// The group is only supplementary: new sockets do not carry it.
    Supplementary,
    /// Not in the group.
    None,
}

/// Why a group cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such group.
    #[error(
        "there is no group {0}: run `sudo groupadd --system {0}`, \
         or add --create-group to the arguments of `bip324-setup up`"
    )]
    Missing(GroupName),
    /// gid 0: everything that root starts would be redirected.
    #[error("group {0} has gid 0, root's own: choose another with --group")]
    Root(GroupName),
    /// The daemon's connections would be redirected to itself.
    #[error(
        "group {0} is the primary group of {DAEMON_USER}, the daemon's user, whose own connections would come back to it: choose another with --group"
    )]
    Daemon(GroupName),
    /// The group database could not be read.
    #[error("cannot look up group {0}")]
    Lookup(GroupName, #[source] nix::Error),
    /// groupadd could not be started.
    #[error("cannot run groupadd (Debian package passwd)")]
    Spawn(#[source] io::Error),
    /// groupadd failed and the group is still missing.
    #[error("groupadd did not create group {0}: {1}")]
    Create(GroupName, String),
    /// The group list or the gid of this process could not be read or set.
    #[error("cannot take on group {0}")]
    Switch(GroupName, #[source] nix::Error),
}

impl Group {
    /// Finds the group and refuses gid 0 and the daemon's own group.
    ///
    /// # Errors
    /// When it does not exist, cannot be looked up or is one of the refused two.
    pub fn resolve(name: &GroupName) -> Result<Self, Error> {
        let lookup_error = |error| Error::Lookup(name.clone(), error);
        let entry = Entry::from_name(name.as_str()).map_err(lookup_error)?;
        let entry = entry.ok_or_else(|| Error::Missing(name.clone()))?;
        let daemon = User::from_name(DAEMON_USER).map_err(lookup_error)?;
        let gid = Gid::for_clients(name, entry.gid.as_raw(), daemon.map(|user| user.gid.as_raw()))?;
        Ok(Self { name: name.clone(), gid, members: entry.mem })
    }

    /// The group with this id, if there is one that clients may run as.
    #[must_use]
    pub fn of_gid(raw: u32) -> Option<Self> {
        let entry = Entry::from_gid(nix::unistd::Gid::from_raw(raw)).ok().flatten()?;
        Self::resolve(&entry.name.parse().ok()?).ok()
    }

    /// Creates the group as a system group unless it exists, then resolves it.
    ///
    /// # Errors
    /// As [`Group::resolve`]; when groupadd is missing or fails.
    pub fn resolve_or_create(name: &GroupName) -> Result<Self, Error> {
        match Self::resolve(name) {
            Err(Error::Missing(_)) => {}
            resolved => return resolved,
        }
        let output = Command::new("groupadd")
            .args(["--system", name.as_str()])
            .env("PATH", path_with_sbin())
            .stdin(Stdio::null())
            .output()
            .map_err(Error::Spawn)?;
        match Self::resolve(name) {
            // Whoever created it in the meantime: it is there.
            Err(Error::Missing(_)) => {
                let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(Error::Create(name.clone(), reason))
            }
            resolved => resolved,
        }
    }

    /// How this process stands to the group.
    ///
    /// # Errors
    /// When the kernel does not tell the supplementary groups.
    pub fn membership(&self) -> Result<Membership, Error> {
        let gid = nix::unistd::Gid::from_raw(self.gid.as_raw());
        if getegid() == gid {
            return Ok(Membership::Effective);
        }
        let groups = getgroups().map_err(|error| Error::Switch(self.name.clone(), error))?;
        Ok(if groups.contains(&gid) { Membership::Supplementary } else { Membership::None })
    }

    /// Makes the group this process's real, effective, saved and fs group. Needs `CAP_SETGID`
    /// unless it is one of them already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn switch_to(&self) -> Result<(), Error> {
        let gid = nix::unistd::Gid::from_raw(self.gid.as_raw());
        setresgid(gid, gid, gid).map_err(|error| Error::Switch(self.name.clone(), error))
    }
}

impl Gid {
    fn for_clients(name: &GroupName, raw: u32, daemon: Option<u32>) -> Result<Self, Error> {
        match raw {
            0 => Err(Error::Root(name.clone())),
            raw if Some(raw) == daemon => Err(Error::Daemon(name.clone())),
            raw => Ok(Self(raw)),
        }
    }

    /// The number.
    #[must_use]
    pub const fn as_raw(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller's PATH, then the places of groupadd that `su` leaves out.
fn path_with_sbin() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

fn name_as_str<S: serde::Serializer>(name: &GroupName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_and_the_daemons_gid_are_refused() {
        let name: GroupName = "g".parse().unwrap();
        assert!(matches!(Gid::for_clients(&name, 0, None), Err(Error::Root(_))));
        assert!(matches!(Gid::for_clients(&name, 7, Some(7)), Err(Error::Daemon(_))));
        assert_eq!(Gid::for_clients(&name, 7, Some(8)).unwrap().as_raw(), 7);
    }
}
