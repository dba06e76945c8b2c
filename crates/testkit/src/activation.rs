//! What a service manager does for a daemon: holds its listeners and passes them to it
//! (sd_listen_fds(3)), and listens to its notifications (sd_notify(3)).

use std::ffi::OsString;
use std::fs;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use command_fds::{CommandFdExt, FdMapping};

/// A command that runs the one in its last arguments, which finds `sockets` passed to it, with
/// these names if there are any. The process stays the same, whatever execs what on the way.
///
/// # Errors
///
/// Where there are no more descriptors.
pub fn passing(sockets: &[BorrowedFd<'_>], names: Option<&str>) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", "export LISTEN_PID=$$; exec \"$@\"", "sh"]);
    command.env("LISTEN_FDS", sockets.len().to_string());
    command.envs(names.map(|names| ("LISTEN_FDNAMES", names)));
    let mut mappings = Vec::new();
    for (child_fd, socket) in (FIRST..).zip(sockets) {
        mappings.push(FdMapping { parent_fd: socket.try_clone_to_owned()?, child_fd });
    }
    command.fd_mappings(mappings)?;
    Ok(command)
}

/// The socket that NOTIFY_SOCKET names. Removed when dropped.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    /// Opens it in `folder`, for everybody.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
        Ok(Self { socket, path })
    }

    /// The variable and its value.
    pub fn variable(&self) -> (&'static str, OsString) {
        ("NOTIFY_SOCKET", self.path.clone().into())
    }

    /// The next message, without the line's end; `None` if none comes within `limit`.
    ///
    /// # Errors
    ///
    /// Where the socket breaks.
    pub fn next(&self, limit: Duration) -> Result<Option<String>> {
        self.socket.set_read_timeout(Some(limit))?;
        let mut message = [0; 4096];
        match self.socket.recv(&mut message) {
            Ok(length) => {
                let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default());
                Ok(Some(text.trim_end().to_owned()))
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;
