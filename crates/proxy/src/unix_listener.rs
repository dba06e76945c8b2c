//! Listening at a path, for the control socket and for metrics.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

/// There is no listener.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process answers there.
    #[error("cannot listen on {}: another program listens there: stop it, or take another path", .0.display())]
    Living(PathBuf),
    /// What is there is not for us to remove.
    #[error("cannot listen on {}: it is there and no socket: remove it, or take another path", .0.display())]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {}: {source}{}", path.display(), remedy(source))]
    System {
        /// The path asked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens at `path`, for the daemon's user and group alone. A socket that a process has left there is
/// replaced; one that is answered never. Does not block, as a runtime needs it.
///
/// Two that begin at once may both find a dead one; then the later one has the path, and the earlier
/// one listens where nobody finds it. That is accepted: only the same user can, with the same path but
/// other listeners, which are opened before; and a lock would let others keep a daemon from starting.
///
/// Must come before the sandbox, which allows no listener. For that reason nobody removes the socket in
/// the end.
///
/// # Errors
/// Another program listens there, or the system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, Error> {
    let system = |source| Error::System { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(Error::NoSocket(path.to_owned()));
        }
        Ok(_) if is_living(path) => return Err(Error::Living(path.to_owned())),
        Ok(_) => fs::remove_file(path).map_err(system)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }
    open(path).map_err(system)
}

/// Whether anybody listens, even one who is too busy to answer.
fn is_living(path: &Path) -> bool {
    let connected = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    connected.err().is_none_or(|error| error.kind() != ErrorKind::ConnectionRefused)
}

fn open(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // It has these from its first moment on: what umask allows of them at first, then all.
    fchmod(&socket, Mode::from_bits_truncate(MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "; its folder must be there",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; the daemon's user must be allowed to write to its folder"
        }
        _ => "",
    }
}

/// For user and group.
const MODE: u32 = 0o660;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A folder that is removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("bip324-{name}-{}", std::process::id()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_is_its_group_s_and_one_that_was_left_is_replaced() {
        let folder = Folder::new("left");
        let path = folder.0.join("x.sock");
        for _ in 0..2 {
            let listener = bind(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
            UnixStream::connect(&path).unwrap();
            let accepted = listener.accept();
            assert!(accepted.is_ok(), "{accepted:?}");
            // Dropped, it leaves its socket.
        }
        assert!(UnixStream::connect(&path).is_err() && path.exists());
    }

    #[test]
    fn one_that_is_answered_is_never_replaced_however_busy() {
        let folder = Folder::new("living");
        let path = folder.0.join("x.sock");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let waiting = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        waiting.connect(&SockAddr::unix(&path).unwrap()).unwrap();
        let error = bind(&path).unwrap_err();
        assert!(matches!(error, Error::Living(_)), "{error}");
        assert!(listener.accept().is_ok(), "it is still there");
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = Folder::new("file");
        let path = folder.0.join("x");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path), Err(Error::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let said = bind(&folder.0.join("none/x")).unwrap_err().to_string();
        assert!(said.ends_with("; its folder must be there"), "{said}");
    }
}
