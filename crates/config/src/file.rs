//! One file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use strsim::damerau_levenshtein;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::keys::{KEYS, Key};
use crate::settings::Settings;

/// Why a configuration cannot be used: one line each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a folder could not be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// What a file says is not understood, or cannot be.
    #[error("{}:{line}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
}

/// A file that was understood.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) settings: Settings,
    /// The line of each key that it has.
    pub(crate) lines: BTreeMap<&'static str, usize>,
}

/// A key in the text of a file: where it begins, and where its value ends.
struct Entry {
    key: &'static Key,
    span: Range<usize>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| Error::Read(path.into(), error))?;
        Self::parse(&text, path)
    }

    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let content = |at, reason| {
            let line = line(text, at);
            Error::Content { path: path.into(), line, reason }
        };
        let entries = entries(text).map_err(|(at, reason)| content(at, reason))?;
        let settings = toml::from_str(text).map_err(|error| {
            let at = start(&error);
            let key = entries.iter().find(|entry| entry.span.contains(&at));
            let name = key.map(|entry| format!("`{}`: ", entry.key.name)).unwrap_or_default();
            content(at, name + &message(&error))
        })?;
        let lines = entries.iter().map(|entry| (entry.key.name, line(text, entry.span.start)));
        Ok(Self { path: path.into(), settings, lines: lines.collect() })
    }
}

/// The keys of a file, all of them known ones; otherwise where it goes wrong first, and how.
fn entries(text: &str) -> Result<Vec<Entry>, (usize, String)> {
    let table = DeTable::parse(text).map_err(|error| (start(&error), message(&error)))?;
    let mut found: Vec<_> = table.into_inner().into_iter().collect();
    found.sort_by_key(|(name, _)| name.span().start);
    let entry = |(name, value): (Spanned<DeString<'_>>, Spanned<DeValue<'_>>)| {
        let span = name.span().start..value.span().end.max(name.span().end);
        match KEYS.iter().find(|key| key.name == *name.get_ref()) {
            Some(key) => Ok(Entry { key, span }),
            None => Err((span.start, unknown(name.get_ref()))),
        }
    };
    found.into_iter().map(entry).collect()
}

fn unknown(name: &str) -> String {
    let nearest = KEYS.iter().min_by_key(|key| damerau_levenshtein(key.name, name));
    let nearest = nearest.map(|key| key.name).unwrap_or_default();
    format!("unknown key `{}`: did you mean `{nearest}`?", name.escape_debug())
}

fn start(error: &toml::de::Error) -> usize {
    error.span().map_or(0, |span| span.start)
}

/// On one line.
fn message(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

fn line(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or_default().matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse(text, Path::new("/etc/x.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_are_read_and_may_be_left_out() {
        assert_eq!(parse("# nothing\n").unwrap().settings, Settings::default());
        let file = parse("ports = [18444, 8333]\n\ngroup = \"clients\"\n").unwrap();
        let ports: Vec<u16> = file.settings.ports.unwrap().iter().map(|port| port.get()).collect();
        assert_eq!(ports, [8333, 18444]);
        assert_eq!(file.settings.group.unwrap().as_str(), "clients");
        assert_eq!(file.lines, BTreeMap::from([("ports", 1), ("group", 3)]));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
        for (text, expected) in [
            ("\nport = 8333\n", "/etc/x.toml:2: unknown key `port`: did you mean `ports`?"),
            (
                "max-sessions = 1\n",
                "/etc/x.toml:1: unknown key `max-sessions`: did you mean `max_sessions`?",
            ),
            (
                "group = 'x'\n[daemon]\nlog = 'info'\n",
                "/etc/x.toml:2: unknown key `daemon`: did you mean ",
            ),
            ("MaxMemory = 1\n", "did you mean `max_memory`?"),
            (
                "fallbck = 1\nzzz = 2\n",
                "/etc/x.toml:1: unknown key `fallbck`: did you mean `fallback`?",
            ),
            ("zzz = 1\naaa = 2\n", "/etc/x.toml:1: unknown key `zzz`"),
            ("\"a\\nb\" = 1\n", "unknown key `a\\nb`"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(expected), "{text:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        for (text, expected) in [
            (
                "group = \"x\"\nports = [\n  8333,\n  70000,\n]\n",
                "/etc/x.toml:4: `ports`: invalid value: integer `70000`, expected a port from 1 to 65535",
            ),
            (
                "ports = [0]\n",
                "/etc/x.toml:1: `ports`: invalid value: integer `0`, expected a port",
            ),
            ("ports = 8333\n", "/etc/x.toml:1: `ports`: invalid type: integer `8333`"),
            ("ports = []\n", "/etc/x.toml:1: `ports`: empty"),
            ("\n\ngroup = \"x\\\"; flush\"\n", "/etc/x.toml:3: `group`: "),
            ("ports =\n", "/etc/x.toml:1: "),
            ("log = 'info'\nlog = 'info'\n", "/etc/x.toml:2: duplicate key"),
            ("log = 'loud'\n", "`log`: unknown variant `loud`, expected one of `off`, `error`"),
            ("log.level = 'info'\n", "/etc/x.toml:1: "),
            ("listen = ['127.0.0.1']\n", "/etc/x.toml:1: `listen`: "),
            ("listen = []\n", "/etc/x.toml:1: `listen`: empty"),
            ("direct_ports = []\n", "/etc/x.toml:1: `direct_ports`: empty"),
            (
                "\nmax_sessions = 0\n",
                "/etc/x.toml:2: `max_sessions`: 0 is not a number from 1 to 250000",
            ),
            ("max_direct_per_user = -1\n", "-1 is not a number from 1 to 250000"),
            (
                "metrics = '0.0.0.0:1325'\n",
                "`metrics`: 0.0.0.0:1325 is not an address of this host",
            ),
            ("max_memory = 31\n", "31 is not a number from 32 to 1048576"),
            ("max_memory = 1048577\n", "1048577 is not a number"),
            ("max_memory = '64'\n", "`max_memory`: invalid type: string \"64\""),
            ("control = 'run/c.sock'\n", "/etc/x.toml:1: `control`: not an absolute path"),
            ("control = 7\n", "`control`: invalid type: integer `7`"),
            (
                "passthrough = 'on'\n",
                "`passthrough`: invalid type: string \"on\", expected a boolean",
            ),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(expected), "{text:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
        let ports: Vec<u16> = (8000..8065).collect();
        let said = parse(&format!("ports = {ports:?}\n")).unwrap_err();
        assert!(said.contains("65 ports, and at most 64 are possible"), "{said}");
    }
}
