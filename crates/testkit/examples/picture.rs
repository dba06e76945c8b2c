//! Makes the picture of `bip324ctl web` for the README: real clients and a real node that finds blocks
//! meanwhile, for two minutes. Run by scripts/picture-web.

use std::path::Path;

use anyhow::{Context, Result};
use bip324_testkit::browser::{Browser, Scheme};
use bip324_testkit::clients::Client;
use bip324_testkit::control::Control;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT};
use bip324_testkit::rules;

fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("usage: picture FILE")?;
    Lab::run(|lab| take(lab, Path::new(&file)))
}

fn take(lab: &Lab, file: &Path) -> Result<()> {
    let node = Node::start(lab, Network::Regtest, &[])?;
    rules::up(lab)?;
    let control = Control::make(lab)?;
    let _daemon = control.daemon(lab)?;
    let (_server, url) = control.web(lab, Identity::Root)?;
    let mut browser = Browser::start(lab, Identity::Root)?;
    browser.resize(1280, 1000, Scheme::Light)?;
    browser.open(&url)?;

    let mut clients = Vec::new();
    let mut start = |client: Client, family| {
        clients.push(client.start(lab, Identity::Sudo, family)?);
        anyhow::Ok(())
    };
    start(Client::Bcoin, Family::V4)?;
    find_blocks(&node, &mut browser, 10)?;
    start(Client::Neutrino, Family::V6)?;
    find_blocks(&node, &mut browser, 20)?;
    let peer = (Family::V4.peer(), PORT).into();
    let _full = Node::client(lab, Identity::Sudo, Network::Regtest, peer)?;
    find_blocks(&node, &mut browser, 105)?;
    // One that speaks v2 itself; it leaves soon.
    start(Client::KyotoV2, Family::V6)?;
    browser.wait_for("document.querySelectorAll('#table tbody tr').length >= 4")?;
    browser.wait_for("document.querySelector('#now').innerText >= '4'")?;
    browser.click("#table tbody button")?;
    browser.wait_for("document.querySelectorAll('#detail-types tbody tr').length > 4")?;
    browser.click("h1")?;
    browser.run("scrollTo(0, 0)")?;
    std::fs::write(file, browser.picture()?)?;
    Ok(())
}

/// Until the chart has this many points.
fn find_blocks(node: &Node<'_>, browser: &mut Browser, points: usize) -> Result<()> {
    let seen = "document.querySelector('#chart .line')?.points.numberOfItems ?? 0";
    let begun: usize = browser.value(seen)?;
    for blocks in [1, 3, 2, 8, 1, 5].iter().cycle() {
        if browser.value::<usize>(seen)? >= begun.max(points) {
            return Ok(());
        }
        node.rpc(&["generatetodescriptor", &blocks.to_string(), "raw(51)"])?;
    }
    Ok(())
}
