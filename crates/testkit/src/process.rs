//! Programs under test: started with a log, waited for with a deadline, ended with their children.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::wait_for;

/// A running program whose output goes to a file, and whose input stays open and empty. Dropping
/// it kills its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, its output in `folder`/`name`.log.
    ///
    /// # Errors
    ///
    /// Where the log cannot be written or the program not started.
    pub fn spawn(name: &str, command: Command, folder: &Path) -> Result<Self> {
        Self::spawn_with_input(name, command, folder, Stdio::piped())
    }

    /// As [`Self::spawn`], with this as its input.
    ///
    /// # Errors
    ///
    /// As [`Self::spawn`].
    pub fn spawn_with_input(
        name: &str,
        mut command: Command,
        folder: &Path,
        input: Stdio,
    ) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log)?;
        command.stdin(input).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Everything it has printed so far, and what an earlier process of this name printed.
    ///
    /// # Errors
    ///
    /// Where the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Waits until `find` sees what it wants in the log; not longer than the process lives.
    ///
    /// # Errors
    ///
    /// Where the process ends first or `limit` passes.
    pub fn wait_for_log<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let what = format!("{what} in the log of {}", self.name);
        wait_for(&what, limit, || {
            // The state first: what a process printed just before its end counts.
            let ended = self.child.try_wait()?;
            match (find(&self.log()?), ended) {
                (None, Some(status)) => bail!("{} ended: {status}", self.name),
                (found, _) => Ok(found),
            }
        })
    }

    /// Fails where the process has ended.
    ///
    /// # Errors
    ///
    /// With its exit status.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} ended: {status}", self.name),
            None => Ok(()),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Where it still runs after `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, limit, || Ok(self.child.try_wait()?))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends `signal` to the process alone.
    ///
    /// # Errors
    ///
    /// Where it has been waited for already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(group) = self.pid() {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Runs `command` to its end, a minute at most, and hands back what it printed. Working folder and
/// environment of `command` are not carried over.
///
/// # Errors
///
/// Where it cannot be started or does not end with success; the message holds what it printed.
pub fn output(command: Command) -> Result<Output> {
    succeeded(finish(command)?)
}

/// As [`output`], with this as its input.
///
/// # Errors
///
/// As [`output`].
pub fn output_with_input(command: Command, input: &[u8]) -> Result<Output> {
    let mut child = bounded(&command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting `timeout`")?;
    // It reads all before it prints anything, so neither waits for the other for ever.
    child.stdin.take().context("no input")?.write_all(input)?;
    succeeded(child.wait_with_output()?)
}

/// As [`output`], but an exit status other than 0 is an answer, not an error.
///
/// # Errors
///
/// Where it cannot be started, or takes longer than a minute.
pub fn finish(command: Command) -> Result<Output> {
    let output = bounded(&command).stdin(Stdio::null()).output().context("starting `timeout`")?;
    if output.status.code() == Some(TIMED_OUT) {
        bail!("{command:?} did not end within a minute");
    }
    Ok(output)
}

/// The same for a minute at most.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=5", "60"]).arg(command.get_program()).args(command.get_args());
    bounded
}

fn succeeded(output: Output) -> Result<Output> {
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("{}: {}", output.status, String::from_utf8_lossy(&said).trim())
}

/// Exit status of `timeout` when it had to end the program.
const TIMED_OUT: i32 = 124;
