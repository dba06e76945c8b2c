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
    let (mut v2, mut v1, mut steady) = <(Paired, Paired, Paired)>::default();
    Lab::run(|lab| {
        let node = Node::keeping(lab, chain::folder(lab)?)?;
        let_packets_be_long(&lab.host, &lab.peer)?;
        rules::up(lab)?;
        let daemon = Daemon::start_quietly(lab, &[])?;
        let seconds = |way, more: &[&str]| download(lab, &node, way, more);
        for _ in 0..ROUNDS {
            let through = seconds(Way::Redirect, &[])?;
            v2.add(through, seconds(Way::V2, &[])?);
            v1.add(through, seconds(Way::V1, &[])?);
            steady.add(seconds(Way::Redirect, &[STEADY])?, seconds(Way::V2, &[STEADY])?);
        }
        drop(daemon);
        node.stop()
    })?;
    let row = |which, rounds: &Paired, limit| {
        let name = format!("{NAME}, {which}");
        Row::Measured(Figure::paired(&name, "s", rounds, Target::AtMost(limit)))
    };
    Ok(vec![
        row("beside v2", &v2, 1.05),
        row("beside plain v1", &v1, 1.15),
        row("never pausing, v2", &steady, 1.05),
    ])
}

/// How the two nodes reach each other.
#[derive(Clone, Copy)]
enum Way {
    /// By v2 of their own.
    V2,
    /// By v1, with nothing between them.
    V1,
    /// By v1, redirected.
    Redirect,
}

/// Seconds of a whole download, by a client with `more` options, once the other node sees the transport
/// that it should.
fn download(lab: &Lab, node: &Node<'_>, way: Way, more: &[&str]) -> Result<f64> {
    let (identity, option, seen) = match way {
        Way::V2 => (Identity::Supplementary, "-v2transport=1", "v2"),
        Way::V1 => (Identity::Supplementary, "-v2transport=0", "v1"),
        Way::Redirect => (Identity::Setpriv, "-v2transport=0", "v2"),
    };
    let data = lab.home().join("download");
    let client = Node::downloader(lab, identity, data.clone(), &[&[option], more].concat())?;
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

/// A node with 5 MB of messages before it reads no more, and looks again after up to 50 ms: it would
/// not with room for 100 MB.
const STEADY: &str = "-maxreceivebuffer=100000";

const NAME: &str = "download of 310 MB";

const ROUNDS: usize = 7;
