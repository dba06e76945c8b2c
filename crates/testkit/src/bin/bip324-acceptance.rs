//! What `scripts/acceptance` puts at both ends of the wire: clients that connect all the time, a peer
//! that echoes, and a capture that looks for plaintext. Run by that script.

use std::io::{read_to_string, stdin, stdout};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result, bail};
use bip324_testkit::echo::Echo;
use bip324_testkit::hammer::{Pace, call_for_ever};
use bip324_testkit::node::{PORT, Peer};
use bip324_testkit::wiretap;
use bip324_transport::v1::Magic;

const USAGE: &str =
    "usage: bip324-acceptance call FILE IP...       clients, and what became of them
       bip324-acceptance greet FILE IP...      the same at a walk
       bip324-acceptance echo IP...            a peer on port 8333
       bip324-acceptance watch INTERFACE IP... a capture; IP... are peers of plain clients
       bip324-acceptance peers                 getpeerinfo as lines: transport, session, agent";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bip324-acceptance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<()> {
    match words {
        ["call", file, ips @ ..] => call_for_ever(&peers(ips)?, Pace::Brisk, Path::new(file)),
        ["greet", file, ips @ ..] => call_for_ever(&peers(ips)?, Pace::Calm, Path::new(file)),
        ["echo", ips @ ..] => {
            let _echo = Echo::here(&peers(ips)?, Magic::REGTEST)?;
            println!("listening");
            loop {
                thread::park();
            }
        }
        ["watch", interface, ips @ ..] => {
            let controls = peers(ips)?.iter().map(SocketAddr::ip).collect();
            wiretap::answer(interface, controls, stdin().lock(), stdout())
        }
        ["peers"] => print_peers(&read_to_string(stdin())?),
        _ => bail!("{USAGE}"),
    }
}

fn peers(ips: &[&str]) -> Result<Vec<SocketAddr>> {
    ips.iter()
        .map(|ip| {
            Ok(SocketAddr::new(ip.parse::<IpAddr>().with_context(|| (*ip).to_owned())?, PORT))
        })
        .collect()
}

fn print_peers(getpeerinfo: &str) -> Result<()> {
    let peers: Vec<Peer> = serde_json::from_str(getpeerinfo).context("getpeerinfo")?;
    for peer in peers.iter().filter(|peer| peer.is_connected()) {
        println!("{} {:-<64} {}", peer.transport_protocol_type, peer.session_id, peer.subver);
    }
    Ok(())
}
