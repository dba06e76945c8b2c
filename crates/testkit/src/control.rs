//! A daemon's control socket for members of the clients' group, and the page that shows it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::unistd::User;

use crate::daemon::Daemon;
use crate::identity::Identity;
use crate::lab::Lab;
use crate::prerequisite::{DAEMON_USER, client_gid};
use crate::process::Process;
use crate::wait::{PATIENCE, wait_for};

/// The folder of the socket, as systemd would make it.
#[derive(Debug)]
pub struct Control {
    folder: PathBuf,
}

impl Control {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// Where there is no user for the daemon.
    pub fn make(lab: &Lab) -> Result<Self> {
        let folder = lab.folder().join("control");
        fs::create_dir(&folder)?;
        let daemon = User::from_name(DAEMON_USER)?.context("no user for the daemon")?;
        chown(&folder, Some(daemon.uid.as_raw()), Some(daemon.gid.as_raw()))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    /// Path of the socket.
    pub fn socket(&self) -> String {
        self.folder.join("control.sock").display().to_string()
    }

    /// A daemon with it, for members of the clients' group.
    ///
    /// # Errors
    ///
    /// As [`Daemon::start`].
    pub fn daemon<'lab>(&self, lab: &'lab Lab) -> Result<Daemon<'lab>> {
        let daemon = Daemon::start(lab, &["--control", &self.socket()])?;
        wait_for("the control socket", PATIENCE, || {
            Ok(fs::metadata(self.socket()).is_ok().then_some(()))
        })?;
        chown(self.socket(), None, Some(client_gid()?.as_raw()))?;
        fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o660))?;
        Ok(daemon)
    }

    /// `bip324ctl web`, and the address that it prints.
    ///
    /// # Errors
    ///
    /// Where it has not been built or does not start.
    pub fn web(&self, lab: &Lab, identity: Identity) -> Result<(Process, String)> {
        let line = format!("web --listen 127.0.0.1:1326 --socket {}", self.socket());
        let program = lab.built("bip324ctl")?;
        let words: Vec<_> =
            [program].into_iter().chain(line.split(' ').map(str::to_owned)).collect();
        let command = lab.command(&lab.host, identity, &words)?;
        let mut server = Process::spawn("web", command, lab.folder())?;
        let url = server.wait_for_log("its address", PATIENCE, |log| {
            Some(log.lines().find(|line| line.starts_with("http://"))?.to_owned())
        })?;
        Ok((server, url))
    }
}
