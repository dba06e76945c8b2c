//! Holds a service as systemd does: waits for READY=1, keeps the descriptors that the service stores,
//! and hands them to its next process (sd_notify(3), sd_listen_fds(3), systemd.service(5)).

mod inbox;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::identity::Identity;
use crate::lab::Lab;
use crate::process::Process;
use crate::supervisor::inbox::Inbox;
use crate::wait::{PATIENCE, wait_for};

/// A service of `Type=notify` in the host's namespace. Dropping it kills its process and closes what
/// it stored.
#[derive(Debug)]
pub struct Service<'lab> {
    lab: &'lab Lab,
    name: &'static str,
    program: Vec<String>,
    socket: PathBuf,
    inbox: Inbox,
    process: Option<Process>,
}

impl<'lab> Service<'lab> {
    /// Starts `program`, which runs as root, and waits until it is ready. `stored` is how many
    /// descriptors are kept for it, `FileDescriptorStoreMax=`: one, or with 0 none as outside
    /// systemd.
    ///
    /// # Errors
    ///
    /// Where it does not get ready.
    pub fn start(
        lab: &'lab Lab,
        name: &'static str,
        program: Vec<String>,
        stored: usize,
    ) -> Result<Self> {
        ensure!(stored <= 1, "a second descriptor could not be passed on");
        let socket = lab.folder().join(format!("{name}.notify"));
        let inbox = Inbox::open(&socket, stored)?;
        let mut service = Self { lab, name, program, socket, inbox, process: None };
        service.start_again()?;
        Ok(service)
    }

    /// Starts its next process with what the one before has stored, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Where one runs, or it does not get ready.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let before = self.inbox.ready()?;
        let stored = self.inbox.stored()?;
        let mut words = vec!["env".to_owned()];
        words.push(format!("NOTIFY_SOCKET={}", self.socket.display()));
        words.push(format!("WATCHDOG_USEC={}", WATCHDOG.as_micros()));
        let (script, input) = match stored {
            Some((name, descriptor)) => {
                words.push(format!("LISTEN_FDNAMES={name}"));
                (WITH_DESCRIPTOR, Stdio::from(descriptor))
            }
            None => (WITHOUT_DESCRIPTOR, Stdio::null()),
        };
        words.extend(["sh", "-euc", script, "sh"].map(str::to_owned));
        words.extend_from_slice(&self.program);
        let command = self.lab.command(&self.lab.host, Identity::Root, &words)?;
        let folder = self.lab.folder();
        let process = Process::spawn_with_input(self.name, command, folder, input)?;
        let process = self.process.insert(process);
        let inbox = &self.inbox;
        wait_for(&format!("READY=1 of {}", self.name), PATIENCE, || {
            process.still_runs()?;
            Ok((inbox.ready()? > before).then_some(()))
        })
    }

    /// Stops and starts it, `systemctl restart`: what it has stored is kept.
    ///
    /// # Errors
    ///
    /// Where it does not end, or does not get ready again.
    pub fn restart(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)?;
        self.start_again()
    }

    /// Stops it for good, `systemctl stop`: what it has stored is closed.
    ///
    /// # Errors
    ///
    /// Where it does not end.
    pub fn stop(&mut self) -> Result<()> {
        self.end(Signal::SIGTERM)?;
        self.inbox.close_stored()
    }

    /// Kills it with -9. What it has stored is kept.
    ///
    /// # Errors
    ///
    /// Where it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// Where it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().with_context(|| format!("{} does not run", self.name))?.signal(signal)
    }

    /// Fails where it has ended by itself, or has not said WATCHDOG=1 in time.
    ///
    /// # Errors
    ///
    /// With its exit status, or the time of its silence.
    pub fn require_alive(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("it has been ended")?;
        process.still_runs()?;
        let silence = self.inbox.silence()?;
        ensure!(silence < WATCHDOG, "{} has been silent for {silence:?}", self.name);
        Ok(())
    }

    /// Whether a descriptor of it is kept.
    ///
    /// # Errors
    ///
    /// Where the inbox has failed.
    pub fn has_stored(&self) -> Result<bool> {
        Ok(self.inbox.stored()?.is_some())
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    fn end(&mut self, signal: Signal) -> Result<()> {
        let mut process =
            self.process.take().with_context(|| format!("{} does not run", self.name))?;
        process.signal(signal)?;
        process.wait_for_end(PATIENCE).map(drop)
    }
}

/// The stored descriptor comes as the standard input, the one way to pass it that no program started
/// meanwhile can inherit. This shell becomes the service, so its process id is the service's.
const WITH_DESCRIPTOR: &str = r#"
    exec 3<&0 </dev/null
    export LISTEN_FDS=1 LISTEN_PID=$$ WATCHDOG_PID=$$
    exec "$@"
"#;

const WITHOUT_DESCRIPTOR: &str = r#"
    export WATCHDOG_PID=$$
    exec "$@"
"#;

/// `WatchdogSec=`, with room for a loaded machine.
const WATCHDOG: Duration = Duration::from_secs(10);
