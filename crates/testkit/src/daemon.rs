//! `bip324-proxy` in the host's namespace, as its own user.

use std::os::fd::BorrowedFd;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::activation::{self, Notifications};
use crate::identity::Identity;
use crate::lab::Lab;
use crate::namespace::Family;
use crate::process::{Process, output};
use crate::vitals::Vitals;
use crate::wait::{PATIENCE, wait_for};

/// Port the daemon listens on, on both loopback addresses.
pub const PORT: u16 = 1324;

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub struct Daemon<'lab> {
    lab: &'lab Lab,
    process: Process,
}

impl<'lab> Daemon<'lab> {
    /// Starts it at log level debug with more `arguments`, and waits until it listens on both
    /// loopback addresses. A `--log` of their own would be a second one: see
    /// [`Self::start_quietly`].
    ///
    /// # Errors
    ///
    /// Where it has not been built or does not start.
    pub fn start(lab: &'lab Lab, arguments: &[&str]) -> Result<Self> {
        Self::start_with_listeners(lab, arguments, Family::BOTH.len())
    }

    /// As [`Self::start`], but waits for this many listeners.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with_listeners(
        lab: &'lab Lab,
        arguments: &[&str],
        listeners: usize,
    ) -> Result<Self> {
        Self::launch(lab, &[], &[&["--log", "debug"], arguments].concat(), listeners)
    }

    /// As [`Self::start`], with more `environment`, each `NAME=VALUE`.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_with_environment(
        lab: &'lab Lab,
        environment: &[String],
        arguments: &[&str],
    ) -> Result<Self> {
        let arguments = [&["--log", "debug"], arguments].concat();
        Self::launch(lab, environment, &arguments, Family::BOTH.len())
    }

    /// As [`Self::start`], but at its own default log level.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_quietly(lab: &'lab Lab, arguments: &[&str]) -> Result<Self> {
        Self::launch(lab, &[], arguments, Family::BOTH.len())
    }

    /// As [`Self::start`], but with `listeners` passed to it, and waits until it has notified
    /// `manager` that it is ready.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn start_passed(
        lab: &'lab Lab,
        listeners: &[BorrowedFd<'_>],
        manager: &Notifications,
    ) -> Result<Self> {
        let words = [lab.built("bip324-proxy")?, "--log".into(), "debug".into()];
        let daemon = lab.command(&lab.host, Identity::Daemon, &words)?;
        let mut command = activation::passing(listeners, Some("transparent:transparent"))?;
        let (name, path) = manager.variable();
        command.env(name, path).arg(daemon.get_program()).args(daemon.get_args());
        let process = Process::spawn("daemon", command, lab.folder())?;
        wait_for("READY=1", PATIENCE, || {
            let told = manager.next(Duration::from_millis(100))?;
            Ok((told.as_deref() == Some("READY=1")).then_some(()))
        })?;
        Ok(Self { lab, process })
    }

    fn launch(
        lab: &'lab Lab,
        environment: &[String],
        arguments: &[&str],
        listeners: usize,
    ) -> Result<Self> {
        let mut words = vec!["env".to_owned()];
        words.extend_from_slice(environment);
        words.push(lab.built("bip324-proxy")?);
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        let command = lab.command(&lab.host, Identity::Daemon, &words)?;
        let process = Process::spawn("daemon", command, lab.folder())?;
        let mut daemon = Self { lab, process };
        wait_for("the daemon's listeners", PATIENCE, || {
            daemon.process.still_runs()?;
            Ok((daemon.listeners()? == listeners).then_some(()))
        })?;
        Ok(daemon)
    }

    /// Its process id: what starts it has become it.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it uses of the system.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub fn vitals(&self) -> Result<Vitals> {
        Vitals::of(self.id())
    }

    /// What it has logged.
    ///
    /// # Errors
    ///
    /// Where the log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    /// Session ids in its debug log, in the order of the sessions.
    ///
    /// # Errors
    ///
    /// Where the log cannot be read.
    pub fn session_ids(&self) -> Result<Vec<String>> {
        let log = self.log()?;
        let words = log.split(|c: char| !c.is_ascii_hexdigit());
        Ok(words.filter(|word| word.len() == SESSION_ID_DIGITS).map(str::to_owned).collect())
    }

    /// Sends `signal`.
    ///
    /// # Errors
    ///
    /// Where it has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends it with `signal` and waits for the end.
    ///
    /// # Errors
    ///
    /// Where it does not end.
    pub fn end(mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        self.process.wait_for_end(PATIENCE).map(drop)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    ///
    /// Where it still runs after `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.process.wait_for_end(limit)
    }

    fn listeners(&self) -> Result<usize> {
        let mut command = self.lab.host.command("ss");
        command.args(["-Htln", &format!("sport = :{PORT}")]);
        Ok(String::from_utf8(output(command)?.stdout)?.lines().count())
    }
}

/// 32 bytes in hexadecimal.
const SESSION_ID_DIGITS: usize = 64;
