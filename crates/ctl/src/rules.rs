//! How the rules stand, as far as this user can prove it: by the canary of `bip324-setup check`, which
//! takes root or the group as primary one, or of `bip324-run --check`, which any member may run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Serialize;

use crate::printable::printable;
use crate::process::group_of;

/// What the proof came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Rules {
    /// The group's connections reach the daemon.
    Alive {
        /// In the words of the program that proved it.
        said: String,
    },
    /// They do not.
    Broken {
        /// What is wrong, and how to mend it.
        said: String,
        /// Exit code of the program that found it.
        code: i32,
    },
    /// This user cannot tell.
    Unknown {
        /// Why.
        said: String,
    },
}

impl Rules {
    /// Proves them. Blocks for some seconds at most. `port` is the daemon's, where it is known.
    #[must_use]
    pub fn prove(port: Option<u16>) -> Self {
        let mut why = "neither bip324-setup nor bip324-run is installed".to_owned();
        for name in ["bip324-setup", "bip324-run"] {
            let Some(program) = place(name) else { continue };
            let mut command = Command::new(&program);
            match name {
                "bip324-setup" => command.arg("check"),
                _ => command.args(launcher_arguments(&program, port)),
            };
            match command.stdin(Stdio::null()).output() {
                Ok(answer) => match Self::of(name, &answer) {
                    Self::Unknown { said } => why = said,
                    proof => return proof,
                },
                Err(error) => why = format!("cannot run {}: {error}", program.display()),
            }
        }
        Self::Unknown { said: why }
    }

    fn of(name: &str, answer: &Output) -> Self {
        let said = [&*answer.stdout, &*answer.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let lines = said.lines().map(|line| line.trim_start_matches(name).trim_start_matches(": "));
        let said = printable(&lines.collect::<Vec<_>>().join("; "));
        match answer.status.code() {
            Some(0) => Self::Alive { said },
            Some(NO_USER | NO_PERM) => Self::Unknown { said },
            code => Self::Broken { said, code: code.unwrap_or(SOFTWARE) },
        }
    }
}

/// The launcher reads no configuration: the group is the one that it belongs to.
fn launcher_arguments(program: &Path, port: Option<u16>) -> Vec<String> {
    let mut arguments = vec!["--check".to_owned()];
    if let Some(group) = group_of(program).filter(|group| group != "root") {
        arguments.extend(["--group".to_owned(), group]);
    }
    if let Some(port) = port {
        arguments.extend(["--listen-port".to_owned(), port.to_string()]);
    }
    arguments
}

/// Where a program may be: on PATH, beside this one, and where programs for root are.
fn place(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> =
        std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    let here = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_owned()));
    folders.extend(here);
    folders.extend(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists())
}

/// Of the two programs: the caller is not in the group.
const NO_USER: i32 = 67;

/// The caller has the group only as a supplementary one, or was not given it.
const NO_PERM: i32 = 77;

/// Where a signal ended it.
const SOFTWARE: i32 = 70;

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn answer(code: i32, stderr: &str) -> Rules {
        let status = ExitStatus::from_raw(code << 8);
        Rules::of("bip324-run", &Output { status, stdout: Vec::new(), stderr: stderr.into() })
    }

    #[test]
    fn what_this_user_may_not_prove_is_neither_good_nor_bad() {
        assert_eq!(answer(0, "fine\n"), Rules::Alive { said: "fine".into() });
        assert_eq!(
            answer(78, "bip324-run: a\nb\n"),
            Rules::Broken { said: "a; b".into(), code: 78 }
        );
        for code in [NO_USER, NO_PERM] {
            assert_eq!(answer(code, "not yours"), Rules::Unknown { said: "not yours".into() });
        }
    }
}
