//! A daemon, its clients and its peers, and what the wire must have shown of them.

use std::cell::RefCell;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::capture::{Capture, Traffic};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, PORT};
use bip324_testkit::peer::{End, Peer, Session, Wire, frame, within};
use bip324_testkit::process::output;
use bip324_testkit::rules;
use bip324_transport::command::Command;
use bip324_transport::v1::Magic;
use tokio::runtime;
use tokio::time::Instant;

/// What every case plays on.
pub(crate) struct Stage<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) daemon: Daemon<'lab>,
    expected: RefCell<Vec<Expected>>,
}

/// What the capture must hold about one peer.
struct Expected {
    peer: IpAddr,
    dials: usize,
    speaks: Speaks,
}

/// What is sent to a peer, as somebody on the wire sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    V2,
    V1,
}

impl Stage<'_> {
    /// Starts a daemon with `arguments` behind the redirect and plays `case`.
    ///
    /// Afterwards the daemon must serve one more session, have reported no panic, have dialled each
    /// peer as often as the case said and nobody else, and have sent v1 to none but those that are
    /// to get it.
    pub(crate) fn run(
        arguments: &[&str],
        case: impl AsyncFnOnce(&Stage<'_>) -> Result<()>,
    ) -> Result<()> {
        Lab::run(|lab| {
            rules::up(lab)?;
            let daemon = Daemon::start(lab, arguments)?;
            let capture = Capture::start(lab)?;
            let stage = Stage { lab, daemon, expected: RefCell::default() };
            runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                case(&stage).await?;
                let (mut client, mut session) = stage.open().await?;
                assert_served(&mut client, &mut session).await
            })?;
            stage.require_no_panic()?;
            stage.check_wire(&capture.stop()?)
        })
    }

    /// A peer that is to be dialled so many times, and never in v1. They take turns in being on
    /// IPv4 and IPv6.
    pub(crate) fn peer(&self, dials: usize) -> Result<Peer> {
        Peer::in_lab(self.lab, self.address(dials, Speaks::V2)?)
    }

    /// A peer that is to be dialled so many times, at least once in v1.
    pub(crate) fn v1_peer(&self, dials: usize) -> Result<Peer> {
        Peer::in_lab(self.lab, self.address(dials, Speaks::V1)?)
    }

    /// An address that is to be dialled so many times, and where nobody listens.
    pub(crate) fn nobody(&self, dials: usize) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.address(dials, Speaks::V2)?, PORT))
    }

    fn address(&self, dials: usize, speaks: Speaks) -> Result<IpAddr> {
        let number = self.expected.borrow().len();
        let family = Family::BOTH[number % 2];
        let address = family.address(FIRST + u8::try_from(number)?);
        self.lab.peer.add_address(address)?;
        self.expect(address, dials, speaks);
        Ok(address)
    }

    /// The real node at [`Family::peer`] is to be dialled so many times.
    pub(crate) fn expect_node(&self, family: Family, dials: usize) {
        self.expect(family.peer(), dials, Speaks::V2);
    }

    fn expect(&self, peer: IpAddr, dials: usize, speaks: Speaks) {
        self.expected.borrow_mut().push(Expected { peer, dials, speaks });
    }

    /// A client whose connection to `peer` is redirected, with nothing sent.
    pub(crate) fn connect(&self, peer: &Peer) -> Result<Wire> {
        Wire::redirected(self.lab, peer.address()?)
    }

    /// A client whose connection to `address` is redirected, and that has sent VERSION.
    pub(crate) async fn connect_to(&self, address: SocketAddr) -> Result<Wire> {
        let mut client = Wire::redirected(self.lab, address)?;
        client.write(&version_message()).await?;
        Ok(client)
    }

    /// A client that has sent VERSION, and the connection that its peer gets, with nothing read.
    pub(crate) async fn dial(&self, peer: &Peer) -> Result<(Wire, Wire)> {
        Ok((self.connect_to(peer.address()?).await?, peer.accept().await?))
    }

    /// A client that has sent VERSION, and a new peer, which has the daemon's key and has sent
    /// nothing.
    pub(crate) async fn meet(&self) -> Result<(Wire, Session)> {
        let (client, wire) = self.dial(&self.peer(1)?).await?;
        Ok((client, Session::meet(wire, MAGIC).await?))
    }

    /// An established session with a new peer.
    pub(crate) async fn open(&self) -> Result<(Wire, Session)> {
        self.open_to(&self.peer(1)?).await
    }

    /// An established session with `peer`: the client's VERSION has reached it.
    pub(crate) async fn open_to(&self, peer: &Peer) -> Result<(Wire, Session)> {
        let (client, wire) = self.dial(peer).await?;
        let mut session = Session::meet(wire, MAGIC).await?;
        let opening = session.opening(&[]);
        session.wire.write(&opening).await?;
        assert_handshake_done(&mut session).await?;
        Ok((client, session))
    }

    /// From now on the peer's host treats connection attempts to `address` by this verdict of
    /// nftables.
    pub(crate) fn filter(&self, address: IpAddr, verdict: &str) -> Result<()> {
        let family = if address.is_ipv4() { "ip" } else { "ip6" };
        self.nft(&format!(
            "add table inet filter; \
             add chain inet filter input {{ type filter hook input priority 0; }}; \
             flush chain inet filter input; \
             add rule inet filter input {family} daddr {address} tcp flags syn {verdict}"
        ))
    }

    /// Ends what [`Self::filter`] began.
    pub(crate) fn stop_filtering(&self) -> Result<()> {
        self.nft("delete table inet filter")
    }

    fn nft(&self, commands: &str) -> Result<()> {
        let mut nft = self.lab.peer.command("nft");
        nft.arg(commands);
        output(nft).map(drop)
    }

    /// Forgets the largest amount of memory that the daemon has used, and returns what it uses now,
    /// in KiB.
    pub(crate) fn start_memory_watch(&self) -> Result<u64> {
        fs::write(format!("/proc/{}/clear_refs", self.daemon.id()), "5")?;
        self.peak_memory()
    }

    /// The daemon has at no time used a mebibyte more than `before`.
    pub(crate) fn assert_little_memory_since(&self, before: u64) -> Result<()> {
        let more = self.peak_memory()?.saturating_sub(before);
        ensure!(more < 1024, "it took {more} KiB");
        Ok(())
    }

    /// The largest amount of memory that the daemon has used since then, in KiB.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        Ok(line.context("no VmHWM")?.trim_end_matches("kB").trim().parse()?)
    }

    /// Runs several sessions at once, so that every thread has its share of memory before it is
    /// measured.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        let peer = self.peer(SESSIONS)?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(self.open_to(&peer).await?);
        }
        for (client, session) in &mut sessions {
            assert_served(client, session).await?;
        }
        Ok(())
    }

    fn require_no_panic(&self) -> Result<()> {
        let log = self.daemon.log()?;
        ensure!(!log.contains("panic"), "a session panicked:\n{log}");
        Ok(())
    }

    fn check_wire(&self, traffic: &Traffic) -> Result<()> {
        let expected = self.expected.borrow();
        for &Expected { peer, dials, speaks } in expected.iter() {
            let sent = traffic.sent_to(peer);
            ensure!(
                sent.dials() == dials,
                "{peer} was dialled {} times, not {dials}",
                sent.dials()
            );
            let plain = sent.plaintext(Network::Regtest);
            ensure!((plain > 0) == (speaks == Speaks::V1), "{plain} packets with v1 to {peer}");
        }
        let dials = expected.iter().map(|peer| peer.dials).sum::<usize>();
        ensure!(traffic.dials() == dials, "{} dials in all, not {dials}", traffic.dials());
        Ok(())
    }
}

