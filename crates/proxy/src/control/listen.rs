//! Opening the control socket.

use std::os::unix::net::UnixListener;
use std::path::Path;

use bip324_control::SOCKET;
use nix::unistd::geteuid;
use thiserror::Error;
use tracing::warn;

use crate::unix_listener::{self, bind};

/// The control socket, and whose it is.
#[derive(Debug)]
pub struct Opened {
    pub(super) listener: UnixListener,
    /// The daemon's own user: in the sandbox it cannot be asked for.
    pub(super) uid: u32,
}

/// There is no control socket although one was asked for.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("no control socket: {0}")]
    Listen(#[from] unix_listener::Error),
    /// One was named and another one passed.
    #[error(
        "the service manager passes a control socket, and --control or `control` in the configuration \
         names another: leave that out, and set ListenStream= in bip324-proxy-control.socket, or \
         mask that unit"
    )]
    Both,
}

/// The control socket: the one that a service manager `passed`, or the one that is `named`, or at the
/// default path. Only for the last it is no error if there can be none. It does not block, and it is
/// opened without a runtime, as it must be before the sandbox.
///
/// # Errors
/// There cannot be one at the path that is named, or another one was passed.
pub fn open(named: Option<&Path>, passed: Option<UnixListener>) -> Result<Option<Opened>, Error> {
    let listener = match (named, passed) {
        (None, Some(listener)) => Some(listener),
        (Some(_), Some(_)) => return Err(Error::Both),
        (Some(path), None) => Some(bind(path)?),
        (None, None) => {
            bind(Path::new(SOCKET)).map_err(|error| warn!("no control socket: {error}")).ok()
        }
    };
    Ok(listener.map(|listener| Opened { listener, uid: geteuid().as_raw() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_one_stands_in_for_the_default_and_excludes_a_path() {
        let path = std::env::temp_dir().join(format!("bip324-passed-{}", std::process::id()));
        let passed = || {
            let listener = UnixListener::bind(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            Some(listener)
        };
        let opened = open(None, passed()).unwrap().unwrap();
        assert_eq!(opened.listener.local_addr().unwrap().as_pathname(), Some(&*path));
        assert!(matches!(open(Some(&path), passed()), Err(Error::Both)));
        assert!(!path.exists());
    }
}
