//! Opening the daemon's listeners.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};
use thiserror::Error;
use tracing::warn;

/// There are no listeners.
#[derive(Debug, Error)]
pub enum Error {
    /// One could not be opened.
    #[error("cannot listen on {address}: {source}{}", remedy(source))]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Addresses were asked for and listeners passed.
    #[error(
        "the service manager passes listeners, and --listen or `listen` in the configuration names \
         others: leave --listen out, and `listen`, and set ListenStream= in the .socket unit, or \
         disable that unit"
    )]
    Both,
}

/// The listeners that a service manager `passed`; if there are none, those that [`bind`] opens on
/// `addresses`.
///
/// # Errors
/// Both are given, or as [`bind`].
pub fn open(addresses: &[SocketAddr], passed: Vec<TcpListener>) -> Result<Vec<TcpListener>, Error> {
    match (addresses, passed.is_empty()) {
        (_, true) => bind(addresses),
        ([], false) => Ok(passed),
        _ => Err(Error::Both),
    }
}

/// Opens listeners on `addresses`; on the defaults, port 1324 of 127.0.0.1 and ::1, if there are
/// none. Of the defaults the second is left out where the host has no IPv6. They do not block, as a
/// runtime needs them; opening them takes none, so that it can come before the sandbox, which allows
/// no listener.
///
/// # Errors
/// The first address that cannot be listened on.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let listen = |&address| bind_one(address).map_err(|source| Error::Address { address, source });
    if !addresses.is_empty() {
        return addresses.iter().map(listen).collect();
    }
    let [v4, v6] = DEFAULT_LISTEN;
    let mut listeners = vec![listen(&v4)?];
    match listen(&v6) {
        Ok(listener) => listeners.push(listener),
        Err(Error::Address { source, .. }) if has_no_ipv6(&source) => {
            warn!("this host has no IPv6 loopback address; clients' IPv6 connections are refused");
        }
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// `ipv6.disable=1` has no such sockets, `disable_ipv6=1` no such address.
fn has_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; find the program that has it with `ss -ltnp`",
        io::ErrorKind::AddrNotAvailable => "; it is not an address of this host",
        // systemd's answer, by eBPF.
        _ if error.raw_os_error() == Some(nix::libc::EPERM) => {
            "; where the unit of the service has SocketBindDeny=, allow it by SocketBindAllow="
        }
        io::ErrorKind::PermissionDenied => "; an unprivileged user needs a port from 1024 on",
        _ => "",
    }
}

const DEFAULT_LISTEN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1324),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 1324),
];

/// Connections that wait to be accepted; the kernel's `somaxconn` may allow fewer.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[test]
    fn an_ipv6_listener_leaves_ipv4_alone() {
        let listeners = bind(&["[::]:0".parse().unwrap()]).unwrap();
        assert!(SockRef::from(&listeners[0]).only_v6().unwrap());
    }

    #[test]
    fn passed_listeners_stand_in_for_the_defaults_and_exclude_addresses() {
        let passed = || vec![TcpListener::bind("127.0.0.1:0").unwrap()];
        let one = passed();
        let address = one[0].local_addr().unwrap();
        let opened = open(&[], one).unwrap();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].local_addr().unwrap(), address);
        let both = open(&["127.0.0.1:0".parse().unwrap()], passed());
        assert!(matches!(both, Err(Error::Both)));
    }

    #[test]
    fn a_taken_address_is_named_with_a_remedy() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = taken[0].local_addr().unwrap();
        let text = bind(&[address]).unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains("ss -ltnp"), "{text}");
    }
}
