//! What is in force, as the kernel says it and as attempts show it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::thread;

use super::{Error, Sandbox, apply, attempt, landlock, seccomp};
use crate::privilege;

/// What [`status`] found. Displays as lines of a name and what there is to say.
#[derive(Debug)]
pub struct Status {
    sandbox: Sandbox,
    readable: Vec<PathBuf>,
    /// `/proc/self/status`, read with the sandbox in force.
    process: String,
    /// What was attempted, and whether it was refused.
    attempts: Vec<(&'static str, bool)>,
}

/// Applies the sandbox as the daemon does, which is for good, with the same `readable`, and
/// looks at it from a new thread.
/// [`drop_all`](privilege::drop_all) must come before.
///
/// # Errors
/// As [`apply`], or `/proc` cannot be read.
pub fn status(readable: Vec<PathBuf>) -> Result<Status, Error> {
    // It cannot be opened afterwards, but the kernel writes this anew for each reader.
    let mut file = File::open("/proc/self/status")?;
    let sandbox = apply(&readable)?;
    let mut process = String::new();
    file.read_to_string(&mut process)?;
    let attempts = thread::Builder::new().spawn(attempt::all)?;
    let attempts = attempts.join().map_err(|_| io::Error::other("an attempt panicked"))?;
    Ok(Status { sandbox, readable, process, attempts })
}

impl Status {
    /// Whether all is in force that this kernel has.
    pub fn is_complete(&self) -> bool {
        let filtered = !self.sandbox.seccomp || self.field("Seccomp") == FILTER;
        // Without the filter Landlock alone refuses only some.
        let refused = !self.sandbox.seccomp || self.attempts.iter().all(|&(_, refused)| refused);
        filtered && refused && self.field("NoNewPrivs") == "1" && self.capabilities() == Some(0)
    }

    /// Of the inheritable, permitted, effective and ambient sets; the bounding set is of no use
    /// with no_new_privs.
    fn capabilities(&self) -> Option<u64> {
        let set = |name| u64::from_str_radix(&self.field(name), 16).ok();
        Some(set("CapInh")? | set("CapPrm")? | set("CapEff")? | set("CapAmb")?)
    }

    fn field(&self, name: &'static str) -> String {
        privilege::field(&self.process, name).map(Iterator::collect).unwrap_or_default()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = if self.field("NoNewPrivs") == "1" { "set" } else { "NOT SET" };
        writeln!(formatter, "no_new_privs: {set}")?;
        match self.capabilities() {
            Some(0) => writeln!(formatter, "capabilities: none")?,
            Some(left) => writeln!(formatter, "capabilities: LEFT: {left:#x}")?,
            None => writeln!(formatter, "capabilities: UNKNOWN")?,
        }
        match self.field("Seccomp").as_str() {
            FILTER => writeln!(formatter, "seccomp: in force, refuses with EPERM")?,
            _ if self.sandbox.seccomp => writeln!(formatter, "seccomp: NOT IN FORCE")?,
            _ => writeln!(formatter, "seccomp: {}", seccomp::MISSING)?,
        }
        let landlock = self.sandbox.landlock;
        if let Some(restricted) = landlock::in_force(landlock) {
            writeln!(formatter, "landlock: in force, {restricted}")?;
        }
        if let Some(missing) = landlock::missing(landlock) {
            writeln!(formatter, "landlock: {missing}")?;
        }
        match self.readable.as_slice() {
            readable if self.sandbox.is_readable() => {
                let folders = readable.iter().map(|path| path.display().to_string());
                let folders = folders.collect::<Vec<_>>().join(", ");
                writeln!(formatter, "readable, for a reload: {folders}")?;
            }
            _ => writeln!(formatter, "readable, for a reload: nothing")?,
        }
        for (name, refused) in &self.attempts {
            writeln!(formatter, "{}: {name}", if *refused { "refused" } else { "NOT REFUSED" })?;
        }
        Ok(())
    }
}

/// SECCOMP_MODE_FILTER (linux/seccomp.h).
const FILTER: &str = "2";
