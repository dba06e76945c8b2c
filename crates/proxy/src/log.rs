//! Where the log goes: to systemd's journal with fields, where that reads standard error anyway;
//! otherwise to standard error, for people.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use bip324_config::Log;
use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing::warn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use crate::journal::Journal;

/// The log level, which may change.
pub type Level = reload::Handle<LevelFilter, Registry>;

/// Logs from here on. Must come before the sandbox, which leaves a process the socket that it has.
pub fn start(log: Option<Log>) -> Level {
    let (filter, handle) = reload::Layer::new(level(log));
    let subscriber = tracing_subscriber::registry().with(filter);
    let journal = is_journal(io::stderr(), std::env::var_os("JOURNAL_STREAM")).then(Journal::open);
    match journal {
        Some(Ok(journal)) => subscriber.with(journal).init(),
        other => {
            let ansi = io::stderr().is_terminal();
            let lines = fmt::layer().with_writer(io::stderr).with_ansi(ansi).with_target(false);
            subscriber.with(lines).init();
            if let Some(Err(error)) = other {
                warn!("the journal takes no entries, so that lines have to do: {error}");
            }
        }
    }
    handle
}

/// What of the log is shown at this level.
pub fn level(log: Option<Log>) -> LevelFilter {
    match log.unwrap_or_default() {
        Log::Off => LevelFilter::OFF,
        Log::Error => LevelFilter::ERROR,
        Log::Warn => LevelFilter::WARN,
        Log::Info => LevelFilter::INFO,
        Log::Debug => LevelFilter::DEBUG,
        Log::Trace => LevelFilter::TRACE,
    }
}

/// Whether `stream` leads to the journal: systemd says which one does, and a child may have
/// another (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal(stream: impl AsFd, named: Option<OsString>) -> bool {
    let (Some(named), Ok(status)) = (named, fstat(stream)) else {
        return false;
    };
    named.to_str() == Some(&format!("{}:{}", status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_the_stream_that_is_named_is_the_journal_s() {
        let stream = File::open("/dev/null").unwrap();
        let status = fstat(&stream).unwrap();
        let (device, inode) = (status.st_dev, status.st_ino);
        let is = |named: &str| is_journal(&stream, Some(named.into()));
        assert!(is(&format!("{device}:{inode}")));
        for other in [format!("{device}:{}", inode + 1), format!("{inode}:{device}")] {
            assert!(!is(&other), "{other}");
        }
        for nonsense in ["", ":", "x", &format!("{device}:{inode}:"), &device.to_string()] {
            assert!(!is(nonsense), "{nonsense:?}");
        }
        assert!(!is_journal(&stream, None));
    }
}
