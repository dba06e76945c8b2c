//! A terminal that a test looks at and types into: tmux, with a server of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

use crate::process::output;
use crate::wait::{PATIENCE, wait_for};

/// A terminal with a shell in it. Dropping it ends the shell and what it has started.
#[derive(Debug)]
pub struct Tmux {
    socket: PathBuf,
}

/// What a terminal is like at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// A full-screen program has the screen.
    pub alternate: bool,
    /// The cursor is shown.
    pub cursor: bool,
}

impl Tmux {
    /// Starts `sh` in a terminal of so many columns and rows, with a UTF-8 locale.
    ///
    /// # Errors
    ///
    /// Where tmux is not installed.
    pub fn start(folder: &Path, columns: u16, rows: u16) -> Result<Self> {
        let tmux = Self { socket: folder.join("tmux.sock") };
        let size = [columns, rows].map(|size| size.to_string());
        let [columns, rows] = &size;
        tmux.call(&["-f", "/dev/null", "new-session", "-d", "-x", columns, "-y", rows, SHELL])
            .context("tmux: run ./scripts/get base")?;
        tmux.wait_for("the shell", |screen| screen.ends_with(PROMPT))?;
        Ok(tmux)
    }

    /// Types a line into it, and Enter.
    ///
    /// # Errors
    ///
    /// Where the terminal is gone.
    pub fn enter(&self, line: &str) -> Result<()> {
        self.call(&["send-keys", "-l", line])?;
        self.press(&["Enter"])
    }

    /// Presses keys by the names that tmux gives them.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.call(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Gives it another size.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let [columns, rows] = [columns, rows].map(|size| size.to_string());
        self.call(&["resize-window", "-x", &columns, "-y", &rows]).map(drop)
    }

    /// What can be read on it, without empty lines at the end.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub fn screen(&self) -> Result<String> {
        Ok(self.call(&["capture-pane", "-p"])?.trim_end().to_owned())
    }

    /// The same, with the escape sequences that make its colours.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub fn picture(&self) -> Result<String> {
        self.call(&["capture-pane", "-p", "-e", "-N"])
    }

    /// What it is like.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub fn modes(&self) -> Result<Modes> {
        let said = self.call(&["display-message", "-p", "#{alternate_on}#{cursor_flag}"])?;
        let flag = |at| said.as_bytes().get(at) == Some(&b'1');
        Ok(Modes { alternate: flag(0), cursor: flag(1) })
    }

    /// Process id of the shell.
    ///
    /// # Errors
    ///
    /// As [`Self::enter`].
    pub fn shell(&self) -> Result<u32> {
        Ok(self.call(&["display-message", "-p", "#{pane_pid}"])?.trim().parse()?)
    }

    /// Process id of the one program that the shell has started.
    ///
    /// # Errors
    ///
    /// Where there is none, or more than one.
    pub fn program(&self) -> Result<u32> {
        let shell = self.shell()?;
        let path = format!("/proc/{shell}/task/{shell}/children");
        let children = std::fs::read_to_string(path)?;
        Ok(children.trim().parse()?)
    }

    /// Waits until what can be read on it is as wanted, and hands it back.
    ///
    /// # Errors
    ///
    /// With the last screen, where it never is.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        wait_for(what, PATIENCE, || {
            last = self.screen()?;
            Ok(wanted(&last).then(|| last.clone()))
        })
        .with_context(|| format!("the screen:\n{}", self.screen().unwrap_or_default()))
    }

    /// Waits until the shell has the terminal again, and fails where a program has not left it as it
    /// was: with its own screen, or without cursor, echo or line editing.
    ///
    /// # Errors
    ///
    /// As said.
    pub fn require_shell(&self) -> Result<()> {
        self.wait_for("the shell", |screen| screen.ends_with(PROMPT))?;
        let modes = self.modes()?;
        ensure!(modes == Modes { alternate: false, cursor: true }, "{modes:?}");
        // What earlier calls have left is wiped, and the end is one that the typed line does not have.
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        self.enter(&format!("clear; stty -a; echo told-$(({call}))"))?;
        let end = format!("told-{call}\n{PROMPT}");
        let settings = self.wait_for("stty", |screen| screen.ends_with(&end))?;
        for setting in ["icanon", "echo", "isig", "opost"] {
            let holds = settings.split_whitespace().any(|word| word == setting);
            ensure!(holds, "no {setting}:\n{settings}");
        }
        Ok(())
    }

    fn call(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("env");
        command.args(["-u", "TMUX", "-u", "NO_COLOR", "LC_ALL=C.UTF-8", "tmux", "-u", "-S"]);
        command.arg(&self.socket).args(arguments);
        Ok(String::from_utf8(output(command)?.stdout)?)
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.call(&["kill-server"]);
    }
}

/// A shell that says nothing of its own but its prompt.
const SHELL: &str = "env -u ENV PS1='ready$ ' PS2='' sh -i";

/// What the screen ends with where the shell waits; it is not redrawn in the colours of a user.
const PROMPT: &str = "ready$";
