//! What most cases begin with: the rules, the daemon, and a scripted peer; and how they all end:
//! with a capture that holds no plaintext.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_testkit::capture::{Capture, Traffic};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::Network;
use bip324_testkit::peer::{End, Peer, Session, Wire, frame};
use bip324_testkit::rules;
use bip324_testkit::wait::{PATIENCE, wait_for};
use bip324_transport::v1::Magic;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

pub(crate) struct Scene<'lab> {
    pub(crate) lab: &'lab Lab,
    pub(crate) daemon: Daemon<'lab>,
    /// Where clients of this scene connect to.
    pub(crate) peer: Peer,
}

/// The rules, the daemon with these arguments, and a peer; afterwards no plaintext on the wire.
pub(crate) fn scene(
    arguments: &[&str],
    test: impl AsyncFnOnce(&mut Scene<'_>) -> Result<()>,
) -> Result<()> {
    scene_with(|lab| Daemon::start(lab, arguments), test)
}

/// As [`scene`], with a daemon started otherwise.
pub(crate) fn scene_with(
    start: impl for<'lab> FnOnce(&'lab Lab) -> Result<Daemon<'lab>>,
    test: impl AsyncFnOnce(&mut Scene<'_>) -> Result<()>,
) -> Result<()> {
    play(start, test, |traffic| traffic.require_no_plaintext(NETWORK))
}

/// As [`scene`], but nothing at all may cross the wire.
pub(crate) fn silent_scene(
    arguments: &[&str],
    test: impl AsyncFnOnce(&mut Scene<'_>) -> Result<()>,
) -> Result<()> {
    play(|lab| Daemon::start(lab, arguments), test, Traffic::require_silence)
}

fn play(
    start: impl for<'lab> FnOnce(&'lab Lab) -> Result<Daemon<'lab>>,
    test: impl AsyncFnOnce(&mut Scene<'_>) -> Result<()>,
    judge: impl FnOnce(&Traffic) -> Result<()>,
) -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let daemon = start(lab)?;
        let capture = Capture::start(lab)?;
        block_on(async {
            let peer = Peer::in_lab(lab, Family::V4.peer())?;
            test(&mut Scene { lab, daemon, peer }).await
        })?;
        judge(&capture.stop()?)
    })
}

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    Builder::new_current_thread().enable_all().build()?.block_on(work)
}

impl Scene<'_> {
    /// An established session, with nothing unread.
    pub(crate) async fn open(&self) -> Result<(Wire, Session)> {
        self.peer.open(self.lab, MAGIC).await
    }

    /// A client that has sent VERSION, and a peer that has sent nothing.
    pub(crate) async fn meet(&self) -> Result<(Wire, Session)> {
        self.peer.meet_client(self.lab, MAGIC).await
    }

    /// One more peer, at an address of its own in the wire's IPv4 network.
    pub(crate) fn another_peer(&self, number: u8) -> Result<Peer> {
        let ip: IpAddr = Family::V4.address(number);
        self.lab.peer.add_address(ip)?;
        Peer::in_lab(self.lab, ip)
    }

    /// Waits until the daemon holds no more sockets than this: what it had without sessions.
    pub(crate) fn wait_for_sockets(&self, count: usize) -> Result<()> {
        wait_for("the daemon's sockets to be closed", PATIENCE, || {
            Ok((self.daemon.vitals()?.sockets <= count).then_some(()))
        })
    }

    /// Waits until the daemon has logged this.
    pub(crate) fn wait_for_log(&self, text: &str) -> Result<()> {
        wait_for(text, PATIENCE, || Ok(self.daemon.log()?.contains(text).then_some(())))
    }
}

/// A message passes each way.
pub(crate) async fn assert_served(client: &mut Wire, session: &mut Session) -> Result<()> {
    session.send_message("inv", b"to the client").await?;
    ensure!(client.message(MAGIC).await?.1 == b"to the client");
    client.write(&message("inv", b"to the peer")?).await?;
    ensure!(session.message().await?.1 == b"to the peer");
    Ok(())
}

/// The connection ends with a reset, and nothing before it.
pub(crate) async fn assert_refused(client: &mut Wire) -> Result<()> {
    let (bytes, end) = client.rest().await?;
    ensure!(bytes.is_empty() && end == End::Reset, "{end:?} after {} bytes", bytes.len());
    Ok(())
}

/// The connection ends within a second, as every end must.
pub(crate) async fn ends_within_a_second(wire: &mut Wire, what: &str) -> Result<(Vec<u8>, End)> {
    let start = Instant::now();
    let rest = wire.rest().await?;
    ensure!(start.elapsed() < Duration::from_secs(1), "{what}: {:?}", start.elapsed());
    Ok(rest)
}

/// A v1 message of [`MAGIC`].
pub(crate) fn message(name: &str, payload: &[u8]) -> Result<Vec<u8>> {
    frame(MAGIC, name, payload)
}

/// Looks every few milliseconds until `condition` holds, and lets others run.
pub(crate) async fn eventually(
    what: &str,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

pub(crate) const NETWORK: Network = Network::Regtest;
pub(crate) const MAGIC: Magic = Magic::REGTEST;
