//! One connection's life, from accept to the end of its relay.

mod error;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bip324_transport::v1::{HEADER_LEN, Magic};
use bip324_transport::v2::SessionId;
use bip324_transport::version;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use error::Error;

use crate::client::{self, Client};
use crate::config::{Config, Current, Direct, Fallback};
use crate::destination::{self, Origin, Own, Refusal, canonical};
use crate::memory::{Buffer, Memory};
use crate::pins::Pins;
use crate::relay::{self, Codec, Pipe};
use crate::sniff::Start;
use crate::socket::{self, Dial};
use crate::stats::{Beginning, Flow, Kind, Reason, Registration, Stats};
use crate::throttle::Throttle;
use crate::upstream::{self, Budget, Encrypted, Peer};

/// What all sessions share.
pub(crate) struct Shared<D> {
    pub(crate) config: Current,
    pub(crate) dialler: D,
    pub(crate) own: Own,
    pub(crate) pins: Pins,
    pub(crate) memory: Arc<Memory>,
    /// For sessions that were not redirected.
    pub(crate) direct_memory: Arc<Memory>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) throttle: Throttle,
}

/// What is known of a connection as it is accepted.
pub(crate) struct Arrival {
    pub(crate) stream: TcpStream,
    pub(crate) client: SocketAddr,
    pub(crate) origin: Result<Origin, Refusal>,
    /// The user that the client's socket belongs to.
    pub(crate) owner: Option<u32>,
    pub(crate) at: Instant,
}

/// A session on its way to its relay.
struct Session<'a, D> {
    shared: &'a Shared<D>,
    /// As it was when the session began.
    config: Arc<Config>,
    client: SocketAddr,
    owner: Option<u32>,
    redirected: bool,
    accepted: Instant,
}

/// Serves one accepted connection to its end. Dropping the future closes both sides.
pub(crate) async fn run<D: Dial>(shared: Arc<Shared<D>>, arrival: Arrival) {
    let Err(error) = serve(&shared, arrival).await else {
        return;
    };
    let (why, now) = (error.reason(), Instant::now());
    shared.stats.count_refused(why);
    let reason = why.name();
    match error {
        Error::Refused(Refusal::Untracked | Refusal::Lookup(_)) | Error::Downgrade => {
            if let Some(suppressed) = shared.throttle.pass(why, now) {
                warn!(reason, "connection refused: {error}{suppressed}");
            }
        }
        _ if why == Reason::Memory => {
            if let Some(suppressed) = shared.throttle.pass(why, now) {
                warn!(reason, "session ended: {error}{suppressed}");
            }
        }
        // Told as it ended.
        Error::Relay(_) => {}
        Error::Client(client::Error::Closed | client::Error::Broken(_)) => {
            debug!(reason, "no session: {error}");
        }
        _ => {
            if let Some(suppressed) = shared.throttle.pass(why, now) {
                info!(reason, "connection refused: {error}{suppressed}");
            }
        }
    }
}

async fn serve<D: Dial>(shared: &Shared<D>, arrival: Arrival) -> Result<(), Error> {
    let Arrival { stream, client, origin, owner, at: accepted } = arrival;
    if origin == Ok(Origin::Canary) {
        return answer_canary(&stream, &shared.stats).await;
    }
    let config = Arc::clone(&shared.config.borrow());
    let redirected = matches!(origin, Ok(Origin::Redirected(_)));
    let session =
        Session { shared, config, client: canonical(client), owner, redirected, accepted };
    // On the heap only as long as it takes: an idle session is far smaller than its beginning.
    let established = Box::pin(session.establish(stream, origin)).await?;
    relay(established).await
}

/// A client and a peer that are to be relayed.
struct Established {
    client: TcpStream,
    peer: TcpStream,
    /// From the client to the peer.
    up: Pipe,
    /// From the peer to the client.
    down: Pipe,
    registration: Registration,
}

/// Tells `bip324-setup check` that the redirect leads here.
async fn answer_canary(stream: &TcpStream, stats: &Stats) -> Result<(), Error> {
    stats.count_canary();
    let line = concat!("bip324-proxy ", env!("CARGO_PKG_VERSION"), " canary\n");
    socket::write_all(stream, line.as_bytes()).await.map_err(client::Error::Broken)?;
    Ok(())
}

