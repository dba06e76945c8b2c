//! The two ends of a session through the proxy: a client that speaks v1, and a node that speaks v2.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::{frame, version_to};
use bip324_transport::v1::{HEADER_LEN, Magic};
use bip324_transport::v2::{KEY_LEN, KeyExchange, Role};
use bip324_transport::{Receiver, Sender};
use socket2::SockRef;

/// Where the proxy is to connect to.
pub(crate) struct Node {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

/// A session, with both VERSIONs exchanged.
pub(crate) struct Session {
    pub(crate) client: TcpStream,
    pub(crate) peer: TcpStream,
    /// Encrypts what the peer sends.
    pub(crate) sender: Sender,
}

impl Node {
    pub(crate) fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // An accept that waits longer fails.
        SockRef::from(&listener).set_read_timeout(Some(LIMIT))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The next connection, with nothing read or sent.
    pub(crate) fn accept(&self) -> Result<TcpStream> {
        let (stream, _) = self.listener.accept().context("the proxy does not connect")?;
        prepare(&stream)?;
        Ok(stream)
    }

    /// Opens a session through the proxy at `proxy`.
    pub(crate) fn open(&self, proxy: SocketAddr) -> Result<Session> {
        let mut client = connect(proxy)?;
        client.write_all(&self.version()?)?;
        let (peer, sender) = respond(self.accept()?)?;
        receive_version(&mut client)?;
        Ok(Session { client, peer, sender })
    }

    /// The VERSION of a client that wants to connect to it.
    pub(crate) fn version(&self) -> Result<Vec<u8>> {
        frame(MAGIC, "version", &version_to(self.address))
    }
}

pub(crate) fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).context("the proxy does not listen")?;
    prepare(&stream)?;
    Ok(stream)
}

/// What nodes set, and an end to all waiting.
pub(crate) fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream.set_write_timeout(Some(LIMIT))?)
}

/// What a node does with a connection: it shakes hands, and answers VERSION with its own.
pub(crate) fn respond(mut peer: TcpStream) -> Result<(TcpStream, Sender)> {
    let exchange = KeyExchange::new(Role::Responder, MAGIC)?;
    let mut key = [0; KEY_LEN];
    peer.read_exact(&mut key).context("no key comes")?;
    let mut flight = exchange.first_flight();
    let mut session = exchange.complete(&key, &mut flight);
    peer.write_all(&flight)?;
    receive_message(&mut peer, &mut session.receiver).context("no VERSION comes")?;
    let mut answer = Vec::new();
    session.sender.translate(&frame(MAGIC, "version", &version_to(NOBODY))?, &mut answer)?;
    peer.write_all(&answer)?;
    Ok((peer, session.sender))
}

/// What a client does that speaks v2 itself, until it has the node's VERSION. As with the proxy, and
/// with Core, its keys are made once it is connected.
pub(crate) fn speak_v2(to: SocketAddr, version: &[u8]) -> Result<TcpStream> {
    let mut client = connect(to)?;
    let exchange = KeyExchange::new(Role::Initiator, MAGIC)?;
    client.write_all(&exchange.first_flight())?;
    let mut key = [0; KEY_LEN];
    client.read_exact(&mut key)?;
    let mut flight = Vec::new();
    let mut session = exchange.complete(&key, &mut flight);
    session.sender.translate(version, &mut flight)?;
    client.write_all(&flight)?;
    receive_message(&mut client, &mut session.receiver)?;
    Ok(client)
}

/// Reads until there is one message.
pub(crate) fn receive_message(stream: &mut TcpStream, receiver: &mut Receiver) -> Result<()> {
    let (mut received, mut message) = (Vec::new(), Vec::new());
    let mut buffer = [0; 8192];
    while message.is_empty() {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the connection ended");
        received.extend(buffer.iter().take(count));
        let progress = receiver.translate(&mut received, &mut message)?;
        received.drain(..progress.consumed);
    }
    Ok(())
}

/// As the client, a VERSION in v1.
pub(crate) fn receive_version(client: &mut TcpStream) -> Result<()> {
    let mut version = [0; HEADER_LEN + VERSION_LEN];
    client.read_exact(&mut version).context("the node's VERSION does not come")
}

/// Writes all of `bytes`, and nothing else: for a thread of its own.
pub(crate) fn send(mut to: &TcpStream, bytes: &[u8]) -> Result<()> {
    to.write_all(bytes).context("the proxy takes no more")
}

/// Reads this many bytes and looks at none.
pub(crate) fn discard(mut from: &TcpStream, mut expected: usize) -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    while expected > 0 {
        let count =
            from.read(&mut buffer).with_context(|| format!("{expected} bytes are missing"))?;
        ensure!(count > 0, "the stream ended {expected} bytes early");
        expected = expected.checked_sub(count).context("more arrived than was sent")?;
    }
    Ok(())
}

/// Mainnet's: other proxies may know no other.
pub(crate) const MAGIC: Magic = Magic::BITCOIN;

const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Length of the payload, as both ends send it.
const VERSION_LEN: usize = 86;

/// What takes longer has failed.
const LIMIT: Duration = Duration::from_secs(20);
