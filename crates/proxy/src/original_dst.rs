//! Where a redirected connection was going, as the kernel's connection tracking remembers it. The
//! only file that asks.

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{Ip6tOriginalDst, OriginalDst as Ip4OriginalDst};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, getsockopt};
use tokio::net::TcpStream;

use crate::destination::canonical;

/// Answers where an accepted connection was going before it was redirected.
pub trait OriginalDst: Send + Sync + 'static {
    /// The original destination of `stream`, which accept said comes from `peer`.
    ///
    /// Must be called right after accept: the kernel forgets. Never blocks.
    ///
    /// # Errors
    /// ENOENT where the kernel tracks no such connection, other values as getsockopt(2) gives them.
    fn lookup(&self, stream: &TcpStream, peer: SocketAddr) -> Result<SocketAddr, Errno>;
}

/// The kernel's own answer: `SO_ORIGINAL_DST` and `IP6T_SO_ORIGINAL_DST` (linux/netfilter_ipv4.h,
/// netfilter_ipv6/ip6_tables.h).
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

impl OriginalDst for Kernel {
    fn lookup(&self, stream: &TcpStream, peer: SocketAddr) -> Result<SocketAddr, Errno> {
        // A v4-mapped peer is an IPv4 connection on an IPv6 socket: conntrack knows it as IPv4.
        match canonical(peer) {
            SocketAddr::V4(_) => {
                let address = SockaddrIn::from(getsockopt(stream, Ip4OriginalDst)?);
                Ok(SocketAddrV4::from(address).into())
            }
            SocketAddr::V6(_) => {
                let address = SockaddrIn6::from(getsockopt(stream, Ip6tOriginalDst)?);
                Ok(SocketAddrV6::from(address).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::{Origin, Own, classify};

    /// Whether or not this host tracks connections, one to our own listener is direct.
    #[tokio::test]
    async fn a_connection_to_the_listener_itself_is_direct() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = tokio::net::TcpListener::bind(host).await.unwrap();
            let local = listener.local_addr().unwrap();
            let _client = TcpStream::connect(local).await.unwrap();
            let (stream, peer) = listener.accept().await.unwrap();
            let own = Own::new(vec![local], Vec::new);
            let origin = classify(Kernel.lookup(&stream, peer), local, peer, &own);
            assert_eq!(origin, Ok(Origin::Direct));
        }
    }
}
