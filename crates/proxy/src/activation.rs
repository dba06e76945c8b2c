//! Listeners that a service manager opened for us, and holds while we are gone: sd_listen_fds(3).
//!
//! They keep the port from every other user, and clients waiting instead of refused.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use socket2::{Domain, Protocol, SockRef, Type};
use thiserror::Error;

/// Why the sockets that were passed are of no use. Names the key of the `.socket` unit to mend.
#[derive(Debug, Error)]
pub enum Error {
    /// The environment does not say what was passed.
    #[error("LISTEN_FDS and LISTEN_FDNAMES do not describe the sockets that were passed: {0}")]
    Environment(#[source] io::Error),
    /// The socket is for something else.
    #[error(
        "the service manager passes a socket named {0}, which is unknown here: listeners have \
         FileDescriptorName=transparent"
    )]
    Name(String),
    /// A service that is started for each connection.
    #[error("the service manager passes a connection, not a listener: set Accept=no")]
    Connection,
    /// Not a listener of TCP over IPv4 or IPv6.
    #[error(
        "the service manager passes a socket that is no TCP listener: set ListenStream= to an IP \
         address with a port, and no SocketProtocol="
    )]
    NotTcp,
    /// The system does not tell, or does not let us.
    #[error("cannot use a socket that the service manager passes: {0}")]
    System(#[source] io::Error),
}

/// Takes the listeners that were passed to this process; none if it was started without any, or
/// has taken them already. They do not block and are closed on exec.
///
/// To be called before anything else opens a descriptor.
///
/// # Errors
/// The first socket that is not what it should be.
pub fn take() -> Result<Vec<TcpListener>, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, SeqCst) {
        return Ok(Vec::new());
    }
    // Where they are meant for whoever started this process, LISTEN_FDNAMES still names them.
    if sd_notify::listen_fds().map_err(Error::Environment)?.len() == 0 {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names().map_err(Error::Environment)?;
    // All are ours from here on, so that none stays open by mistake.
    let passed: Vec<(OwnedFd, String)> = passed.map(|(number, name)| (own(number), name)).collect();
    passed.into_iter().map(|(socket, name)| listener(socket, &name)).collect()
}

#[expect(unsafe_code, reason = "a descriptor is passed by its number alone")]
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: it is open, for sd-notify has marked it close-on-exec; it was passed for us to own;
    // and `take` comes here once in the life of the process.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn listener(socket: OwnedFd, name: &str) -> Result<TcpListener, Error> {
    match name {
        "transparent" => {}
        // No name was given: systemd says which unit it is instead, others nothing.
        "" | "unknown" => {}
        unit if unit.ends_with(".socket") => {}
        "connection" => return Err(Error::Connection),
        _ => return Err(Error::Name(name.to_owned())),
    }
    if !is_tcp(&SockRef::from(&socket)).map_err(Error::System)? {
        return Err(Error::NotTcp);
    }
    if !SockRef::from(&socket).is_listener().map_err(Error::System)? {
        return Err(Error::Connection);
    }
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true).map_err(Error::System)?;
    Ok(listener)
}

fn is_tcp(socket: &SockRef<'_>) -> io::Result<bool> {
    let internet = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6);
    Ok(internet && socket.r#type()? == Type::STREAM && socket.protocol()? == Some(Protocol::TCP))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use socket2::Socket;

    use super::*;

    fn bound(address: &str) -> TcpListener {
        TcpListener::bind(address).unwrap()
    }

    #[test]
    fn listeners_are_taken_with_our_name_or_none() {
        for (address, name) in [
            ("127.0.0.1:0", "transparent"),
            ("[::1]:0", "transparent"),
            ("127.0.0.1:0", "bip324-proxy.socket"),
            ("127.0.0.1:0", "unknown"),
            ("127.0.0.1:0", ""),
        ] {
            let passed = bound(address);
            let address = passed.local_addr().unwrap();
            let taken = listener(passed.into(), name).unwrap();
            assert_eq!(taken.local_addr().unwrap(), address);
            let flags = OFlag::from_bits_retain(fcntl(&taken, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_NONBLOCK));
        }
    }

    #[test]
    fn what_is_no_listener_of_ours_is_refused_with_the_key_to_mend() {
        let here = bound("127.0.0.1:0");
        let connection = TcpStream::connect(here.local_addr().unwrap()).unwrap();
        let path = std::env::temp_dir().join(format!("bip324-{}", std::process::id()));
        let local = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let idle = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (socket, name, key) in [
            (connection.try_clone().unwrap().into(), "connection", "Accept=no"),
            (connection.into(), "transparent", "Accept=no"),
            (idle.into(), "transparent", "Accept=no"),
            (datagrams.into(), "transparent", "ListenStream="),
            (local.into(), "transparent", "ListenStream="),
            (here.into(), "control", "FileDescriptorName=transparent"),
        ] {
            let error = listener(socket, name).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains('\n'), "{name}: {error}");
        }
    }
}
