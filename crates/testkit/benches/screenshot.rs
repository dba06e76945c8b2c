//! A picture of `bip324ctl top` beside real clients, each of which is unmodified and connected to a real
//! node through the rules and the daemon: `scripts/picture-top`.
//!
//! Usage: screenshot FILE

use std::fs;

use anyhow::{Context, Result, ensure};
use bip324_testkit::clients::Client;
use bip324_testkit::control::Control;
use bip324_testkit::ctl::{json, top};
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::picture::svg;
use bip324_testkit::rules;
use bip324_testkit::tmux::Tmux;
use bip324_testkit::wait::{PATIENCE, wait_for};

fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("usage: screenshot FILE")?;
    Lab::run(|lab| {
        let node = Node::start(lab, Network::Regtest, &[])?;
        rules::up(lab)?;
        let control = Control::make(lab)?;
        let _daemon = control.daemon(lab)?;
        let mut clients = Vec::new();
        for (client, family) in CLIENTS {
            clients.push(client.start(lab, Identity::Sudo, family)?);
            let count = clients.len();
            wait_for("its session", PATIENCE, || {
                let answer = json(lab, &control, &["sessions"])?;
                let sessions = answer.get("sessions").and_then(|sessions| sessions.as_array());
                let now = sessions.map_or(0, Vec::len);
                Ok((now == count).then_some(()))
            })?;
        }
        let terminal = Tmux::start(lab.folder(), COLUMNS, ROWS)?;
        top(lab, &control, &terminal)?;
        terminal.press(&["Down", "Enter"])?;
        // Each block is news for every client. v2 saves some bytes a message, and its handshakes cost
        // some kilobytes first.
        wait_for("a chart, and savings", 4 * PATIENCE, || {
            node.rpc(&["generatetodescriptor", "1", "raw(51)"])?;
            let screen = terminal.screen()?;
            let charts = screen.matches(BARS).count() > ENOUGH;
            let words = ["Bandwidth v2 saved", " alive: "];
            Ok((charts && words.iter().all(|word| screen.contains(word))).then_some(()))
        })?;
        let picture = terminal.picture()?;
        ensure!(picture.contains("Session 2"), "no session in full:\n{picture}");
        fs::write(&file, svg(&picture, COLUMNS.into()))?;
        println!("{}\n{file}", terminal.screen()?);
        Ok(())
    })
}

const CLIENTS: [(Client, Family); 5] = [
    (Client::Bcoin, Family::V4),
    (Client::Neutrino, Family::V4),
    (Client::Bitcoinj, Family::V6),
    (Client::Kyoto, Family::V6),
    (Client::KyotoV2, Family::V4),
];

const COLUMNS: u16 = 120;
const ROWS: u16 = 24;

/// What charts are drawn with.
const BARS: [char; 8] = [
    '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}',
];

/// Bars of a chart that looks like one.
const ENOUGH: usize = 60;
