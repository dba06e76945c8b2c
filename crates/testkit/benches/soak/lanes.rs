//! The mix: lanes that each do one thing to the daemon again and again, at a pace of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::PORT;
use bip324_testkit::peer::{Peer, Session, Wire, frame, version_to};
use bip324_testkit::v1::V1Client;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::tally::Tally;
use crate::{MAGIC, NETWORK};

/// What a lane does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Small messages both ways over one session, for half a minute.
    Chat,
    /// A megabyte each way.
    Blocks,
    /// Opens and closes, with a FIN, then with a reset.
    Closes,
    /// Nobody listens at the peer's address.
    Refused,
    /// Nobody has the peer's address.
    Unreachable,
    /// The peer takes the connection and says nothing.
    Silent,
    /// The peer sends garbage without a terminator.
    Garbage,
    /// The peer's first packet is damaged.
    BadTag,
    /// The peer answers in v1 and leaves.
    V1Answer,
    /// The peer sends a byte a second.
    SlowLoris,
    /// The peer sends decoys, and then a message.
    Decoys,
    /// The client finishes, the peer has more to say.
    HalfClosedClient,
    /// The peer finishes, the client has more to say.
    HalfClosedPeer,
    /// Some other user connects to the daemon itself, and names loopback as its peer.
    Direct,
    /// The client leaves in the middle of the handshake.
    Leaves,
}

impl Kind {
    /// Each with the pause between two goes, in milliseconds.
    const ALL: [(Self, u64); 15] = [
        (Self::Chat, 500),
        (Self::Blocks, 3000),
        (Self::Closes, 100),
        (Self::Refused, 250),
        (Self::Unreachable, 1000),
        (Self::Silent, 1000),
        (Self::Garbage, 700),
        (Self::BadTag, 700),
        (Self::V1Answer, 700),
        (Self::SlowLoris, 2000),
        (Self::Decoys, 1000),
        (Self::HalfClosedClient, 800),
        (Self::HalfClosedPeer, 800),
        (Self::Direct, 600),
        (Self::Leaves, 250),
    ];
}

/// All lanes.
pub(crate) struct Lanes<'soak> {
    lab: &'soak Lab,
    end: Instant,
    tally: &'soak Tally,
    lanes: Vec<Lane>,
}

struct Lane {
    kind: Kind,
    pause: Duration,
    /// Where its peer is, or where nobody is.
    to: SocketAddr,
    peer: Option<Peer>,
}

impl<'soak> Lanes<'soak> {
    /// Gives each lane an address of its own, IPv4 and IPv6 in turns.
    pub(crate) fn new(lab: &'soak Lab, end: Instant, tally: &'soak Tally) -> Result<Self> {
        let mut lanes = Vec::new();
        for (number, (kind, pause)) in (FIRST..).zip(Kind::ALL) {
            let ip = match kind {
                Kind::Unreachable => family(number).address(number),
                _ => address(lab, number)?,
            };
            let peer = match kind {
                Kind::Refused | Kind::Unreachable | Kind::Direct => None,
                _ => Some(Peer::in_lab(lab, ip)?),
            };
            let pause = Duration::from_millis(pause);
            lanes.push(Lane { kind, pause, to: SocketAddr::new(ip, PORT), peer });
        }
        Ok(Self { lab, end, tally, lanes })
    }

    /// Runs all until the end.
    pub(crate) async fn run(&self) -> Result<()> {
        try_join_all(self.lanes.iter().map(|lane| self.run_one(lane))).await.map(drop)
    }

    async fn run_one(&self, lane: &Lane) -> Result<()> {
        while Instant::now() < self.end {
            let result = self.go(lane).await.with_context(|| format!("{:?}", lane.kind));
            self.tally.count(&result);
            sleep(lane.pause).await;
        }
        Ok(())
    }

    async fn go(&self, lane: &Lane) -> Result<()> {
        match (lane.kind, &lane.peer) {
            (Kind::Direct, _) => self.direct().await,
            (_, None) => {
                let mut client = Wire::redirected(self.lab, lane.to)?;
                client.write(&frame(MAGIC, "version", &[0; 86])?).await?;
                refused(&mut client).await
            }
            (Kind::Chat, Some(peer)) => chat(&mut self.open(peer).await?).await,
            (Kind::Blocks, Some(peer)) => blocks(&mut self.open(peer).await?).await,
            (Kind::Decoys, Some(peer)) => decoys(&mut self.open(peer).await?).await,
            (Kind::Closes, Some(peer)) => {
                let (client, mut session) = self.open(peer).await?;
                client.reset()?;
                session.wire.rest().await?;
                let (client, mut session) = self.open(peer).await?;
                drop(client);
                session.wire.rest().await.map(drop)
            }
            (Kind::HalfClosedClient, Some(peer)) => {
                let (mut client, mut session) = self.open(peer).await?;
                client.finish().await?;
                ensure!(session.wire.rest().await?.0.is_empty());
                answer(&mut client, &mut session).await
            }
            (Kind::HalfClosedPeer, Some(peer)) => {
                let (mut client, mut session) = self.open(peer).await?;
                session.wire.finish().await?;
                ensure!(client.rest().await?.0.is_empty());
                ask(&mut client, &mut session).await
            }
            (kind, Some(peer)) => {
                let (client, session) = peer.meet_client(self.lab, MAGIC).await?;
                hostile(kind, client, session).await
            }
        }
    }

