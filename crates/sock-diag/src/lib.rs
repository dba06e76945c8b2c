//! Who owns a TCP socket of this host, as the kernel's sock_diag tells it (sock_diag(7)).
//!
//! One request, one answer: the kernel looks the socket up in the tables that deliver packets
//! (`inet_diag_find_one_icsk`, net/ipv4/inet_diag.c), so that an answer is about the very socket that
//! a packet would reach, wildcard and dual-stack listeners included. It needs no privilege, and sees
//! the caller's network namespace alone.

#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use nix::libc::{AF_INET, AF_INET6, ENOENT, IPPROTO_TCP, MSG_DONTWAIT, NLM_F_REQUEST, NLMSG_ERROR};

/// A socket to the kernel's sock_diag.
#[derive(Debug)]
pub struct SockDiag {
    socket: Socket,
    sequence: u32,
}

/// The owner of a TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User that made the socket; as seen from this process's user namespace.
    pub uid: u32,
    /// Number of the socket, by which /proc/PID/fd names it.
    pub inode: u32,
}

impl SockDiag {
    /// Opens the socket, one descriptor.
    ///
    /// # Errors
    /// The kernel has no sock_diag, or no more sockets.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        // The kernel is port 0; nobody else's messages are taken then.
        socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Owner of the listener that a connection to `address` would reach, if there is one. Does not
    /// block: the kernel has answered by the time that the request is sent.
    ///
    /// # Errors
    /// The kernel does not answer, or has no TCP diagnostics (`tcp_diag`).
    pub fn listener(&mut self, address: SocketAddr) -> io::Result<Option<Owner>> {
        // Port 0 belongs to no connection, so that the lookup goes on to the listeners.
        let nobody = SocketAddr::new(address.ip(), 0);
        let found = self.find(address, nobody)?;
        Ok(found.filter(|socket| socket.state == TCP_LISTEN).map(Found::owner))
    }

    /// Owner of the connected socket with these two addresses, seen from that socket: `local` is
    /// its own. `None` if there is none, or if its process has closed it. Does not block.
    ///
    /// # Errors
    /// As [`Self::listener`].
    pub fn connection(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Option<Owner>> {
        let connected = |socket: &Found| {
            // A socket without an inode has no process any more, and its uid reads 0.
            socket.state != TCP_LISTEN && socket.inode != 0
        };
        Ok(self.find(local, remote)?.filter(connected).map(Found::owner))
    }

    /// Whether there is a connected socket with these two addresses, as in [`Self::connection`], its
    /// handshake under way or its process done with it included. Does not block.
    ///
    /// # Errors
    /// As [`Self::listener`].
    pub fn is_connected(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
        Ok(self.find(local, remote)?.is_some_and(|socket| socket.state != TCP_LISTEN))
    }

    fn find(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Found>> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(local, remote, self.sequence), 0)?;
        loop {
            let mut answer = Vec::with_capacity(ANSWER_LIMIT);
            self.socket.recv(&mut answer, MSG_DONTWAIT)?;
            // Another number: the answer to an earlier request that failed half-way.
            if number(&answer, 8)? == self.sequence {
                return found(&answer);
            }
        }
    }
}

/// What the kernel says of a socket.
struct Found {
    state: u8,
    uid: u32,
    inode: u32,
}

impl Found {
    const fn owner(self) -> Owner {
        Owner { uid: self.uid, inode: self.inode }
    }
}

