//! Exit codes, as sysexits.h has them, and the one place that says which error gives which.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use crate::check::Failure;
use crate::keeper::{self, Keeper};
use crate::launch::Refusal;
use crate::link::Fault;
use crate::{group, kernel, link, plan, privilege, status};

/// An exit code. The comments are what scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `status` and `check`: all is as it should be.
    Ok = 0,
    /// The command line contradicts itself or is not understood.
    Usage = 64,
    /// Another program answers in the daemon's place, or another user's listens there.
    DataErr = 65,
    /// The group, or the configuration file that was named, does not exist.
    NoInput = 66,
    /// The caller is not in the group.
    NoUser = 67,
    /// `lo` is down or lacks an address.
    NoHost = 68,
    /// The daemon does not listen.
    Unavailable = 69,
    /// What was installed is not what was to be installed, or capabilities remained.
    Software = 70,
    /// The kernel failed or refused.
    OsErr = 71,
    /// The group could not be created.
    CantCreat = 73,
    /// Output could not be written.
    IoErr = 74,
    /// No answer in time; or a guard or another process holds the rules.
    TempFail = 75,
    /// The daemon cannot tell original destinations: a conntrack zone.
    Protocol = 76,
    /// The caller lacks a capability, has the group only as a supplementary one, or was not given
    /// it with `bip324-run`.
    NoPerm = 77,
    /// The rules are missing or not those that `up` would install, or the group or the
    /// configuration file is refused.
    Config = 78,
    /// `bip324-run`: the command cannot be executed.
    NotExecutable = 126,
    /// `bip324-run`: there is no such command.
    NotFound = 127,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Anything that ends a command early.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum Error {
    /// The arguments cannot be a ruleset.
    Config(#[from] plan::ConfigError),
    /// The group.
    Group(#[from] group::Error),
    /// The capabilities.
    Privilege(#[from] privilege::Error),
    /// The kernel's nftables.
    Kernel(#[from] kernel::Error),
    /// The interfaces.
    Link(#[from] link::Error),
    /// The state could not be told.
    Status(#[from] status::Error),
    /// The check failed.
    Check(#[from] Failure),
    /// The launcher refused.
    Launch(#[from] Refusal),
    /// Read back, the table is not the one that was sent.
    #[error("the kernel did not install what it was sent: {0}")]
    NotInstalled(String),
    /// The configuration file.
    File(#[from] bip324_config::Error),
    /// Somebody else has the rules.
    #[error("{0}")]
    Held(Keeper),
    /// Signals could not be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] nix::Error),
    /// The service manager's environment contradicts itself.
    #[error("cannot take over the descriptors that LISTEN_FDS announces")]
    Passed(#[source] io::Error),
    /// The guard's name could not be claimed.
    Claim(#[from] keeper::Error),
    /// The rules stand, but nothing can pass through them.
    #[error("the rules are installed, but {0}")]
    Loopback(Fault),
}

impl Error {
    /// The code that a program which ends with this error exits with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Usage,
            Self::Group(error) => of_group(error),
            Self::Privilege(error) => of_privilege(error),
            Self::Kernel(error) | Self::Status(status::Error::Kernel(error)) => of_kernel(error),
            Self::File(bip324_config::Error::Read(..)) => Exit::NoInput,
            Self::File(_) => Exit::Config,
            Self::Held(_) | Self::Claim(keeper::Error::Guarded(_)) => Exit::TempFail,
            Self::Link(_) | Self::Status(_) | Self::Signals(_) | Self::Passed(_) => Exit::OsErr,
            Self::Claim(_) => Exit::OsErr,
            Self::Check(failure) => of_check(failure),
            Self::Launch(refusal) => of_launch(refusal),
            Self::NotInstalled(_) => Exit::Software,
            Self::Loopback(_) => Exit::NoHost,
        }
    }

    /// The error and what caused it, on one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(&format!(": {error}"));
            cause = error.source();
        }
        line
    }
}

const fn of_group(error: &group::Error) -> Exit {
    match error {
        group::Error::Missing(_) => Exit::NoInput,
        group::Error::Root(_) | group::Error::Daemon(_) => Exit::Config,
        group::Error::Spawn(_) | group::Error::Create(..) => Exit::CantCreat,
        group::Error::Lookup(..) | group::Error::Switch(..) => Exit::OsErr,
    }
}

const fn of_privilege(error: &privilege::Error) -> Exit {
    match error {
        privilege::Error::NetAdminMissing => Exit::NoPerm,
        privilege::Error::SecondThread | privilege::Error::NotDropped(_) => Exit::Software,
        _ => Exit::OsErr,
    }
}

const fn of_kernel(error: &kernel::Error) -> Exit {
    match error {
        kernel::Error::Privilege(error) => of_privilege(error),
        kernel::Error::TooLarge => Exit::Usage,
        kernel::Error::Interrupted => Exit::TempFail,
        _ => Exit::OsErr,
    }
}

const fn of_check(failure: &Failure) -> Exit {
    match failure {
        Failure::Group(error) => of_group(error),
        Failure::Privilege(error) => of_privilege(error),
        Failure::WrongGroup(_) => Exit::NoUser,
        Failure::SupplementaryOnly(_) => Exit::NoPerm,
        Failure::Loopback(_) => Exit::NoHost,
        Failure::Kernel(error) => of_kernel(error),
        Failure::NoTable(_)
        | Failure::Blocked(..)
        | Failure::Shut { .. }
        | Failure::RulesDiffer { .. }
        | Failure::NoRedirect { .. }
        | Failure::OtherPort(_) => Exit::Config,
        Failure::DaemonDown(_) => Exit::Unavailable,
        Failure::NoOriginalDestination(_) => Exit::Protocol,
        Failure::Stranger { .. } | Failure::ForeignListener { .. } => Exit::DataErr,
        Failure::Silent(_) => Exit::TempFail,
        Failure::Link(_) | Failure::Listeners(_) | Failure::Connect(..) => Exit::OsErr,
    }
}

const fn of_launch(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::Group(error) => of_group(error),
        Refusal::NoNewPrivs(_)
        | Refusal::NotSetgid { .. }
        | Refusal::InStore { .. }
        | Refusal::NoSuid { .. }
        | Refusal::Withheld(_) => Exit::NoPerm,
        Refusal::NotTaken(_) => Exit::Software,
        Refusal::NotFound(..) => Exit::NotFound,
        Refusal::NotExecutable(..) => Exit::NotExecutable,
    }
}
