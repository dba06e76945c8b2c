//! The daemon between a client and a peer of the test.
//!
//! A test reads: start the daemon, make a node, connect a client that the kernel "redirected" from
//! that node's address, and say what each of them writes and what the other must get.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_proxy::{
    Config, Dial, Errno, Fallback, OriginalDst, Overview, OwnerOf, Stats, Timeouts, serve,
};
use bip324_testkit::peer::{Peer, Session, Wire, frame, within};
use bip324_transport::command::Command;
use bip324_transport::v1::Magic;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The daemon, listening on a free port. Dropped, it ends with all its sessions.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    pub(crate) stats: Arc<Stats>,
    pub(crate) network: Network,
    config: watch::Sender<Arc<Config>>,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) task: JoinHandle<io::Result<()>>,
}

/// A scripted peer, and the address under which clients know it.
pub(crate) struct Node {
    peer: Peer,
    pub(crate) public: SocketAddr,
}

/// Stands in for the kernel: knows where connections were going and where dialling leads.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The original destination, by the client's address. Unlisted ones were not redirected.
    answers: HashMap<SocketAddr, Result<SocketAddr, Errno>>,
    routes: HashMap<SocketAddr, Route>,
    /// Who owns clients, by their address. Unlisted ones have no known owner.
    owners: HashMap<SocketAddr, u32>,
    dials: Vec<SocketAddr>,
    /// Duplicates of the daemon's sockets, accepted and dialled, if they are wanted.
    sockets: Option<Vec<OwnedFd>>,
}

/// What happens to a dial.
#[derive(Clone)]
pub(crate) enum Route {
    /// It reaches this listener.
    To(SocketAddr),
    /// It does, but only once the gate is opened.
    Gated(SocketAddr, Arc<Notify>),
    /// It fails with this error at once.
    Fails(Errno),
    /// No answer ever comes.
    Nowhere,
    /// It ends in TCP's self-connect.
    ToItself,
    /// The dialler panics.
    Panics,
}

impl Daemon {
    pub(crate) async fn start(config: Config) -> Result<Self> {
        Self::start_on("127.0.0.1", config).await
    }

    /// Listening on another address.
    pub(crate) async fn start_on(ip: &str, config: Config) -> Result<Self> {
        let listener = TcpListener::bind((ip, 0)).await.with_context(|| format!("no {ip} here"))?;
        let address = listener.local_addr()?;
        let network = Network::default();
        let stats = Arc::new(Stats::default());
        let (stop, stopped) = oneshot::channel();
        let (config, current) = watch::channel(Arc::new(config));
        let daemon = serve(
            vec![listener],
            current,
            network.clone(),
            network.owner_of(),
            network.clone(),
            Arc::clone(&stats),
            async {
                let _ = stopped.await;
            },
        );
        let task = tokio::spawn(daemon);
        Ok(Self { address, stats, network, config, stop: Some(stop), task })
    }

    /// As in production.
    pub(crate) async fn start_default() -> Result<Self> {
        Self::start(Config::default()).await
    }

    /// Gives it other settings, as SIGHUP does.
    pub(crate) fn reload(&self, config: Config) {
        self.config.send_replace(Arc::new(config));
    }

    /// What it says of itself.
    pub(crate) fn overview(&self) -> Overview {
        let (stats, config) = (Arc::clone(&self.stats), self.config.subscribe());
        Overview { stats, config, listeners: vec![self.address] }
    }

    /// Asks it to end, as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    /// A peer of its own address, which dials from then on reach.
    pub(crate) async fn node(&self) -> Result<Node> {
        let peer = Peer::listen().await?;
        let public = self.network.add_route(Route::To(peer.address()?));
        Ok(Node { peer, public })
    }

    /// A client whose connection to the node was redirected.
    pub(crate) async fn connect(&self, node: &Node) -> Result<Wire> {
        self.connect_as(Some(Ok(node.public))).await
    }

    /// A client of this user whose connection to the node was redirected.
    pub(crate) async fn connect_of(&self, node: &Node, owner: Option<u32>) -> Result<Wire> {
        let socket = self.socket()?;
        let client = socket.local_addr()?;
        self.network.set_answer(client, Ok(node.public));
        self.network.set_owner(client, owner);
        Wire::new(within("the daemon to listen", socket.connect(self.address)).await??)
    }

    /// A client whose connection to `destination` was redirected.
    pub(crate) async fn connect_to(&self, destination: SocketAddr) -> Result<Wire> {
        self.connect_as(Some(Ok(destination))).await
    }

