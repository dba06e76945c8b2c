//! What the daemon gives up once its listeners are open, so that whoever takes it over through the
//! network finds little to do with it: no files but its configuration, no programs, no listeners, no
//! sockets but TCP.
//!
//! Two layers that overlap on purpose, of which a kernel may lack one. seccomp refuses every system
//! call that is not listed, and Landlock what a call would reach. Both are for good, and for the
//! calling thread and those that it starts: there must be no others yet.

mod attempt;
mod landlock;
mod seccomp;
mod status;

use std::path::PathBuf;

use ::landlock::{LandlockStatus, PathFdError, RulesetError};
use thiserror::Error;

pub use status::{Status, status};

/// Why there is no sandbox, although the kernel has what it takes.
#[derive(Debug, Error)]
pub enum Error {
    /// What the sandbox should leave readable cannot be opened.
    #[error("cannot leave the configuration readable: {0}")]
    Readable(#[from] PathFdError),
    /// The kernel refuses the Landlock rules.
    #[error("cannot restrict the daemon with Landlock: {0}")]
    Landlock(#[from] RulesetError),
    /// The kernel refuses the filter, or an outer filter refuses seccomp(2) itself.
    #[error(
        "cannot filter system calls: {0}; under systemd, SystemCallFilter= must allow seccomp and \
         landlock_create_ruleset, landlock_add_rule, landlock_restrict_self"
    )]
    Seccomp(#[from] seccompiler::Error),
    /// Which process this is cannot be read.
    #[error("cannot read /proc/self/status: {0}")]
    Proc(#[from] std::io::Error),
}

/// What of the sandbox this kernel has: all of that is in force.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox {
    landlock: LandlockStatus,
    seccomp: bool,
    readable: bool,
}

/// Restricts the calling thread, and all that it will start, for good. Only the files `readable`, and
/// what is in the folders of it, whatever lies there at the time, can still be opened, and only to
/// read. What the kernel lacks is left out; without Landlock, which alone tells one file from another,
/// nothing is readable.
///
/// Must come after [`drop_all`](crate::privilege::drop_all), after the listeners and before any
/// other thread.
///
/// # Errors
/// Something fails for another reason than that the kernel lacks it.
pub fn apply(readable: &[PathBuf]) -> Result<Sandbox, Error> {
    // In this order: the filter allows no system call of Landlock's.
    let landlock = landlock::restrict(readable)?;
    let readable = !readable.is_empty() && matches!(landlock, LandlockStatus::Available { .. });
    let seccomp = seccomp::filter(readable)?;
    Ok(Sandbox { landlock, seccomp, readable })
}

impl Sandbox {
    /// Whether what was to be readable is.
    pub const fn is_readable(&self) -> bool {
        self.readable
    }

    /// What this kernel does not restrict, in one line; `None` if it lacks nothing.
    pub fn missing(&self) -> Option<String> {
        let seccomp = (!self.seccomp).then(|| seccomp::MISSING.to_owned());
        let missing: Vec<_> = seccomp.into_iter().chain(landlock::missing(self.landlock)).collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}
