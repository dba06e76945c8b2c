//! The configuration that bip324-proxy and bip324-setup share.
//!
//! ```text
//!   keys       every key: its name, type, default and what it is for
//!   settings   what a file may say, as one struct
//!   values     what has a name of its own in there
//!   metrics    where metrics are served, always on this host alone
//!   file       one file: understood as a whole, or refused with its line
//!   paths      which files there are to read
//!   layers     files over one another, the command line over them; which of them said what
//!   change     what differs between two configurations, and whether it lets more through
//!   text       the file that is shipped, and the effective configuration
//! ```
//!
//! [`KEYS`] is the one table that the shipped file, the manual page and the programs' help are made
//! from or tested against.

#![forbid(unsafe_code)]

mod change;
mod file;
mod keys;
mod layers;
mod metrics;
mod paths;
mod settings;
mod text;
mod values;

pub use change::Change;
pub use file::Error;
pub use keys::{KEYS, Key, Reader};
pub use layers::{Layers, Origin};
pub use metrics::{Metrics, NoMetrics};
pub use paths::{DEFAULT_FILE, FOLDER, likely_group, likely_ports};
pub use settings::{
    DEFAULT_DIRECT_PORTS, DEFAULT_GROUP, DEFAULT_LISTEN, DEFAULT_LISTEN_PORT,
    DEFAULT_MAX_DIRECT_PER_USER, DEFAULT_MAX_SESSIONS, DEFAULT_PORT, MAX_MEMORY, MAX_PORTS,
    SESSIONS, Settings, default_max_memory,
};
pub use text::template;
pub use values::{Direct, Fallback, GroupName, Log, NoGroupName, OnExit, UnknownName};
