//! A TCP relay on the daemon's runtime that does nothing but copy: a process of its own, as the
//! daemon is one.

use std::net::SocketAddr;
use std::num::NonZero;
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::Result;
use bip324_testkit::wait::PATIENCE;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::proxy::{Proxy, spawn};

/// Starts this program once more, as a relay to `node`.
pub(crate) fn start(node: SocketAddr) -> Result<Proxy> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([RELAY, &node.to_string()]);
    let mut process = spawn("bench-relay", command)?;
    let address = process
        .wait_for_log("where it listens", PATIENCE, |log| log.lines().last()?.parse().ok())?;
    Proxy::of(process, address)
}

/// Relays until it is killed.
pub(crate) fn run(node: &str) -> Result<()> {
    let node = node.parse()?;
    let threads = available_parallelism().map_or(1, NonZero::get);
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(relay(client, node));
        }
    })
}

async fn relay(mut client: TcpStream, node: SocketAddr) -> Result<()> {
    let mut peer = TcpStream::connect(node).await?;
    client.set_nodelay(true)?;
    peer.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut peer).await?;
    Ok(())
}

/// The first argument that makes this program a relay; the second is where to.
pub(crate) const RELAY: &str = "relay";