    /// A client that was not redirected.
    pub(crate) async fn connect_direct(&self) -> Result<Wire> {
        self.connect_as(None).await
    }

    /// A client of this user that was not redirected.
    pub(crate) async fn connect_direct_as(&self, owner: Option<u32>) -> Result<Wire> {
        let socket = self.socket()?;
        let client = socket.local_addr()?;
        self.network.set_answer(client, Err(Errno::ENOENT));
        self.network.set_owner(client, owner);
        Wire::new(within("the daemon to listen", socket.connect(self.address)).await??)
    }

    /// A client about which the kernel says `answer`.
    pub(crate) async fn connect_as(
        &self,
        answer: Option<Result<SocketAddr, Errno>>,
    ) -> Result<Wire> {
        let socket = self.socket()?;
        self.network.set_answer(socket.local_addr()?, answer.unwrap_or(Err(Errno::ENOENT)));
        Wire::new(within("the daemon to listen", socket.connect(self.address)).await??)
    }

    /// A socket with an address of its own.
    fn socket(&self) -> Result<TcpSocket> {
        let socket =
            if self.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(self.address.ip(), 0))?;
        Ok(socket)
    }

    /// A client that has sent VERSION, and its peer, which has the daemon's key and has sent
    /// nothing.
    pub(crate) async fn meet(&self) -> Result<(Wire, Session)> {
        let node = self.node().await?;
        let mut client = self.connect(&node).await?;
        client.write(&version_message()).await?;
        Ok((client, node.meet(MAGIC).await?))
    }

    /// An established session: the client's VERSION has reached the peer.
    pub(crate) async fn open(&self) -> Result<(Wire, Session)> {
        let node = self.node().await?;
        self.open_to(&node).await
    }

    /// An established session with this node.
    pub(crate) async fn open_to(&self, node: &Node) -> Result<(Wire, Session)> {
        let mut client = self.connect(node).await?;
        client.write(&version_message()).await?;
        let mut session = node.session(MAGIC).await?;
        ensure!(session.message().await? == (Command::VERSION, version()), "not the VERSION");
        pass_to_client(&mut session, &mut client).await?;
        Ok((client, session))
    }

    /// Where it dialled so far, in order.
    pub(crate) fn dials(&self) -> Vec<SocketAddr> {
        self.network.0.lock().unwrap().dials.clone()
    }

    /// Waits until no session is left, and no task but the daemon's own and its listener's.
    /// For tests with one daemon and no tasks of their own.
    pub(crate) async fn wait_until_idle(&self) -> Result<()> {
        let tasks = tokio::runtime::Handle::current().metrics();
        eventually("the sessions to leave nothing behind", || {
            self.stats.sessions().is_empty() && tasks.num_alive_tasks() <= 2
        })
        .await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Deref for Node {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Network {
    /// Makes a new public address, and has dials to it go `route`.
    pub(crate) fn add_route(&self, route: Route) -> SocketAddr {
        let mut state = self.0.lock().unwrap();
        let host = u8::try_from(state.routes.len() + 1).unwrap();
        // Globally routable, so that `--direct public` has no objection.
        let public = SocketAddr::from((Ipv4Addr::new(8, 8, 4, host), 8333));
        state.routes.insert(public, route);
        public
    }

    /// What the kernel says about the next connection from `client`, whatever it said before.
    fn set_answer(&self, client: SocketAddr, answer: Result<SocketAddr, Errno>) {
        self.0.lock().unwrap().answers.insert(client, answer);
    }

    /// Who owns the next connection from `client`, whoever it was before.
    fn set_owner(&self, client: SocketAddr, owner: Option<u32>) {
        let mut state = self.0.lock().unwrap();
        state.owners.remove(&client);
        state.owners.extend(owner.map(|owner| (client, owner)));
    }

    fn owner_of(&self) -> OwnerOf {
        let state = Arc::clone(&self.0);
        Arc::new(move |client, _| state.lock().unwrap().owners.get(&client).copied())
    }

    /// From now on dials to `public` go `route`.
    pub(crate) fn set_route(&self, public: SocketAddr, route: Route) {
        self.0.lock().unwrap().routes.insert(public, route);
    }

    /// Keeps duplicates of the daemon's sockets from now on. Connections then stay open although
    /// the daemon has closed them.
    pub(crate) fn keep_sockets(&self) {
        self.0.lock().unwrap().sockets = Some(Vec::new());
    }

    pub(crate) fn take_sockets(&self) -> Vec<OwnedFd> {
        self.0.lock().unwrap().sockets.take().unwrap_or_default()
    }

    fn keep(&self, stream: &TcpStream) {
        if let Some(sockets) = &mut self.0.lock().unwrap().sockets {
            sockets.push(stream.as_fd().try_clone_to_owned().unwrap());
        }
    }
}

impl OriginalDst for Network {
    fn lookup(&self, stream: &TcpStream, peer: SocketAddr) -> Result<SocketAddr, Errno> {
        self.keep(stream);
        self.0.lock().unwrap().answers.get(&peer).copied().unwrap_or(Err(Errno::ENOENT))
    }
}

impl Dial for Network {
    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let route = {
            let mut state = self.0.lock().unwrap();
            state.dials.push(to);
            state.routes.get(&to).cloned()
        };
        let stream = match route.unwrap_or(Route::Fails(Errno::ENETUNREACH)) {
            Route::To(address) => TcpStream::connect(address).await?,
            Route::Gated(address, gate) => {
                gate.notified().await;
                TcpStream::connect(address).await?
            }
            Route::Fails(errno) => return Err(errno.into()),
            Route::Nowhere => pending().await,
            Route::ToItself => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
                let itself = socket.local_addr()?;
                socket.connect(itself).await?
            }
            Route::Panics => panic!("the test asked for it"),
        };
        self.keep(&stream);
        Ok(stream)
    }
}

