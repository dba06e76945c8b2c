//! Runs kyoto, the compact-filter client behind the BDK wallets, against one node: it syncs
//! headers, filter headers and filters up to a height, then fetches that block.
//!
//!     kyoto-sync regtest 203.0.113.2:8333 120 v1
//!     kyoto-sync regtest '[fd00:b324::2]:8333' 120 v2
//!
//! With `v2` it speaks BIP324 itself: the crate does so with a peer that is known to offer
//! P2P_V2. It prints `synced height=N block=...`, keeps its connection until standard input ends
//! (at once with `</dev/null`) and exits 0; or it prints why not and exits 1. It keeps nothing on
//! disk, and dials once: an attempt that fails is the end. The crate's VERSION message names
//! 127.0.0.1:8333 as the peer's address, whichever it dials.

use std::{env, io, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use bip157::{Builder, Client, Event, Info, Network, Node, ServiceFlags, TrustedPeer};
use tokio::{task::JoinHandle, time::timeout};

const TIMEOUT: Duration = Duration::from_secs(60);

struct Options {
    network: Network,
    peer: TrustedPeer,
    height: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options(env::args().skip(1).collect())?;
    let (node, mut client) =
        Builder::new(options.network).add_peer(options.peer).whitelist_only().build();
    let running = tokio::spawn(run(node));
    timeout(TIMEOUT, sync(&mut client, running, options.height))
        .await
        .with_context(|| format!("no sync within {TIMEOUT:?}"))??;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn options(args: Vec<String>) -> Result<Options> {
    let [network, peer, height, transport] = args.as_slice() else {
        bail!("usage: kyoto-sync mainnet|regtest PEER:PORT HEIGHT v1|v2");
    };
    let network = match network.as_str() {
        "mainnet" => Network::Bitcoin,
        "regtest" => Network::Regtest,
        other => bail!("network {other:?}: neither mainnet nor regtest"),
    };
    let address: SocketAddr =
        peer.parse().with_context(|| format!("peer {peer:?}: not IP:PORT"))?;
    let mut peer = TrustedPeer::from_socket_addr(address);
    match transport.as_str() {
        "v1" => peer.set_services(ServiceFlags::NONE),
        "v2" => peer.set_services(ServiceFlags::P2P_V2),
        other => bail!("transport {other:?}: neither v1 nor v2"),
    }
    Ok(Options {
        network,
        peer,
        height: height.parse().with_context(|| format!("height {height:?}"))?,
    })
}

/// Runs until the node has lost its peer; the error says why.
async fn run(node: Node) -> Result<()> {
    node.run().await.map_err(|error| anyhow::anyhow!("{error}"))
}

async fn sync(client: &mut Client, mut running: JoinHandle<Result<()>>, height: u32) -> Result<()> {
    loop {
        tokio::select! {
            Some(info) = client.info_rx.recv() => report(&info),
            Some(warning) = client.warn_rx.recv() => eprintln!("{warning}"),
            Some(event) = client.event_rx.recv() => {
                let Event::FiltersSynced(update) = event else { continue };
                let tip = update.tip();
                if tip.height >= height {
                    // The crate has no genesis block to ask for.
                    if tip.height > 0 {
                        client.requester.get_block(tip.hash).await?;
                    }
                    println!("synced height={} block={}", tip.height, tip.hash);
                    return Ok(());
                }
            }
            ended = &mut running => {
                ended??;
                bail!("the node stopped before it had synced");
            }
        }
    }
}

/// One filter after the other would be a line each.
fn report(info: &Info) {
    if !matches!(info, Info::FilterAdded(_)) {
        println!("{info}");
    }
}
