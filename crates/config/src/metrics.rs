//! Where metrics are served.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where metrics are served, always on this host alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Metrics {
    /// Nowhere.
    #[default]
    Off,
    /// On a loopback address: to every user of this host.
    Tcp(SocketAddr),
    /// On a Unix socket: to the daemon's group.
    Unix(PathBuf),
}

/// Not a place where metrics can be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMetrics {
    /// None of the three forms.
    #[error("{0:?} is none of off, 127.0.0.1:PORT, [::1]:PORT and unix:/PATH")]
    Form(String),
    /// Others could read them.
    #[error(
        "{0} is not an address of this host alone: serve metrics on 127.0.0.1:PORT, [::1]:PORT or \
         unix:/PATH, and let others in through a proxy that knows them"
    )]
    NotLoopback(SocketAddr),
    /// The kernel has no longer names.
    #[error("{0:?} is no absolute path of at most {LONGEST_PATH} bytes")]
    Path(PathBuf),
}

impl FromStr for Metrics {
    type Err = NoMetrics;

    fn from_str(text: &str) -> Result<Self, NoMetrics> {
        if text == OFF {
            return Ok(Self::Off);
        }
        if let Some(path) = text.strip_prefix(UNIX) {
            let usable = path.len() <= LONGEST_PATH && !path.contains('\0');
            return match PathBuf::from(path) {
                path if usable && is_file_name(&path) => Ok(Self::Unix(path)),
                path => Err(NoMetrics::Path(path)),
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            Ok(address) => Err(NoMetrics::NotLoopback(address)),
            Err(_) => Err(NoMetrics::Form(text.to_owned())),
        }
    }
}

fn is_file_name(path: &Path) -> bool {
    path.is_absolute() && path.file_name().is_some()
}

impl TryFrom<String> for Metrics {
    type Error = NoMetrics;

    fn try_from(text: String) -> Result<Self, NoMetrics> {
        text.parse()
    }
}

impl From<Metrics> for String {
    fn from(metrics: Metrics) -> Self {
        metrics.to_string()
    }
}

impl fmt::Display for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str(OFF),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

const OFF: &str = "off";
const UNIX: &str = "unix:";

/// `sun_path` (unix(7)), and the NUL behind.
const LONGEST_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_on_this_host_read_back() {
        for text in ["off", "127.0.0.1:1325", "127.8.0.1:1", "[::1]:1325", "unix:/run/x/y.sock"] {
            assert_eq!(text.parse::<Metrics>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn metrics_are_for_this_host_alone() {
        for text in ["0.0.0.0:1325", "[::]:1325", "192.0.2.1:1325", "[::ffff:127.0.0.1]:1325"] {
            let said = text.parse::<Metrics>().unwrap_err().to_string();
            assert!(said.contains("not an address of this host alone"), "{text}: {said}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        let long = format!("unix:/{}", "x".repeat(107));
        let paths = ["unix:", "unix:x", "unix:/", "unix:/x/..", "unix:/a\0b", &long];
        for text in ["", "on", "1325", "localhost:1325", "/run/x", "127.0.0.1"].iter().chain(&paths)
        {
            assert!(text.parse::<Metrics>().is_err(), "{text}");
        }
    }
}
