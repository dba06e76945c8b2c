//! A small v1 client under the test's control, built on the `bitcoin` crate's messages.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bitcoin::consensus::{Decodable, serialize};
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Magic, ServiceFlags};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::Lab;
use crate::node::{Network, PORT};
use crate::prerequisite::client_gid;

/// A connection that speaks v1.
#[derive(Debug)]
pub struct V1Client {
    stream: TcpStream,
    network: Network,
    agent: String,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Fin,
    /// With a reset, which a client takes for a failure.
    Reset,
}

impl V1Client {
    /// Connects from the host with the clients' group on the socket: what the rules redirect.
    ///
    /// # Errors
    ///
    /// Where the connection is refused or takes longer than 10 s.
    pub fn redirected(lab: &Lab, network: Network, peer: IpAddr) -> Result<Self> {
        let connect = || connect(peer);
        let stream = lab.host.run_as_group(client_gid()?, connect)?;
        Ok(Self { stream, network, agent: AGENT.to_owned() })
    }

    /// As [`Self::redirected`], over a Multipath TCP socket.
    ///
    /// # Errors
    ///
    /// As [`Self::redirected`], and where the kernel has no MPTCP.
    pub fn redirected_multipath(lab: &Lab, network: Network, peer: IpAddr) -> Result<Self> {
        let address = SocketAddr::new(peer, PORT);
        let connect = || {
            let socket =
                Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::MPTCP))?;
            socket.connect_timeout(&address.into(), LIMIT)?;
            with_limits(socket.into())
        };
        let stream = lab.host.run_as_group(client_gid()?, connect)?;
        Ok(Self { stream, network, agent: AGENT.to_owned() })
    }

    /// Has it call itself so.
    #[must_use]
    pub fn named(self, agent: &str) -> Self {
        Self { agent: agent.to_owned(), ..self }
    }

    /// The VERSION message, header included.
    pub fn version(&self) -> Vec<u8> {
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let address = Address::new(&nobody, ServiceFlags::NONE);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let version = VersionMessage {
            version: 70016,
            services: ServiceFlags::NONE,
            timestamp: i64::try_from(now).unwrap_or_default(),
            receiver: address.clone(),
            sender: address,
            nonce: 0x6269_7033_3234,
            user_agent: self.agent.clone(),
            start_height: 0,
            relay: false,
        };
        self.frame(NetworkMessage::Version(version))
    }

    /// Writes `bytes` as they are, in one call.
    ///
    /// # Errors
    ///
    /// Where the connection has ended.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("writing to the node")
    }

    /// Does the whole handshake, VERSION in one piece.
    ///
    /// # Errors
    ///
    /// Where the node does not answer with VERSION and VERACK.
    pub fn handshake(&mut self) -> Result<()> {
        self.write(&self.version())?;
        self.finish_handshake()
    }

    /// Reads VERSION and VERACK and answers VERACK.
    ///
    /// # Errors
    ///
    /// As [`Self::handshake`].
    pub fn finish_handshake(&mut self) -> Result<()> {
        let first = self.receive()?;
        ensure!(matches!(first, NetworkMessage::Version(_)), "not VERSION: {first:?}");
        self.receive_until(|message| matches!(message, NetworkMessage::Verack))?;
        self.write(&self.frame(NetworkMessage::Verack))
    }

    /// Sends PING and reads until its PONG comes.
    ///
    /// # Errors
    ///
    /// Where it does not.
    pub fn ping(&mut self, nonce: u64) -> Result<()> {
        self.write(&self.frame(NetworkMessage::Ping(nonce)))?;
        self.receive_until(|message| *message == NetworkMessage::Pong(nonce))
    }

    /// Reads until the connection ends, and says how.
    ///
    /// # Errors
    ///
    /// Where it does not end within `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<End> {
        self.stream.set_read_timeout(Some(limit))?;
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(End::Fin),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(End::Reset),
                Err(error) => return Err(error).context("the connection did not end"),
            }
        }
    }

    fn receive_until(&mut self, wanted: impl Fn(&NetworkMessage) -> bool) -> Result<()> {
        for _ in 0..MESSAGES {
            if wanted(&self.receive()?) {
                return Ok(());
            }
        }
        bail!("{MESSAGES} messages came, not the wanted one")
    }

    fn receive(&mut self) -> Result<NetworkMessage> {
        let message = RawNetworkMessage::consensus_decode(&mut self.stream)?;
        ensure!(message.magic() == &self.magic(), "magic {}", message.magic());
        Ok(message.into_payload())
    }

    fn frame(&self, message: NetworkMessage) -> Vec<u8> {
        serialize(&RawNetworkMessage::new(self.magic(), message))
    }

    fn magic(&self) -> Magic {
        Magic::from_bytes(self.network.magic())
    }
}

fn connect(peer: IpAddr) -> Result<TcpStream> {
    with_limits(TcpStream::connect_timeout(&SocketAddr::new(peer, PORT), LIMIT)?)
}

fn with_limits(stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// What it calls itself unless told otherwise.
const AGENT: &str = "/bip324-test:1.0/";

/// Messages that a node may send before the awaited one.
const MESSAGES: usize = 50;

/// Longest wait for one connect, read or write.
const LIMIT: Duration = Duration::from_secs(10);
