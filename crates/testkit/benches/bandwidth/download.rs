//! A full node that speaks v1 alone downloads a chain through the redirect.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bip324_control::Traffic;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Node, PORT};
use bip324_testkit::rules;

use crate::chain;
use crate::counted::Counting;

pub(crate) fn measure() -> Result<Traffic> {
    let mut traffic = Traffic::default();
    Lab::run(|lab| {
        let node = Node::keeping(lab, chain::folder(lab)?)?;
        rules::up(lab)?;
        let daemon = Counting::start(lab)?;
        let data = lab.home().join("download");
        let client = Node::downloader(lab, Identity::Setpriv, data, &["-v2transport=0"])?;
        client.download(SocketAddr::new(Family::V4.peer(), PORT), chain::HEIGHT)?;
        client.stop()?;
        let status = daemon.at_the_end()?;
        ensure!(status.served.v2 == 1, "{} sessions", status.served.v2);
        traffic = status.traffic;
        node.stop()
    })?;
    Ok(traffic)
}
