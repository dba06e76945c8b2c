//! A stand-in for the daemon: it answers the canary, and keeps quiet to everything else.

use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::{self, JoinHandle};

use nix::sys::socket::{Shutdown, getsockopt, shutdown, sockopt};

use crate::netns::{DAEMON, Netns, loopback};

/// What the daemon answers the canary with.
pub(crate) const BANNER: &str = "bip324-proxy 9.8.7 canary\n";

/// Serves the daemon's addresses for as long as it lives.
pub(crate) struct Daemon {
    listeners: Vec<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
}

impl Daemon {
    /// Listens on port 1324 of the loopback addresses and answers canaries with `banner`.
    pub(crate) fn start(netns: &Netns, banner: &'static str) -> Self {
        Self::on(netns, &[loopback(false, 1324), loopback(true, 1324)], banner)
    }

    /// As [`Daemon::start`], on other addresses.
    pub(crate) fn on(netns: &Netns, addresses: &[SocketAddr], banner: &'static str) -> Self {
        Self::serving(addresses.iter().map(|address| netns.listen(DAEMON, *address)), banner)
    }

    /// As [`Daemon::start`], with the listeners of another user.
    pub(crate) fn of(netns: &Netns, uid: u32) -> Self {
        Self::serving([false, true].map(|v6| netns.listen(uid, loopback(v6, 1324))), BANNER)
    }

    fn serving(listeners: impl IntoIterator<Item = TcpListener>, banner: &'static str) -> Self {
        let mut daemon = Self { listeners: Vec::new(), threads: Vec::new() };
        for listener in listeners {
            daemon.listeners.push(listener.try_clone().unwrap().into());
            daemon.threads.push(thread::spawn(move || {
                while let Ok((client, _)) = listener.accept() {
                    serve(client, banner);
                }
            }));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Wakes the thread in accept.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(mut client: TcpStream, banner: &str) {
    if original_dst(&client).is_ok_and(|original| original.port() == 324) {
        let _ = client.write_all(banner.as_bytes());
    }
}

/// Where a redirected connection was going.
pub(crate) fn original_dst(stream: &TcpStream) -> io::Result<SocketAddr> {
    if stream.local_addr()?.is_ipv4() {
        let raw = getsockopt(stream, sockopt::OriginalDst)?;
        let ip = u32::from_be(raw.sin_addr.s_addr).into();
        Ok(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
    } else {
        let raw = getsockopt(stream, sockopt::Ip6tOriginalDst)?;
        let ip = raw.sin6_addr.s6_addr.into();
        Ok(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, 0).into())
    }
}