impl<D: Dial> Session<'_, D> {
    /// All that comes before the relay.
    async fn establish(
        self,
        stream: TcpStream,
        origin: Result<Origin, Refusal>,
    ) -> Result<Established, Error> {
        // Until the relay stands, every way out of here shows the client a reset, as an unreachable
        // peer would.
        socket::reset_on_close(&stream).map_err(client::Error::Broken)?;
        let origin = origin?;
        if origin == Origin::Direct && self.config.direct == Direct::Off {
            return Err(Refusal::DirectOff.into());
        }
        let timeouts = &self.config.timeouts;
        socket::prepare(&stream, timeouts).map_err(client::Error::Broken)?;

        let (memory, prefix) = match origin {
            Origin::Direct => (&self.shared.direct_memory, timeouts.direct_prefix),
            _ => (&self.shared.memory, timeouts.client_prefix),
        };
        let mut client = Client::new(stream, memory);
        let end = self.accepted + prefix;
        let start = timeout_at(end, client.start()).await.map_err(|_| client::Error::Silent)??;
        match (origin, start) {
            (Origin::Redirected(to), Start::V1(magic)) => self.translate(client, to, magic).await,
            (Origin::Redirected(_), Start::V2) if !self.config.passthrough => {
                Err(Error::PassthroughOff)
            }
            (Origin::Redirected(to), Start::V2) => {
                let end = Instant::now() + timeouts.connect;
                self.splice(client, to, None, end).await
            }
            (_, Start::V1(magic)) => {
                let version = timeout_at(end, client.version()).await;
                let length = version.map_err(|_| client::Error::Silent)??;
                let payload = client.received.get(HEADER_LEN..length).unwrap_or_default();
                let wanted = version::addr_recv(payload).map(SocketAddr::V6);
                let to = destination::permit_direct(wanted, &self.config, &self.shared.own)?;
                self.translate(client, to, magic).await
            }
            (_, Start::V2) => Err(Error::DirectV2),
        }
    }

    /// v1 client: a v2 session with its peer, or the fallback where it may be.
    async fn translate(
        &self,
        mut client: Client,
        to: SocketAddr,
        magic: Magic,
    ) -> Result<Established, Error> {
        // A hopeless VERSION is refused before anybody is dialled for it.
        client::version_length(&client.received)?;
        let timeouts = &self.config.timeouts;
        let budget = Budget::new(self.accepted, Instant::now(), timeouts);
        let peer = self.dial(&mut client, to, budget.connect_end(timeouts)).await?;
        let silence_end = budget.silence_end(Instant::now(), self.config.fallback, timeouts);
        let agent = self.config.user_agent_suffix.then_some(USER_AGENT);
        let memory = Arc::clone(client.received.memory());
        let peer = Peer::new(peer, &memory);
        let shaken =
            upstream::handshake(&mut client, peer, magic, silence_end, timeouts, agent).await;
        match shaken {
            Ok(encrypted) => {
                self.shared.pins.add(to, Instant::now());
                Ok(self.encrypted(client, to, magic, encrypted))
            }
            Err(upstream::Error::NotV2) if self.config.fallback == Fallback::V1 => {
                self.fall_back(client, to, magic, budget.fallback_end(timeouts)).await
            }
            Err(error) => Err(error.into()),
        }
    }

    fn encrypted(
        &self,
        client: Client,
        to: SocketAddr,
        magic: Magic,
        encrypted: Encrypted,
    ) -> Established {
        let Client { stream: client, received, read } = client;
        let memory = Arc::clone(received.memory());
        let Encrypted { stream: peer, session, client_agent, .. } = encrypted;
        let (from_peer, to_peer) = encrypted.carried;
        let up = Pipe::new(Codec::Encrypt(Box::new(session.sender)), received, &memory);
        let codec = Codec::Decrypt(Box::new(session.receiver));
        let down =
            Pipe { output: encrypted.to_client, ..Pipe::new(codec, encrypted.received, &memory) };
        let beginning = self.beginning(Kind::V2, to, Some(magic), Some(session.id));
        let mut to_peer = Flow::carried(read, to_peer);
        to_peer.agent = client_agent.map(OnceLock::from).unwrap_or_default();
        let to_client = Flow::carried(from_peer, 0);
        let registration = self.shared.stats.register(beginning, to_peer, to_client);
        Established { client, peer, up, down: down.watched(), registration }
    }

    const fn beginning(
        &self,
        kind: Kind,
        destination: SocketAddr,
        magic: Option<Magic>,
        session_id: Option<SessionId>,
    ) -> Beginning {
        let Self { client, owner, redirected, accepted, .. } = *self;
        Beginning { kind, client, owner, redirected, destination, magic, session_id, accepted }
    }

    /// Dials once more and speaks v1, in plaintext: VERSION goes out here for the first time.
    async fn fall_back(
        &self,
        client: Client,
        to: SocketAddr,
        magic: Magic,
        end: Instant,
    ) -> Result<Established, Error> {
        if self.shared.pins.holds(to, Instant::now()) {
            return Err(Error::Downgrade);
        }
        debug!(%to, "falling back to v1");
        self.splice(client, to, Some(magic), end).await
    }

    /// Dials, until `end`, and carries the bytes as they are, those received so far first: v1 messages
    /// of this network, or v2.
    async fn splice(
        &self,
        mut client: Client,
        to: SocketAddr,
        magic: Option<Magic>,
        end: Instant,
    ) -> Result<Established, Error> {
        let peer = self.dial(&mut client, to, end).await?;
        let Client { stream: client, received, read } = client;
        let memory = Arc::clone(received.memory());
        let up = Pipe::new(Codec::Splice, received, &memory);
        let down = Pipe::new(Codec::Splice, Buffer::new(&memory), &memory);
        let (kind, up, down) = match magic {
            Some(_) => (Kind::Fallback, up.watched(), down.watched()),
            None => (Kind::Passthrough, up, down),
        };
        let beginning = self.beginning(kind, to, magic, None);
        let stats = &self.shared.stats;
        let registration = stats.register(beginning, Flow::carried(read, 0), Flow::default());
        Ok(Established { client, peer, up, down, registration })
    }

    async fn dial(
        &self,
        client: &mut Client,
        to: SocketAddr,
        end: Instant,
    ) -> Result<TcpStream, upstream::Error> {
        debug!(%to, "dialling");
        let stream =
            upstream::dial(&self.shared.dialler, client, to, end, &self.shared.own).await?;
        socket::prepare(&stream, &self.config.timeouts).map_err(upstream::Error::Dial)?;
        Ok(stream)
    }
}

