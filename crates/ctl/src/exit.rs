//! Exit codes, as sysexits.h has them, and what ends a command early.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use bip324_control::Code;

use crate::printable::printable;
use crate::{client, web};

/// An exit code. The comments are what scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `check`: all is as it should be, and known to be; for `status`: the rules are not known
    /// to be wrong; for `verify`: a session has this id.
    Ok = 0,
    /// `verify`: no session has this id.
    NoMatch = 1,
    /// The command line is not understood.
    Usage = 64,
    /// `verify`: that is no session id.
    DataErr = 65,
    /// There is no such session, or none that the caller may see.
    NoInput = 66,
    /// The daemon does not run, or has no control socket there.
    Unavailable = 69,
    /// The daemon did not understand what this program asked.
    Software = 70,
    /// The kernel failed or refused.
    OsErr = 71,
    /// Output could not be written.
    IoErr = 74,
    /// The daemon is busy, silent, or ended meanwhile: try again.
    TempFail = 75,
    /// What answers does not speak this program's protocol.
    Protocol = 76,
    /// The caller may not do this.
    NoPerm = 77,
    /// `status` and `check`: the rules do not lead to the daemon.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What a command prints, and the code that the program then exits with.
pub type Outcome = Result<(String, Exit), Error>;

/// Anything that ends a command early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon could not be asked, or would not do it.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// There is no page.
    #[error(transparent)]
    Web(#[from] web::Error),
    /// The kernel failed or refused.
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
    /// What was given to `verify` is no session id.
    #[error("{0}")]
    NoId(String),
}

impl Error {
    /// The code that a program which ends with this error exits with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Client(error) => of_client(error),
            Self::NoId(_) => Exit::DataErr,
            Self::Web(web::Error::Exposed(_)) => Exit::Usage,
            Self::Web(_) | Self::System(..) => Exit::OsErr,
        }
    }

    /// The error and what caused it, on one line that a terminal shows and does not obey: what answers
    /// may have worded it.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(&format!(": {error}"));
            cause = error.source();
        }
        printable(&line)
    }
}

const fn of_client(error: &client::Error) -> Exit {
    match error {
        client::Error::NotRunning(_) | client::Error::NoSocket(_) => Exit::Unavailable,
        client::Error::NotPermitted { .. } => Exit::NoPerm,
        client::Error::Silent(_) | client::Error::Ended => Exit::TempFail,
        client::Error::Newer(_) | client::Error::Garbage(_) => Exit::Protocol,
        client::Error::Refused(refusal) => match refusal.code {
            Code::BadRequest => Exit::Software,
            Code::NotPermitted => Exit::NoPerm,
            Code::NoSuchSession => Exit::NoInput,
            Code::Busy => Exit::TempFail,
        },
        client::Error::Socket(..) => Exit::OsErr,
    }
}
