//! How long a full node that speaks v1 alone takes to download a chain through the redirect, beside
//! the same two nodes without it, in v2 and in v1.

use std::fs;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::figures::{Figure, Paired, Row, Target};
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::{Family, let_packets_be_long};
use bip324_testkit::node::{Node, PORT};
use bip324_testkit::rules;
use bip324_testkit::wait::PATIENCE;

use crate::chain;
use crate::options::Options;

pub(crate) fn measure(options: &Options) -> Result<Vec<Row>> {
    let left_out = |why: &str| Ok(vec![Row::LeftOut { name: NAME, why: why.to_owned() }]);
    if options.quick {
        return left_out("by --quick");
    }
    if options.against.is_some() {
        return left_out("nodes name no address of a test network in addr_recv");
    }
    let (mut v2, mut v1) = (Paired::default(), Paired::default());
    Lab::run(|lab| {
        let node = Node::keeping(lab, chain::folder(lab)?)?;
        let_packets_be_long(&lab.host, &lab.peer)?;
        rules::up(lab)?;
        let daemon = Daemon::start_quietly(lab, &[])?;
        for _ in 0..ROUNDS {
            let native = download(lab, &node, Identity::Supplementary, "v2", true)?;
            let through = download(lab, &node, Identity::Setpriv, "v2", false)?;
            let plain = download(lab, &node, Identity::Supplementary, "v1", false)?;
            v2.add(through, native);
            v1.add(through, plain);
        }
        drop(daemon);
        node.stop()
    })?;
    let row = |beside, rounds: &Paired, limit| {
        let name = format!("{NAME}, beside {beside}");
        Row::Measured(Figure::paired(&name, "s", rounds, Target::AtMost(limit)))
    };
    Ok(vec![row("v2 between the nodes", &v2, 1.05), row("plain v1", &v1, 1.15)])
}

/// Seconds of a whole download by a node that speaks v2 itself or does not, once `seen` is the
/// transport that the other node sees.
fn download(lab: &Lab, node: &Node<'_>, identity: Identity, seen: &str, v2: bool) -> Result<f64> {
    let data = lab.home().join("download");
    let client = Node::downloader(lab, identity, data.clone(), v2)?;
    node.wait_for_no_peer(PATIENCE)?;
    let start = Instant::now();
    client.download(SocketAddr::new(Family::V4.peer(), PORT), chain::HEIGHT)?;
    let seconds = start.elapsed().as_secs_f64();
    let peers = node.peers()?;
    let transports: Vec<_> = peers.iter().map(|peer| &peer.transport_protocol_type).collect();
    ensure!(transports == [seen], "the node sees {transports:?}, not {seen}");
    drop(client);
    fs::remove_dir_all(data)?;
    Ok(seconds)
}

const NAME: &str = "download of 310 MB";

const ROUNDS: usize = 7;
