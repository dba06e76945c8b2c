//! Reading the configuration again while the daemon runs: SIGHUP.

use std::error::Error as _;
use std::io::ErrorKind::PermissionDenied;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bip324_config::{Change, Error, Layers, Reader};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};

use crate::cli::Cli;
use crate::config::Config;
use crate::log::{self, Level};
use crate::notify;

/// What a reload starts from, and what it changes.
pub struct Reload<'a> {
    /// Where to read.
    pub cli: &'a Cli,
    /// What the daemon was started with: some of it holds until it is started again.
    pub started: Layers,
    /// What holds now, but for that.
    pub current: Layers,
    /// Why the sandbox lets it read nothing, where that is so.
    pub unreadable: Option<&'static str>,
    /// How many sessions there are descriptors for.
    pub most_sessions: usize,
    /// What the sessions go by.
    pub config: watch::Sender<Arc<Config>>,
    /// What the log goes by.
    pub level: Level,
}

impl Reload<'_> {
    /// Reads the configuration and does what it says, or leaves everything as it was; in one line of
    /// the log, and told to the service manager.
    pub fn run(&mut self) {
        notify::reloading();
        match self.read() {
            Ok(new) => {
                let line = self.apply(new);
                notify::reloaded(&line);
            }
            Err(reason) => {
                let line = format!("not reloaded, everything stays as it was: {reason}");
                error!("{line}");
                notify::reloaded(&line);
            }
        }
    }

    fn read(&self) -> Result<Layers, String> {
        if let Some(reason) = self.unreadable {
            let folder = self.cli.folder().display();
            return Err(format!("{folder} {reason}: restart the daemon instead"));
        }
        self.cli.configuration().map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            let closed =
                matches!(&error, Error::Read(_, cause) if cause.kind() == PermissionDenied);
            let remedy =
                if closed { ": if it is another file by now, restart the daemon" } else { "" };
            format!("{error}{cause}{remedy}")
        })
    }

    /// Returns what was logged.
    fn apply(&mut self, new: Layers) -> String {
        let ours = |change: &Change| change.key.reader != Reader::Setup;
        let changed = self.current.changes(&new).into_iter().filter(ours);
        let changed: Vec<_> = changed.filter(|change| change.key.reload).collect();
        let weaker: Vec<_> = changed.iter().filter(|change| change.weakens()).collect();
        let weaker = weaker.iter().map(|change| change.key.name).collect::<Vec<_>>().join(", ");
        let changed = texts(changed.into_iter());
        let waiting = self.started.changes(&new).into_iter().filter(ours);
        let waiting = texts(waiting.filter(|change| !change.key.reload));
        let mut line = match (changed.as_str(), weaker.as_str()) {
            ("", _) => "reloaded, and nothing changed".to_owned(),
            (changed, "") => format!("reloaded: {changed}"),
            (changed, weaker) => format!("reloaded, and weaker by {weaker}: {changed}"),
        };
        if !waiting.is_empty() {
            line += &format!("; only at the next start: {waiting}");
        }
        let line = shortened(line);

        let Config { timeouts, watchdog, .. } = Config::clone(&self.config.borrow());
        let config = Config { timeouts, watchdog, ..new.settings().clone().into() };
        if config.max_sessions > self.most_sessions {
            let most = self.most_sessions;
            warn!("there are file descriptors for {most} sessions only: see LimitNOFILE");
        }
        self.config.send_replace(Arc::new(config));
        let [before, after] = [&self.current, &new].map(|layers| log::level(layers.settings().log));
        // Said under the more talkative of the two levels.
        self.set_level(before.max(after));
        if waiting.is_empty() && weaker.is_empty() {
            info!("{line}");
        } else {
            warn!("{line}");
        }
        self.set_level(after);
        self.current = new;
        line
    }

    fn set_level(&self, level: LevelFilter) {
        // It fails where nothing is logged any more.
        let _ = self.level.reload(level);
    }
}

/// systemd ignores a status of more than 4096 bytes, and would wait for the end of the reload.
fn shortened(mut line: String) -> String {
    if line.len() > LONGEST_LINE {
        let end = (0..=LONGEST_LINE).rev().find(|&end| line.is_char_boundary(end));
        line.truncate(end.unwrap_or_default());
        line += " ...";
    }
    line
}

const LONGEST_LINE: usize = 2000;

fn texts(changes: impl Iterator<Item = Change>) -> String {
    changes.map(|change| change.to_string()).collect::<Vec<_>>().join(", ")
}

/// What the sandbox has to leave readable for a reload: `folder`, and where the `files` really are that
/// were read in it, for they may be links. What is not there cannot be left. Of a folder that holds much
/// besides, the files alone: one that is put in the place of such a file stays closed.
pub fn readable(folder: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    let folder = folder.canonicalize().ok().filter(|folder| !is_shared(folder));
    let mut readable: Vec<_> = folder.into_iter().collect();
    for file in files.iter().filter_map(|file| file.canonicalize().ok()) {
        if readable.iter().any(|path| file.starts_with(path)) {
            continue;
        }
        match file.parent() {
            Some(parent) if !is_shared(parent) => readable.push(parent.to_owned()),
            _ => readable.push(file),
        }
    }
    readable
}

/// Such as `/` and `/etc`: never the configuration's own.
fn is_shared(folder: &Path) -> bool {
    folder.parent().is_none_or(|parent| parent == Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these is on every system, and no link.
    #[test]
    fn a_file_in_a_folder_of_everybody_s_is_left_alone() {
        let left = |folder: &str, files: &[&str]| {
            let files: Vec<_> = files.iter().map(PathBuf::from).collect();
            readable(Path::new(folder), &files)
        };
        assert_eq!(left("/etc", &["/etc/passwd"]), [Path::new("/etc/passwd")]);
        assert_eq!(left("/", &["/etc/passwd"]), [Path::new("/etc/passwd")]);
        assert!(left("/", &[]).is_empty() && left("/proc", &[]).is_empty());
        let own = Path::new("/proc/self").canonicalize().unwrap();
        assert_eq!(left("/proc/self", &["/proc/self/status"]), [own.as_path()]);
        assert_eq!(left("/proc/self", &["/etc/passwd"]), [own.as_path(), Path::new("/etc/passwd")]);
    }
}
