//! Opening the daemon's listeners.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::SockRef;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket};
use tracing::warn;

/// A listener could not be opened.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}{}", remedy(source))]
pub struct Error {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

/// Opens listeners on `addresses`; on the defaults, port 1324 of 127.0.0.1 and ::1, if there are
/// none. Of the defaults the second is left out where the host has no IPv6. Needs a tokio runtime.
///
/// # Errors
/// The first address that cannot be listened on.
pub fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let listen = |&address| bind_one(address).map_err(|source| Error { address, source });
    if !addresses.is_empty() {
        return addresses.iter().map(listen).collect();
    }
    let [v4, v6] = DEFAULT_LISTEN;
    let mut listeners = vec![listen(&v4)?];
    match listen(&v6) {
        Ok(listener) => listeners.push(listener),
        Err(error) if has_no_ipv6(&error.source) => {
            warn!("this host has no IPv6 loopback address; clients' IPv6 connections are refused");
        }
        Err(error) => return Err(error),
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
        io::ErrorKind::PermissionDenied => "; an unprivileged user needs a port from 1024 on",
        _ => "",
    }
}

const DEFAULT_LISTEN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1324),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 1324),
];

/// Connections that wait to be accepted; the kernel's `somaxconn` may allow fewer.
const BACKLOG: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_ipv6_listener_leaves_ipv4_alone() {
        let listeners = bind(&["[::]:0".parse().unwrap()]).unwrap();
        assert!(SockRef::from(&listeners[0]).only_v6().unwrap());
    }

    #[tokio::test]
    async fn a_taken_address_is_named_with_a_remedy() {
        let taken = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = taken[0].local_addr().unwrap();
        let text = bind(&[address]).unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains("ss -ltnp"), "{text}");
    }
}
