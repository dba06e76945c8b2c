//! The configuration file.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::group::GroupName;

/// What a configuration file says; what it leaves out is the default.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Group whose connections are redirected.
    pub group: Option<GroupName>,
    /// Ports of peers that are redirected.
    pub ports: Option<BTreeSet<NonZeroU16>>,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// It is not understood.
    #[error("{}:{line}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It would redirect nothing.
    #[error("{}: `ports` is empty: name at least one, or leave it out", .0.display())]
    NoPorts(PathBuf),
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is missing, or says what is not known here.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| Error::Read(path.into(), error))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            let reason = error.message().replace('\n', " ");
            Error::Content { path: path.into(), line, reason }
        })?;
        match &file.ports {
            Some(ports) if ports.is_empty() => Err(Error::NoPorts(path.into())),
            _ => Ok(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse(text, Path::new("/etc/x.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn both_keys_are_read_and_may_be_left_out() {
        assert_eq!(parse("# nothing\n").unwrap(), File::default());
        let file = parse("ports = [18444, 8333]\ngroup = \"clients\"\n").unwrap();
        let ports: Vec<u16> = file.ports.unwrap().iter().map(|port| port.get()).collect();
        assert_eq!(ports, [8333, 18444]);
        assert_eq!(file.group.unwrap().as_str(), "clients");
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, expected) in [
            ("\nport = 8333\n", "/etc/x.toml:2: unknown field `port`, expected `group` or `ports`"),
            ("group = \"x\"\nports = [70000]\n", "/etc/x.toml:2: "),
            ("ports = [0]\n", "/etc/x.toml:1: "),
            ("\n\ngroup = \"x\\\"; flush\"\n", "/etc/x.toml:3: "),
            ("ports =\n", "/etc/x.toml:1: "),
            ("ports = []\n", "`ports` is empty"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(expected), "{text:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
