//! Values that have a name of their own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::settings::DEFAULT_GROUP;

/// Defines an enum whose variants have a name in files and on the command line.
macro_rules! named {
    ($(#[$meta:meta])* $type:ident { $($(#[$about:meta])* $variant:ident = $name:literal: $doc:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
        pub enum $type {
            $(#[doc = $doc] $(#[$about])* #[serde(rename = $name)] $variant,)*
        }

        impl $type {
            /// Each name, and what it stands for.
            pub const NAMES: &[(&str, &str)] = &[$(($name, $doc)),*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name {
                    $($name => Ok(Self::$variant),)*
                    _ => Err(UnknownName(Self::NAMES)),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// What a stopped guard leaves.
    OnExit {
        #[default]
        Block = "block": "Clients are refused",
        Open = "open": "Clients connect in plaintext",
    }
}

named! {
    /// Which destinations a connection that was not redirected may name in the `addr_recv` of its
    /// VERSION.
    Direct {
        Off = "off": "None",
        #[default]
        Public = "public": "Globally routable addresses, on Bitcoin's ports",
        Any = "any": "Any unicast address and port, loopback too: for tests and labs",
    }
}

named! {
    /// What happens when a peer does not answer the v2 handshake with a single byte.
    Fallback {
        #[default]
        Reject = "reject": "The client is refused",
        V1 = "v1": "The peer is dialled once more and spoken to in v1, in plaintext",
    }
}

named! {
    /// What is logged: everything up to this.
    Log {
        Off = "off": "Nothing",
        Error = "error": "What ends the daemon, and its bugs",
        Warn = "warn": "What needs somebody's attention",
        #[default]
        Info = "info": "Starts, stops, and why connections are refused",
        Debug = "debug": "Sessions, with addresses and session ids",
        Trace = "trace": "Everything",
    }
}

/// Not one of the names that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of {}", .0.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "))]
pub struct UnknownName(&'static [(&'static str, &'static str)]);

/// Name of a group: safe to print within quotes in nft text, and never a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

/// Not a name that groupadd accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no group name: letters, digits, '_', '-' and '.', at most 32, not first a digit or '-'"
)]
pub struct NoGroupName(String);

impl GroupName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for GroupName {
    type Err = NoGroupName;

    fn from_str(name: &str) -> Result<Self, NoGroupName> {
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if name.starts_with(first) && name.chars().all(rest) && name.len() <= 32 {
            Ok(Self(name.to_owned()))
        } else {
            Err(NoGroupName(name.to_owned()))
        }
    }
}

impl TryFrom<String> for GroupName {
    type Error = NoGroupName;

    fn try_from(name: String) -> Result<Self, NoGroupName> {
        name.parse()
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0
    }
}

/// The clients' group, unless another is named.
impl Default for GroupName {
    fn default() -> Self {
        Self(DEFAULT_GROUP.to_owned())
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_groupadd_takes_are_accepted() {
        for name in ["bip324", "_bip324", "a-b.c_d", &"x".repeat(32)] {
            assert_eq!(name.parse::<GroupName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn names_that_could_leave_their_quotes_or_be_numbers_are_refused() {
        for name in ["", "995", "-x", "a b", "a\"b", "a\nb", "\u{e4}", &"x".repeat(33)] {
            assert_eq!(name.parse::<GroupName>(), Err(NoGroupName(name.into())), "{name:?}");
        }
    }

    #[test]
    fn names_read_back() {
        for &(name, _) in Log::NAMES {
            assert_eq!(name.parse::<Log>().unwrap().to_string(), name);
        }
        let said = "maybe".parse::<Direct>().unwrap_err().to_string();
        assert_eq!(said, "not one of off, public, any");
    }
}