    async fn open(&self, peer: &Peer) -> Result<(Wire, Session)> {
        peer.open(self.lab, MAGIC).await
    }

    async fn direct(&self) -> Result<()> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon::PORT));
        let mut client = Wire::direct(self.lab, to)?;
        let nearby = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        client.write(&frame(MAGIC, "version", &version_to(nearby))?).await?;
        refused(&mut client).await
    }
}

async fn chat((client, session): &mut (Wire, Session)) -> Result<()> {
    for _ in 0..300 {
        ask(client, session).await?;
        answer(client, session).await?;
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A small message to the peer.
async fn ask(client: &mut Wire, session: &mut Session) -> Result<()> {
    client.write(&frame(MAGIC, "inv", &[1; 61])?).await?;
    ensure!(session.message().await?.1 == [1; 61]);
    Ok(())
}

/// A small message to the client.
async fn answer(client: &mut Wire, session: &mut Session) -> Result<()> {
    session.send_message("inv", &[2; 61]).await?;
    ensure!(client.message(MAGIC).await?.1 == [2; 61]);
    Ok(())
}

async fn blocks((client, session): &mut (Wire, Session)) -> Result<()> {
    let block = vec![3; 1_000_000];
    let bytes = frame(MAGIC, "block", &block)?;
    let (sent, arrived) = tokio::join!(client.write(&bytes), session.message());
    sent?;
    ensure!(arrived?.1 == block);
    let (sent, arrived) =
        tokio::join!(session.send_message("block", &block), client.message(MAGIC));
    sent?;
    ensure!(arrived?.1 == block);
    Ok(())
}

async fn decoys((client, session): &mut (Wire, Session)) -> Result<()> {
    for _ in 0..100 {
        let decoy = session.seal.packet(0x80, &[0; 1000]);
        session.wire.write(&decoy).await?;
    }
    answer(client, session).await
}

/// What a peer may do instead of the handshake. The client is refused, but for one that leaves.
async fn hostile(kind: Kind, mut client: Wire, mut session: Session) -> Result<()> {
    let mut opening = session.opening(&[7; 100]);
    match kind {
        Kind::Garbage => session.wire.write(&[0xAA; 64 + 4111]).await?,
        Kind::BadTag => {
            if let Some(byte) = opening.last_mut() {
                *byte ^= 1;
            }
            session.wire.write(&opening).await?;
        }
        Kind::V1Answer => {
            session.wire.write(&frame(MAGIC, "version", &[0; 86])?).await?;
            session.wire.finish().await?;
        }
        Kind::SlowLoris => {
            for byte in opening {
                if session.wire.write(&[byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
        Kind::Leaves => {
            client.reset()?;
            return session.wire.rest().await.map(drop);
        }
        _ => {}
    }
    refused(&mut client).await
}

async fn refused(client: &mut Wire) -> Result<()> {
    ensure!(client.rest().await?.0.is_empty(), "the client got bytes");
    Ok(())
}

/// Visits the real node until `end`: handshake, a few pings, and away.
pub(crate) fn visit_node(lab: &Lab, end: std::time::Instant, tally: &Tally) {
    for family in Family::BOTH.into_iter().cycle() {
        if std::time::Instant::now() >= end {
            return;
        }
        tally.count(&visit(lab, family).context("the real node"));
        thread::sleep(Duration::from_millis(700));
    }
}

fn visit(lab: &Lab, family: Family) -> Result<()> {
    let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
    client.handshake()?;
    (0..5).try_for_each(|nonce| client.ping(nonce))
}

/// An address of the peer's end, new there.
pub(crate) fn address(lab: &Lab, number: u8) -> Result<std::net::IpAddr> {
    let ip = family(number).address(number);
    lab.peer.add_address(ip)?;
    Ok(ip)
}

fn family(number: u8) -> Family {
    if number % 2 == 0 { Family::V4 } else { Family::V6 }
}

const FIRST: u8 = 20;
/// Where the idle sessions go.
pub(crate) const IDLE: u8 = 10;
/// Where the black hole is.
pub(crate) const BLACK_HOLE: u8 = 12;
