//! Clients and peers of the test in the namespaces of a [`Lab`], with the real redirect between.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_transport::command::Command;
use bip324_transport::v1::Magic;
use tokio::net::{TcpListener, TcpStream};

use super::{Peer, Session, Wire, frame};
use crate::lab::Lab;
use crate::node::PORT;
use crate::prerequisite::client_gid;

impl Peer {
    /// Listens on the redirected port of `ip`, which the peer's namespace must have. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// Where somebody listens there already.
    pub fn in_lab(lab: &Lab, ip: IpAddr) -> Result<Self> {
        let bind = || Ok(std::net::TcpListener::bind((ip, PORT))?);
        let listener = lab.peer.run(bind)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: TcpListener::from_std(listener)? })
    }

    /// A client that has sent VERSION to this peer through the daemon, and the peer, which has
    /// received the daemon's key and sent nothing.
    ///
    /// # Errors
    ///
    /// Where the daemon does not dial.
    pub async fn meet_client(&self, lab: &Lab, magic: Magic) -> Result<(Wire, Session)> {
        let mut client = Wire::redirected(lab, self.address()?)?;
        client.write(&frame(magic, "version", &version_payload())?).await?;
        Ok((client, self.meet(magic).await?))
    }

    /// An established session between a client and this peer, through the daemon.
    ///
    /// # Errors
    ///
    /// Where the daemon does not dial, or its handshake is wrong.
    pub async fn open(&self, lab: &Lab, magic: Magic) -> Result<(Wire, Session)> {
        let (client, mut session) = self.meet_client(lab, magic).await?;
        let opening = session.opening(&[7; 100]);
        session.wire.write(&opening).await?;
        session.finish().await?;
        ensure!(session.message().await?.0 == Command::VERSION, "the first message is no VERSION");
        Ok((client, session))
    }
}

impl Wire {
    /// Connects from the host with the clients' group on the socket: what the rules redirect.
    /// Needs a tokio runtime, which it blocks meanwhile.
    ///
    /// # Errors
    ///
    /// Where the connection is refused or takes longer than 10 s.
    pub fn redirected(lab: &Lab, to: SocketAddr) -> Result<Self> {
        let connect = || Ok(std::net::TcpStream::connect_timeout(&to, LIMIT)?);
        Self::adopt(lab.host.run_as_group(client_gid()?, connect)?)
    }

    /// Connects from the host as anybody else: to where it says.
    ///
    /// # Errors
    ///
    /// As [`Self::redirected`].
    pub fn direct(lab: &Lab, to: SocketAddr) -> Result<Self> {
        Self::adopt(lab.host.run(|| Ok(std::net::TcpStream::connect_timeout(&to, LIMIT)?))?)
    }

    fn adopt(stream: std::net::TcpStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Self::new(TcpStream::from_std(stream)?)
    }
}

/// The payload of a VERSION that names no receiver, as most clients send it.
fn version_payload() -> Vec<u8> {
    version_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

/// The payload of a VERSION with this `addr_recv`.
pub fn version_to(addr_recv: SocketAddr) -> Vec<u8> {
    let ip = match addr_recv.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let port = addr_recv.port().to_be_bytes();
    // Version 70016, services, time; addr_recv; addr_from, nonce, no user agent, height, relay.
    let before = [&[0x80, 0x11, 0x01, 0][..], &[0; 24]].concat();
    [&before, ip.octets().as_slice(), &port, &[0; 34], &[0; 6]].concat()
}

/// Longest wait for a connection.
const LIMIT: Duration = Duration::from_secs(10);
