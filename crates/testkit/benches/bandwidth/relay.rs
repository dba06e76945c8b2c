//! An hour of a full node's life on one of its connections, with two real nodes whose clocks are told to
//! run ten times as fast, so that batches and pings come in the proportions of a real hour.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bip324_control::Traffic;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT};
use bip324_testkit::rpc::Rpc;
use bip324_testkit::rules;
use bip324_testkit::wait::{PATIENCE, wait_for};
use serde_json::{Value, json};

use crate::coins::{self, Coin, SHAPES, generate};
use crate::counted::{Counting, between};

/// What was carried, and of what.
pub(crate) struct Relayed {
    pub(crate) traffic: Traffic,
    pub(crate) mix: String,
}

pub(crate) fn measure(minutes: u64) -> Result<Relayed> {
    let mut relayed = None;
    Lab::run(|lab| {
        let addresses = [Family::V4.peer()];
        let node = Node::listening(lab, &lab.peer, &addresses, Network::Regtest, &[FULL_BLOCKS])?;
        let mut peer = Rpc::connect(&lab.peer)?;
        let seconds = 60 * minutes;
        let coins = coins::mine(&mut peer, (2 * RATE * seconds / 10) as usize)?;
        rules::up(lab)?;
        let daemon = Counting::start(lab)?;
        let address = SocketAddr::new(Family::V4.peer(), PORT);
        let _client = Node::client(lab, Identity::Setpriv, Network::Regtest, address)?;
        let mut client = Rpc::connect(&lab.host)?;
        wait_for("the client to have all blocks", PATIENCE, || {
            Ok((client.call("getblockcount", &json!([]))? == node.height()?).then_some(()))
        })?;
        let before = daemon.status()?;
        let mut hour = Hour { peer, client, coins, random: Random(1), sent: 0, through: 0 };
        let blocks = hour.live(seconds)?;
        let after = daemon.status()?;
        ensure!(after.served.v2 == 1 && after.sessions.v2 == 1, "not one session: {after:?}");
        let Hour { sent, through, .. } = hour;
        let mix =
            format!("{sent} transactions, {through} of them by this connection; {blocks} blocks\n");
        relayed = Some(Relayed { traffic: between(&before.traffic, &after.traffic), mix });
        Ok(())
    })?;
    relayed.context("nothing was measured")
}

/// Both nodes, and what they are given.
struct Hour {
    peer: Rpc,
    client: Rpc,
    coins: Vec<Coin>,
    random: Random,
    sent: u64,
    through: u64,
}

impl Hour {
    /// Returns how many blocks came.
    fn live(&mut self, seconds: u64) -> Result<u64> {
        let base = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (begin, mut blocks) = (Instant::now(), 0);
        for second in 1..=seconds {
            let time = json!([base + second]);
            for rpc in [&mut self.peer, &mut self.client] {
                rpc.call("setmocktime", &time)?;
            }
            for _ in 0..self.random.poisson() {
                self.pay()?;
            }
            if second % BLOCK == 0 {
                generate(&mut self.peer, 1)?;
                blocks += 1;
            }
            // The pace that is asked for, and no wait for anything.
            sleep(
                (begin + TICK * u32::try_from(second)?).saturating_duration_since(Instant::now()),
            );
        }
        wait_for("the client to have the same", PATIENCE, || {
            let [here, there] = [&mut self.peer, &mut self.client].map(state);
            let ((block, waiting), (client_block, client_waiting)) = (here?, there?);
            // Some announcements are still to come.
            let same = block == client_block && waiting.abs_diff(client_waiting) < 100;
            Ok(same.then_some(()))
        })?;
        Ok(blocks)
    }

    /// One transaction: one in eight the client gets from this peer, the others from its other peers.
    fn pay(&mut self) -> Result<()> {
        let mut draw = self.random.below(100);
        let shape = SHAPES.iter().find(|(_, _, share)| {
            let found = draw < *share;
            draw = draw.saturating_sub(*share);
            found
        });
        let &(inputs, outputs, _) = shape.context("the shapes are not 100")?;
        ensure!(self.coins.len() >= inputs, "the coins are spent");
        let coins = self.coins.split_off(self.coins.len() - inputs);
        let transaction = coins::transaction(&coins, outputs);
        coins::send(&mut self.peer, &transaction)?;
        if self.random.below(PEERS) == 0 {
            self.through += 1;
        } else {
            // It may have had time to come by this connection.
            let _ = coins::send(&mut self.client, &transaction);
        }
        self.sent += 1;
        Ok(())
    }
}

/// The newest block, and how many transactions wait for the next one.
fn state(rpc: &mut Rpc) -> Result<(Value, u64)> {
    let block = rpc.call("getbestblockhash", &json!([]))?;
    let waiting = rpc.call("getmempoolinfo", &json!([]))?;
    Ok((block, waiting.get("size").and_then(Value::as_u64).context("no size")?))
}

/// xorshift64: the same hour each time.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    const fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    /// How many transactions come in one second: by Knuth's way, of [`RATE`] tenths on average.
    fn poisson(&mut self) -> u64 {
        let (end, mut product) = ((-(RATE as f64) / 10.0).exp(), 1.0);
        for count in 0.. {
            product *= self.below(1 << 53) as f64 / (1_u64 << 53) as f64;
            if product <= end {
                return count;
            }
        }
        0
    }
}

/// As miners have it: Knots itself would leave most of what waits.
const FULL_BLOCKS: &str = "-blockmaxweight=3996000";

/// Transactions in ten seconds, as on mainnet: 400,000 a day.
const RATE: u64 = 46;

/// Seconds between blocks.
const BLOCK: u64 = 600;

/// Full-relay connections of Bitcoin Core.
const PEERS: u64 = 8;

/// Of real time, for each second of the nodes'.
const TICK: Duration = Duration::from_millis(100);
