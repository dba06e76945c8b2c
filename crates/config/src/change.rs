//! What differs between two configurations.

use std::collections::BTreeSet;
use std::fmt;

use crate::keys::Key;
use crate::layers::Layers;
use crate::values::{Direct, Fallback, OnExit};

/// A value that is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its key.
    pub key: &'static Key,
    /// What held before, as a value of TOML.
    pub before: String,
    /// What holds now.
    pub after: String,
}

impl Layers {
    /// What holds in `new` and did not here.
    #[must_use]
    pub fn changes(&self, new: &Self) -> Vec<Change> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "not given".to_owned());
        let pairs = self.effective().zip(new.effective());
        let changed = pairs.filter(|((_, before), (_, after))| before != after);
        let change = changed.map(|((key, before), (_, after))| Change {
            key,
            before: text(before),
            after: text(after),
        });
        change.collect()
    }
}

impl Change {
    /// Whether more is let through than before: more of what clients send, or more for others.
    #[must_use]
    pub fn weakens(&self) -> bool {
        let strictest_first = match self.key.name {
            "direct" => names(Direct::NAMES),
            "fallback" => names(Fallback::NAMES),
            "on_exit" => names(OnExit::NAMES),
            "passthrough" => vec!["false".to_owned(), "true".to_owned()],
            "direct_ports" => return !elements(&self.after).is_subset(&elements(&self.before)),
            _ => return false,
        };
        let place = |value| strictest_first.iter().position(|name| name == value);
        place(&self.before) < place(&self.after)
    }
}

/// Of an array of TOML that holds no others.
fn elements(array: &str) -> BTreeSet<&str> {
    array.trim_matches(['[', ']']).split(',').map(str::trim).collect()
}

/// As values of TOML.
fn names(names: &[(&str, &str)]) -> Vec<String> {
    names.iter().map(|(name, _)| format!("\"{name}\"")).collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, before, after } = self;
        write!(f, "{} from {before} to {after}", key.name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::file::File;

    #[test]
    fn what_lets_more_through_weakens() {
        let weakens = |before, after| {
            let changes = said(before).changes(&said(after));
            let weaker = changes.iter().filter(|change| change.weakens());
            weaker.map(|change| change.key.name).collect::<Vec<_>>()
        };
        for (before, after, key) in [
            ("direct = 'off'", "direct = 'any'", "direct"),
            ("direct = 'off'", "", "direct"),
            ("", "direct = 'any'", "direct"),
            ("", "fallback = 'v1'", "fallback"),
            ("", "on_exit = 'open'", "on_exit"),
            ("passthrough = false", "", "passthrough"),
        ] {
            assert_eq!(weakens(before, after), [key], "{before} {after}");
            assert_eq!(weakens(after, before), [""; 0], "{before} {after}");
        }
        // Any that was not there before counts.
        let [few, many] = ["direct_ports = [8333]", "direct_ports = [22, 25, 443, 8333]"];
        assert_eq!((weakens(few, many), weakens(many, few)), (vec!["direct_ports"], vec![]));
        assert_eq!(weakens("direct_ports = [833, 8333]", "direct_ports = [33]"), ["direct_ports"]);
        assert_eq!((weakens("", few), weakens(few, "")), (vec![], vec!["direct_ports"]));
        assert_eq!(weakens("max_sessions = 1", "max_sessions = 2\nlog = 'debug'"), [""; 0]);
    }

    fn said(text: &str) -> Layers {
        let mut layers = Layers::default();
        layers.add(File::parse(text, Path::new("x")).unwrap());
        layers
    }

    #[test]
    fn changes_are_of_what_holds_not_of_what_is_said() {
        let changes = |before, after| {
            let changes = said(before).changes(&said(after));
            changes.iter().map(Change::to_string).collect::<Vec<_>>()
        };
        assert_eq!(changes("", "log = 'info'\npassthrough = true\nports = [8333]\n"), [""; 0]);
        assert_eq!(
            changes("max_sessions = 512\n", "max_sessions = 2000\nlisten = ['[::1]:9']\n"),
            [
                "listen from not given to [\"[::1]:9\"]",
                "max_sessions from 512 to 2000",
                "max_memory from 256 to 1000"
            ]
        );
        assert_eq!(changes("ports = [1, 2]\n", "ports = [2, 1]\n"), [""; 0]);
    }
}