/// A `struct nlmsghdr` and a `struct inet_diag_req_v2` (linux/netlink.h, linux/inet_diag.h).
fn request(local: SocketAddr, remote: SocketAddr, sequence: u32) -> Vec<u8> {
    let (family, local_ip, remote_ip) = match (canonical(local), canonical(remote)) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => (AF_INET, padded(local), padded(remote)),
        (local, remote) => (AF_INET6, v6(local).octets(), v6(remote).octets()),
    };
    let mut bytes = Vec::with_capacity(REQUEST_LEN as usize);
    bytes.extend(REQUEST_LEN.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    // No extensions. Only lists are filtered by state.
    bytes.extend([family as u8, IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(local_ip);
    bytes.extend(remote_ip);
    bytes.extend(interface(local).to_ne_bytes());
    bytes.extend(ANY_COOKIE);
    bytes
}

/// An IPv4 address where an IPv6 one would fit.
fn padded(ip: Ipv4Addr) -> [u8; 16] {
    let mut octets = [0; 16];
    octets[..4].copy_from_slice(&ip.octets());
    octets
}

/// Reads an answer: a `struct inet_diag_msg` behind the header, or an error.
fn found(answer: &[u8]) -> io::Result<Option<Found>> {
    match i32::from(u16::from_ne_bytes(field(answer, 4)?)) {
        NLMSG_ERROR => match i32::from_ne_bytes(field(answer, BODY)?).saturating_neg() {
            ENOENT => Ok(None),
            0 => Err(malformed()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        },
        kind if kind == i32::from(SOCK_DIAG_BY_FAMILY) => {
            let [state] = field(answer, BODY + 1)?;
            Ok(Some(Found {
                state,
                uid: number(answer, BODY + 64)?,
                inode: number(answer, BODY + 68)?,
            }))
        }
        _ => Err(malformed()),
    }
}

fn number(answer: &[u8], at: usize) -> io::Result<u32> {
    Ok(u32::from_ne_bytes(field(answer, at)?))
}

fn field<const N: usize>(answer: &[u8], at: usize) -> io::Result<[u8; N]> {
    answer.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel sent a malformed message")
}

/// The kernel keeps IPv4 connections of IPv6 sockets among the IPv4 ones.
fn canonical(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
        IpAddr::V6(ip) => ip,
    }
}

/// The interface that the packets come in by: a link-local address names it, and those of this
/// host to itself use loopback. Only a socket that is bound to a device (`SO_BINDTODEVICE`, which
/// any user may set) cares: it is found by no other.
fn interface(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => address.scope_id(),
        _ => LOOPBACK,
    }
}

/// `INET_DIAG_NOCOOKIE` twice: whichever socket it is.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// `LOOPBACK_IFINDEX` (net/flow.h): the same in every network namespace.
const LOOPBACK: u32 = 1;

/// `SOCK_DIAG_BY_FAMILY` of linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// `TCP_LISTEN` of net/tcp_states.h.
const TCP_LISTEN: u8 = 10;

/// Bytes: 16 of header, 8, and 48 of `struct inet_diag_sockid`.
const REQUEST_LEN: u32 = 72;

/// Where an answer's body begins.
const BODY: usize = 16;

/// Bytes; an answer without extensions is far shorter, attributes included.
const ANSWER_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use nix::unistd::getuid;
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Who owns this socket of ours, as /proc has it.
    fn me(socket: &impl AsRawFd) -> Option<Owner> {
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.into_os_string().into_string().unwrap();
        let inode = link.strip_prefix("socket:[").unwrap().strip_suffix(']').unwrap();
        Some(Owner { uid: getuid().as_raw(), inode: inode.parse().unwrap() })
    }

    fn listen(address: &str) -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn listeners_are_found_on_their_address_and_behind_the_wildcard() {
        let mut diag = SockDiag::open().unwrap();
        for (bound, asked) in
            [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "127.0.0.1")]
        {
            let (listener, address) = listen(bound);
            let asked = SocketAddr::new(asked.parse().unwrap(), address.port());
            assert_eq!(diag.listener(asked).unwrap(), me(&listener), "{bound}");
            drop(listener);
            assert_eq!(diag.listener(asked).unwrap(), None, "{bound}");
        }
        let (listener, address) = listen("[::1]:0");
        assert_eq!(diag.listener(address).unwrap(), me(&listener));
        let other = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
        assert_eq!(diag.listener(other).unwrap(), None);
    }

    #[test]
    fn both_ends_of_a_connection_are_found() {
        let mut diag = SockDiag::open().unwrap();
        for bound in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, address) = listen(bound);
            let client = TcpStream::connect(address).unwrap();
            let (server, peer) = listener.accept().unwrap();
            assert_eq!(diag.connection(peer, address).unwrap(), me(&client));
            assert_eq!(diag.connection(address, peer).unwrap(), me(&server));
            // Its process has closed it, and it still waits for the other side's end.
            drop(client);
            assert_eq!(diag.connection(peer, address).unwrap(), None);
            assert!(diag.is_connected(peer, address).unwrap());
            drop(server);
        }
    }

    #[test]
    fn an_ipv4_connection_of_an_ipv6_socket_is_found() {
        let mut diag = SockDiag::open().unwrap();
        let (listener, address) = listen("[::]:0");
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        let client = TcpStream::connect((mapped, address.port())).unwrap();
        let (server, peer) = listener.accept().unwrap();
        let found = diag.connection(peer, server.local_addr().unwrap()).unwrap();
        assert_eq!(found, me(&client));
    }

    /// Any user may bind a socket to a device: that must not hide who owns it.
    #[test]
    fn a_connection_bound_to_the_loopback_device_is_found() {
        let mut diag = SockDiag::open().unwrap();
        for bound in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, address) = listen(bound);
            let client = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            client.bind_device(Some(b"lo")).unwrap();
            client.connect(&address.into()).unwrap();
            let (_server, peer) = listener.accept().unwrap();
            assert_eq!(diag.connection(peer, address).unwrap(), me(&client));
        }
    }

    #[test]
    fn a_listener_is_no_connection_and_a_connection_no_listener() {
        let mut diag = SockDiag::open().unwrap();
        let (_listener, address) = listen("127.0.0.1:0");
        let client = TcpStream::connect(address).unwrap();
        let stranger = "127.0.0.2:9".parse().unwrap();
        assert_eq!(diag.connection(address, stranger).unwrap(), None);
        assert!(!diag.is_connected(address, stranger).unwrap());
        assert_eq!(diag.listener(client.local_addr().unwrap()).unwrap(), None);
    }
}