/// Relays until the end of the session. A client that then must not take it for a regular one gets
/// a reset, after everything that is written.
async fn relay(established: Established) -> Result<(), Error> {
    let Established { client, peer, up, down, mut registration } = established;
    socket::finish_on_close(&client).map_err(client::Error::Broken)?;
    let live = Arc::clone(&registration.live);
    let Beginning { kind, destination: to, session_id, .. } = live.beginning;
    let session_id = session_id.map(tracing::field::display);
    debug!(%to, ?kind, session_id, id = live.id, "session established");
    let (client, peer) = (Arc::new(client), Arc::new(peer));
    let result = relay::run(&client, &peer, up, down, &live).await;
    let reason = match &result {
        Ok(()) => "finished".to_owned(),
        Err(error) => error.to_string(),
    };
    registration.end(reason);
    drop(registration);
    if matches!(result, Err(relay::Error::Closed)) {
        // Whatever is on its way: both ends learn of it at once.
        let _ = (socket::reset_on_close(&client), socket::reset_on_close(&peer));
        return Ok(result?);
    }
    // It learns of the end at once, whatever the client is still owed.
    drop(peer);
    if result.is_err() {
        // Nobody can tell a client that is gone already.
        let _ = socket::reset_when_sent(&client, DELIVERY).await;
    }
    Ok(result?)
}

/// What `--user-agent-suffix` appends: our name and the first two parts of our version.
const USER_AGENT: &str =
    concat!("bip324-proxy:", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

/// How long a broken session waits for its client to take what is written.
const DELIVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::sync::watch;

    use super::*;
    use crate::socket::Tcp;

    /// What an idle session keeps besides its keys, its sockets and the task of one direction. The
    /// handshake's 15 KB are gone by then.
    #[tokio::test]
    async fn a_session_s_future_stays_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let shared = Arc::new(Shared {
            config: watch::channel(Arc::default()).1,
            dialler: Tcp,
            own: Own::new(Vec::new(), Vec::new),
            pins: Pins::default(),
            memory: Memory::new(0, Arc::default()),
            direct_memory: Memory::new(0, Arc::default()),
            stats: Arc::default(),
            throttle: Throttle::default(),
        });
        let (client, origin) = (stream.local_addr().unwrap(), Err(Refusal::Untracked));
        let arrival = Arrival { stream, client, origin, owner: None, at: Instant::now() };
        let session = run(shared, arrival);
        assert!(size_of_val(&session) < 2560, "{} bytes", size_of_val(&session));
    }
}
