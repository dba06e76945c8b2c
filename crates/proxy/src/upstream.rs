//! Towards the peer: dialling it, and the BIP324 handshake as initiator.

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bip324_transport::v1::{self, HEADER_LEN, Header, Magic};
use bip324_transport::v2::{self, EntropyError, KEY_LEN, KeyExchange, Role, Session};
use bip324_transport::{Receiver, version};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::agent;
use crate::client::{self, Client};
use crate::config::{Fallback, Timeouts};
use crate::destination::Own;
use crate::memory::{Buffer, Exhausted, Memory};
use crate::relay;
use crate::socket::{self, Dial, ReadError};

/// A peer that has proved to speak v2.
pub(crate) struct Encrypted {
    pub(crate) stream: TcpStream,
    pub(crate) session: Session,
    /// Received after the version packet and not translated yet.
    pub(crate) received: Buffer,
    /// Translated for the client and not written yet.
    pub(crate) to_client: Buffer,
    /// Bytes that the peer has sent, and been sent.
    pub(crate) carried: (u64, u64),
    /// The client's user agent.
    pub(crate) client_agent: Option<Box<str>>,
}

/// Why there is no session with the peer. No text names its address.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("no connection to the peer: {0}")]
    Dial(#[source] io::Error),
    #[error("no connection to the peer in time")]
    DialTimeout,
    #[error("the connection leads back to this proxy")]
    Loop,
    #[error("the system gives no random numbers")]
    Entropy(#[from] EntropyError),
    /// The one failure after which Bitcoin Core tries v1.
    #[error("the peer answers the v2 handshake with nothing, so it may speak v1 only")]
    NotV2,
    #[error("the peer closed the connection during the v2 handshake")]
    Closed,
    #[error("the connection broke during the v2 handshake: {0}")]
    Broken(#[source] io::Error),
    #[error("the v2 handshake was not done in time")]
    Timeout,
    #[error("the v2 handshake failed: {0}")]
    V2(#[from] v2::Error),
    #[error(transparent)]
    V1(#[from] v1::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    /// Says nothing about the peer, so never a reason to speak v1.
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

/// When the peer must have answered, counted from the client's connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// When the patience of the most impatient client ends.
    end: Instant,
    /// When dialling began.
    dialled: Instant,
}

impl Budget {
    /// A client that is in a hurry sends its VERSION as soon as it is connected. One that took its
    /// time leaves at least half the total to the peer.
    pub(crate) fn new(accepted: Instant, now: Instant, timeouts: &Timeouts) -> Self {
        let total = timeouts.total_connect_and_silence;
        Self { end: (accepted + total).max(now + total / 2), dialled: now }
    }

    /// When the connection attempt must have succeeded.
    pub(crate) fn connect_end(&self, timeouts: &Timeouts) -> Instant {
        self.end.min(self.dialled + timeouts.connect)
    }

    /// When the peer's first byte must have come, with TCP up since `connected`.
    ///
    /// A fallback needs one more connection within the same patience, so as much time is kept back
    /// as the first took. A peer so far away that two cannot fit gets all of it for its answer: it
    /// is not served in v1.
    pub(crate) fn silence_end(
        &self,
        connected: Instant,
        fallback: Fallback,
        timeouts: &Timeouts,
    ) -> Instant {
        let took = connected - self.dialled;
        let fits = took * 3 <= timeouts.total_connect_and_silence;
        let kept = if fallback == Fallback::V1 && fits { took } else { Duration::ZERO };
        (connected + timeouts.silence).min(self.end.checked_sub(kept).unwrap_or(self.end))
    }

    /// When the second connection, that of a fallback, must have succeeded.
    pub(crate) fn fallback_end(&self, timeouts: &Timeouts) -> Instant {
        self.end.min(Instant::now() + timeouts.connect)
    }
}

/// Connects to the peer while the client stays, and refuses a connection that ends up at ourselves.
pub(crate) async fn dial<D: Dial>(
    dialler: &D,
    client: &mut Client,
    to: SocketAddr,
    end: Instant,
    own: &Own,
) -> Result<TcpStream, Error> {
    let attempt = timeout_at(end, dialler.dial(to));
    let stream = match client.during(attempt).await? {
        Ok(result) => result.map_err(Error::Dial)?,
        Err(_) => return Err(Error::DialTimeout),
    };
    let (local, remote) = stream
        .local_addr()
        .and_then(|local| Ok((local, stream.peer_addr()?)))
        .map_err(Error::Dial)?;
    // TCP connects a socket to itself when the local port happens to be the one dialled.
    if local == remote || own.check(remote).is_err() {
        return Err(Error::Loop);
    }
    Ok(stream)
}

/// Opens a v2 session: key and garbage in one write; once the peer's key is here and the client's
/// VERSION complete, terminator, version packet and VERSION in one write, as Bitcoin Core sends
/// them. Done when the peer's version packet is authenticated.
///
/// Not cancel-safe: cancelled, the connection is good for nothing.
pub(crate) async fn handshake(
    client: &mut Client,
    mut peer: Peer,
    magic: Magic,
    silence_end: Instant,
    timeouts: &Timeouts,
    user_agent: Option<&str>,
) -> Result<Encrypted, Error> {
    let exchange = KeyExchange::new(Role::Initiator, magic)?;
    let flight = exchange.first_flight();
    match within(silence_end, client, peer.first_contact(&flight)).await {
        Err(Error::Closed | Error::Broken(_) | Error::Timeout) if peer.may_speak_v1_only() => {
            return Err(Error::NotV2);
        }
        result => result?,
    }

    let end = Instant::now() + timeouts.handshake;
    let key = within(end, client, peer.key()).await?;
    let version = peer.while_connected(timeout_at(end, client.version())).await?;
    let length = version.map_err(|_| client::Error::Silent)??;
    let message = client.received.get(..length).unwrap_or_default();
    let client_agent = agent::of_version(message.get(HEADER_LEN..).unwrap_or_default());
    let message = with_user_agent(message, user_agent);
    let mut flight = Buffer::new(&peer.memory);
    flight.reserve(VERSION_PACKET + relay::output_room(message.len()))?;
    let mut session = flight.append(|flight| exchange.complete(&key, flight));
    flight.append(|flight| session.sender.translate(&message, flight))?;
    drop(message);
    client.received.consume(length);

    within(end, client, peer.send(&flight)).await?;
    let to_client = within(end, client, peer.establish(&mut session.receiver)).await?;
    let Peer { stream, received, read, sent, .. } = peer;
    let carried = (read as u64, sent as u64);
    Ok(Encrypted { stream, session, received, to_client, carried, client_agent })
}

/// A peer in the middle of the handshake.
pub(crate) struct Peer {
    stream: TcpStream,
    /// Received and not used yet.
    received: Buffer,
    /// Bytes received.
    read: usize,
    /// Bytes handed to the kernel.
    sent: usize,
    memory: Arc<Memory>,
}

impl Peer {
    /// A peer that has just been connected to.
    pub(crate) fn new(stream: TcpStream, memory: &Arc<Memory>) -> Self {
        let memory = Arc::clone(memory);
        Self { stream, received: Buffer::new(&memory), read: 0, sent: 0, memory }
    }

    /// Sends the first flight and waits for the first byte of the answer.
    async fn first_contact(&mut self, flight: &[u8]) -> Result<(), Error> {
        self.send(flight).await?;
        self.read().await
    }

    /// The peer's key; what was received behind it stays.
    async fn key(&mut self) -> Result<[u8; KEY_LEN], Error> {
        loop {
            if let Some(&key) = self.received.first_chunk() {
                self.received.consume(KEY_LEN);
                return Ok(key);
            }
            self.read().await?;
        }
    }

    /// Reads until the version packet is authenticated. Returns what is translated by then.
    async fn establish(&mut self, receiver: &mut Receiver) -> Result<Buffer, Error> {
        let mut to_client = Buffer::new(&self.memory);
        loop {
            to_client.reserve(relay::output_room(self.received.len()))?;
            let received = &mut self.received;
            let progress = to_client.append(|out| receiver.translate(received, out))?;
            self.received.consume(progress.consumed);
            if receiver.is_established() {
                return Ok(to_client);
            }
            while self.received.len() < progress.wants {
                self.read().await?;
            }
        }
    }

    /// Bitcoin Core's `ShouldReconnectV1` (net.cpp), given that we are the initiator and TCP was
    /// up: not one byte received, and at least as many sent as a v1 peer needs to judge.
    fn may_speak_v1_only(&self) -> bool {
        self.received.is_empty() && self.sent >= HEADER_LEN
    }

    /// Does `work` unless the peer leaves. What it sends meanwhile is kept, up to [`READ`] bytes;
    /// the rest stays in the kernel.
    async fn while_connected<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Error> {
        let watch = async {
            while self.received.len() < READ {
                if let Err(gone) = self.read().await {
                    return gone;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            done = work => Ok(done),
            gone = watch => Err(gone),
        }
    }

    async fn send(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let written = socket::write_some(&self.stream, bytes).await.map_err(Error::Broken)?;
            self.sent += written;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Error> {
        match socket::read_some(&self.stream, &mut self.received, READ).await {
            Ok(0) => Err(Error::Closed),
            Ok(read) => {
                self.read += read;
                Ok(())
            }
            Err(ReadError::Socket(error)) => Err(Error::Broken(error)),
            Err(ReadError::Memory(exhausted)) => Err(exhausted.into()),
        }
    }
}

/// Does `work` unless the client leaves or `end` comes.
async fn within<T>(
    end: Instant,
    client: &mut Client,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout_at(end, client.during(work)).await {
        Ok(result) => result?,
        Err(_) => Err(Error::Timeout),
    }
}

/// The VERSION message as the peer gets it: with `agent` appended to its user agent where asked
/// for and possible.
fn with_user_agent<'a>(message: &'a [u8], agent: Option<&str>) -> Cow<'a, [u8]> {
    let appended = || {
        let (header, payload) = message.split_first_chunk()?;
        let payload = version::append_user_agent(payload, agent?)?;
        let Header { magic, command, .. } = Header::parse(header);
        let header = Header::for_payload(magic, command, &payload);
        Some([&header.encode()[..], &payload].concat())
    };
    appended().map_or(Cow::Borrowed(message), Cow::Owned)
}

/// More bytes than a garbage terminator and a version packet have.
const VERSION_PACKET: usize = 64;

/// Room for one read: the largest first flight and some packets.
const READ: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn connect_and_silence_share_the_client_s_patience() {
        let timeouts = Timeouts::default();
        let accepted = Instant::now();
        let budget = Budget::new(accepted, accepted + ms(10), &timeouts);
        let silence_end =
            |took: u64| budget.silence_end(accepted + ms(10 + took), Fallback::Reject, &timeouts);
        assert_eq!(budget.connect_end(&timeouts), accepted + ms(4010));
        assert_eq!(silence_end(100), accepted + ms(3110));
        assert_eq!(silence_end(1490), accepted + ms(4500));
        assert_eq!(silence_end(3900), accepted + ms(4500));
    }

    #[test]
    fn a_client_slow_to_speak_leaves_the_peer_half_the_total() {
        let timeouts = Timeouts::default();
        let accepted = Instant::now();
        let silence_end = |spoke: u64| {
            let spoke = accepted + ms(spoke);
            Budget::new(accepted, spoke, &timeouts).silence_end(spoke, Fallback::Reject, &timeouts)
        };
        assert_eq!(silence_end(2250), accepted + ms(4500));
        assert_eq!(silence_end(20_000), accepted + ms(22_250));
    }

    #[test]
    fn a_fallback_keeps_time_for_its_own_connection() {
        let timeouts = Timeouts::default();
        let accepted = Instant::now();
        let budget = Budget::new(accepted, accepted, &timeouts);
        let silence_end =
            |took: u64| budget.silence_end(accepted + ms(took), Fallback::V1, &timeouts);
        assert_eq!(silence_end(100), accepted + ms(3100));
        assert_eq!(silence_end(1000), accepted + ms(3500));
        assert_eq!(silence_end(1500), accepted + ms(3000));
        assert_eq!(silence_end(2000), accepted + ms(4500), "too far away for a second one");
    }

    #[test]
    fn a_user_agent_suffix_leaves_a_valid_message() {
        let mut payload = vec![0; 80];
        payload.extend_from_slice(b"\x05/a:1/tail");
        let header = Header::for_payload(
            Magic::REGTEST,
            bip324_transport::command::Command::VERSION,
            &payload,
        );
        let message = [&header.encode()[..], &payload].concat();

        let longer = with_user_agent(&message, Some("b:2"));
        let (header, payload) = longer.split_first_chunk().unwrap();
        let header = Header::parse(header);
        assert!(payload.ends_with(b"\x09/a:1/b:2/tail"));
        assert_eq!(header, Header::for_payload(header.magic, header.command, payload));

        assert_eq!(with_user_agent(&message, None), message);
        assert_eq!(with_user_agent(&message[..60], Some("b:2")), &message[..60]);
    }
}