/// Production settings, but a peer that speaks v1 only gets v1.
pub(crate) fn fallback_to_v1() -> Config {
    Config { fallback: Fallback::V1, ..Config::default() }
}

/// Production settings, but the handshake and the silence before it get this long.
pub(crate) fn handshake_within(limit: Duration) -> Config {
    let timeouts = Timeouts { handshake: limit, silence: limit, ..Timeouts::default() };
    Config { timeouts, ..Config::default() }
}

/// A VERSION payload as a light client sends it.
pub(crate) fn version() -> Vec<u8> {
    version_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), "/light:1.0/")
}

/// A VERSION payload with this addr_recv and user agent, and a tail that no protocol knows yet.
pub(crate) fn version_to(addr_recv: SocketAddr, user_agent: &str) -> Vec<u8> {
    let ip = match addr_recv.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut payload = vec![0x11; 28];
    payload.extend(ip.octets());
    payload.extend(addr_recv.port().to_be_bytes());
    payload.resize(80, 0x22);
    payload.push(u8::try_from(user_agent.len()).unwrap());
    payload.extend(user_agent.as_bytes());
    payload.extend(b"\x01\x02\x03\x04\x01tail");
    payload
}

/// [`version`] as a v1 message.
pub(crate) fn version_message() -> Vec<u8> {
    message("version", &version())
}

/// A v1 message of [`MAGIC`].
pub(crate) fn message(name: &str, payload: &[u8]) -> Vec<u8> {
    frame(MAGIC, name, payload).unwrap()
}

/// A message type.
pub(crate) fn command(name: &str) -> Command {
    Command::new(name).unwrap()
}

/// Sends a message from the peer and expects it at the client.
pub(crate) async fn pass_to_client(session: &mut Session, client: &mut Wire) -> Result<()> {
    session.send_message("ping", b"to client").await?;
    let arrived = client.message(MAGIC).await?;
    ensure!(arrived == (command("ping"), b"to client".to_vec()), "{arrived:?}");
    Ok(())
}

/// Sends a message from the client and expects it at the peer.
pub(crate) async fn pass_to_peer(client: &mut Wire, session: &mut Session) -> Result<()> {
    client.write(&message("pong", b"to peer.")).await?;
    let arrived = session.message().await?;
    ensure!(arrived == (command("pong"), b"to peer.".to_vec()), "{arrived:?}");
    Ok(())
}

/// Messages pass in both directions.
pub(crate) async fn assert_served(client: &mut Wire, session: &mut Session) -> Result<()> {
    pass_to_client(session, client).await?;
    pass_to_peer(client, session).await
}

/// The connection ends at once, and not a byte arrives before that.
pub(crate) async fn assert_refused(client: &mut Wire) -> Result<()> {
    let (bytes, end) = client.rest().await?;
    ensure!(bytes.is_empty(), "{end:?} only after {} bytes", bytes.len());
    Ok(())
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) -> Result<()> {
    within(what, async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

pub(crate) const MAGIC: Magic = Magic::REGTEST;

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
