//! Sockets that a service manager opened for us, and holds while we are gone: sd_listen_fds(3).
//!
//! They keep the port from every other user, and clients waiting instead of refused.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
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
         FileDescriptorName=transparent, the control socket has FileDescriptorName=control"
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
    /// Not a stream listener of Unix.
    #[error(
        "the service manager passes a control socket that is no Unix listener: set ListenStream= to an \
         absolute path"
    )]
    NotUnix,
    /// More than one control socket.
    #[error("the service manager passes more than one control socket: leave one ListenStream=")]
    Controls,
    /// The system does not tell, or does not let us.
    #[error("cannot use a socket that the service manager passes: {0}")]
    System(#[source] io::Error),
}

/// What a service manager passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// For clients.
    pub listeners: Vec<TcpListener>,
    /// For those who ask what the daemon does.
    pub control: Option<UnixListener>,
}

/// Takes the sockets that were passed to this process; none if it was started without any, or
/// has taken them already. They do not block and are closed on exec.
///
/// To be called before anything else opens a descriptor.
///
/// # Errors
/// The first socket that is not what it should be.
pub fn take() -> Result<Passed, Error> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, SeqCst) {
        return Ok(Passed::default());
    }
    // Where they are meant for whoever started this process, LISTEN_FDNAMES still names them.
    if sd_notify::listen_fds().map_err(Error::Environment)?.len() == 0 {
        return Ok(Passed::default());
    }
    let passed = sd_notify::listen_fds_with_names().map_err(Error::Environment)?;
    // All are ours from here on, so that none stays open by mistake.
    let passed: Vec<(OwnedFd, String)> = passed.map(|(number, name)| (own(number), name)).collect();
    sort(passed)
}

/// By their names: a socket unit has one for all its sockets (systemd.socket(5)).
fn sort(passed: Vec<(OwnedFd, String)>) -> Result<Passed, Error> {
    let (controls, listeners): (Vec<_>, _) =
        passed.into_iter().partition(|(_, name)| name == CONTROL);
    let mut controls = controls.into_iter().map(|(socket, _)| control(socket));
    let control = controls.next().transpose()?;
    if controls.next().is_some() {
        return Err(Error::Controls);
    }
    let listeners = listeners.into_iter().map(|(socket, name)| listener(socket, &name));
    Ok(Passed { listeners: listeners.collect::<Result<_, _>>()?, control })
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

fn control(socket: OwnedFd) -> Result<UnixListener, Error> {
    let described = SockRef::from(&socket);
    let unix = described.domain().map_err(Error::System)? == Domain::UNIX
        && described.r#type().map_err(Error::System)? == Type::STREAM;
    if !unix || !described.is_listener().map_err(Error::System)? {
        return Err(Error::NotUnix);
    }
    let listener = UnixListener::from(socket);
    listener.set_nonblocking(true).map_err(Error::System)?;
    Ok(listener)
}

fn is_tcp(socket: &SockRef<'_>) -> io::Result<bool> {
    let internet = matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6);
    Ok(internet && socket.r#type()? == Type::STREAM && socket.protocol()? == Some(Protocol::TCP))
}

/// The name of the control socket.
const CONTROL: &str = "control";

#[cfg(test)]
mod tests {
    use std::net::{TcpStream, UdpSocket};

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
            (here.into(), "other", "FileDescriptorName=transparent"),
        ] {
            let error = listener(socket, name).unwrap_err().to_string();
            assert!(error.contains(key) && !error.contains('\n'), "{name}: {error}");
        }
    }

    #[test]
    fn the_control_socket_is_told_from_listeners_by_its_name() {
        let path = std::env::temp_dir().join(format!("bip324-control-{}", std::process::id()));
        let local = UnixListener::bind(&path).unwrap();
        let connection = std::os::unix::net::UnixStream::connect(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let named = |socket: OwnedFd, name: &str| (socket, name.to_owned());
        let control = || named(local.try_clone().unwrap().into(), "control");
        let tcp = || bound("127.0.0.1:0").into();

        let passed = sort(vec![control(), named(tcp(), "transparent")]).unwrap();
        assert!(passed.control.is_some() && passed.listeners.len() == 1);
        let passed = sort(vec![named(tcp(), "unknown")]).unwrap();
        assert!(passed.control.is_none() && passed.listeners.len() == 1);
        for (sockets, said) in [
            (vec![control(), control()], "more than one"),
            (vec![named(tcp(), "control")], "ListenStream= to an absolute path"),
            (vec![named(connection.into(), "control")], "no Unix listener"),
        ] {
            let error = sort(sockets).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        }
    }
}