/// The daemon's part of the handshake is right, and the client's VERSION comes behind it.
pub(crate) async fn assert_handshake_done(session: &mut Session) -> Result<()> {
    session.finish().await?;
    ensure!(session.message().await? == (Command::VERSION, version()), "not the VERSION");
    Ok(())
}

/// Messages pass in both directions.
pub(crate) async fn assert_served(client: &mut Wire, session: &mut Session) -> Result<()> {
    session.send_message("ping", b"to client").await?;
    let arrived = client.message(MAGIC).await?;
    ensure!(arrived == (command("ping"), b"to client".to_vec()), "{arrived:?}");
    client.write(&message("pong", b"to peer.")).await?;
    let arrived = session.message().await?;
    ensure!(arrived == (command("pong"), b"to peer.".to_vec()), "{arrived:?}");
    Ok(())
}

/// CLOSE: within a second the client gets exactly `delivered` and then a reset, and the peer's
/// connection ends, too.
pub(crate) async fn assert_closed(
    client: &mut Wire,
    peer: &mut Wire,
    delivered: &[u8],
) -> Result<()> {
    assert_reset(client, delivered).await?;
    peer.rest_within(SECOND).await?;
    Ok(())
}

/// Within a second the client gets exactly `delivered` and then a reset.
pub(crate) async fn assert_reset(client: &mut Wire, delivered: &[u8]) -> Result<()> {
    assert_reset_after(client, delivered, Duration::ZERO..SECOND).await
}

/// As [`assert_reset`], but the end comes within these times.
pub(crate) async fn assert_reset_after(
    client: &mut Wire,
    delivered: &[u8],
    times: Range<Duration>,
) -> Result<()> {
    let start = Instant::now();
    let (bytes, end) = client.rest_within(times.end).await?;
    let took = start.elapsed();
    ensure!(bytes == delivered, "the client got {} bytes", bytes.len());
    ensure!(end == End::Reset, "the client takes it for an orderly end");
    ensure!(took >= times.start, "it ended after {took:?} already");
    Ok(())
}

/// The connection stays open, and nothing arrives on it, for long enough to say so.
pub(crate) async fn assert_quiet(wire: &mut Wire) -> Result<()> {
    let event = tokio::time::timeout(QUIET, wire.read_once()).await;
    ensure!(event.is_err(), "{event:?}");
    Ok(())
}

/// Waits until `condition` holds, while other futures go on.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    within(what, async {
        while !condition()? {
            tokio::time::sleep(millis(10)).await;
        }
        Ok(())
    })
    .await?
}

/// A VERSION payload as a light client sends it, with a tail that no protocol knows yet.
pub(crate) fn version() -> Vec<u8> {
    let mut payload = vec![0x11; 80];
    payload.extend(b"\x0b/light:1.0/");
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

pub(crate) const MAGIC: Magic = Magic::REGTEST;

/// Arguments of a daemon that speaks v1 where Bitcoin Core would.
pub(crate) const V1: &[&str] = &["--fallback", "v1"];
/// Arguments of a daemon that never does.
pub(crate) const REJECT: &[&str] = &["--fallback", "reject"];

/// In which an end reaches both sides.
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The deadline of the whole handshake, from the peer's first byte.
pub(crate) const HANDSHAKE: Range<Duration> = millis(9500)..millis(11_500);

/// How long a connection is watched that is to stay open.
const QUIET: Duration = Duration::from_millis(300);

/// Sessions of a warm-up.
const SESSIONS: usize = 20;

/// The last number of the first scripted peer's address. The host has 1, the node 2.
const FIRST: u8 = 10;
