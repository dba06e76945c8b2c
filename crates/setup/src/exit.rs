//! Exit codes, as sysexits.h has them, and the one place that says which error gives which.

use std::process::ExitCode;

use crate::check::Failure;
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
    /// The canary is answered by another program.
    DataErr = 65,
    /// The group does not exist.
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
    /// No answer in time.
    TempFail = 75,
    /// The daemon cannot tell original destinations: a conntrack zone.
    Protocol = 76,
    /// The caller lacks a capability, or has the group only as a supplementary one.
    NoPerm = 77,
    /// The rules are missing or not those that `up` would install, or the group is refused.
    Config = 78,
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
    /// Read back, the table is not the one that was sent.
    #[error("the kernel did not install what it was sent: {0}")]
    NotInstalled(String),
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
            Self::Link(_) | Self::Status(_) => Exit::OsErr,
            Self::Check(failure) => of_check(failure),
            Self::NotInstalled(_) => Exit::Software,
            Self::Loopback(_) => Exit::NoHost,
        }
    }
}

const fn of_group(error: &group::Error) -> Exit {
    match error {
        group::Error::Name(_) => Exit::Usage,
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
        | Failure::RulesDiffer { .. }
        | Failure::NoRedirect { .. }
        | Failure::OtherPort(_) => Exit::Config,
        Failure::DaemonDown(_) => Exit::Unavailable,
        Failure::NoOriginalDestination(_) => Exit::Protocol,
        Failure::Stranger { .. } => Exit::DataErr,
        Failure::Silent(_) => Exit::TempFail,
        Failure::Link(_) | Failure::Listeners(_) | Failure::Connect(..) => Exit::OsErr,
    }
}
