//! Unmodified clients, none of which is told about the proxy.

use std::net::SocketAddr;

use anyhow::Result;

use crate::identity::Identity;
use crate::lab::Lab;
use crate::namespace::Family;
use crate::node::{HEIGHT, Network, PORT};
use crate::process::Process;
use crate::wait::PATIENCE;

/// A client that `scripts/get` brings. A full node as a client is [`crate::node::Node::client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// bcoin's SPV node, JavaScript.
    Bcoin,
    /// nakamoto-node, Rust; mainnet only.
    Nakamoto,
    /// neutrino, the light client inside lnd, Go.
    Neutrino,
    /// kyoto, Rust, told that its peer knows nothing of v2.
    Kyoto,
    /// kyoto that speaks v2 itself.
    KyotoV2,
    /// bitcoinj, Java.
    Bitcoinj,
}

impl Client {
    /// The chain it is started on.
    pub const fn network(self) -> Network {
        match self {
            Self::Nakamoto => Network::Mainnet,
            _ => Network::Regtest,
        }
    }

    /// Starts it on the host as `identity`, with the node's address of `family`.
    ///
    /// # Errors
    ///
    /// Where the client is absent.
    pub fn start(self, lab: &Lab, identity: Identity, family: Family) -> Result<Process> {
        let mut words = vec![lab.real(self.program())?];
        words.extend(self.arguments(lab, SocketAddr::new(family.peer(), PORT)));
        let command = lab.command(&lab.host, identity, &words)?;
        Process::spawn("client", command, lab.folder())
    }

    /// Waits until it says itself that it has reached [`HEIGHT`]; nakamoto, whose chain here is
    /// empty, that it has done the handshake.
    ///
    /// # Errors
    ///
    /// Where it ends or does not get there in time.
    pub fn wait_until_done(self, process: &mut Process) -> Result<()> {
        let wanted = match self {
            Self::Bcoin => format!("height={HEIGHT} progress=100.00%"),
            Self::Nakamoto => "Peer negotiated".to_owned(),
            _ => format!("synced height={HEIGHT}"),
        };
        process.wait_for_log(&wanted, PATIENCE, |log| log.contains(&wanted).then_some(()))
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Bcoin => "bcoin-spvnode",
            Self::Nakamoto => "nakamoto-node",
            Self::Neutrino => "neutrino-sync",
            Self::Kyoto | Self::KyotoV2 => "kyoto-sync",
            Self::Bitcoinj => "bitcoinj-sync",
        }
    }

    fn arguments(self, lab: &Lab, peer: SocketAddr) -> Vec<String> {
        let home = lab.home();
        let home = home.display();
        let line = match self {
            Self::Bcoin => format!(
                "--network regtest --memory true --prefix {home} --no-dns --log-level debug --nodes {peer}"
            ),
            Self::Nakamoto => format!("--root {home} --connect {peer}"),
            Self::Neutrino => {
                format!("-network regtest -datadir {home} -height {HEIGHT} -peer {peer}")
            }
            Self::Kyoto => format!("regtest {peer} {HEIGHT} v1"),
            Self::KyotoV2 => format!("regtest {peer} {HEIGHT} v2"),
            Self::Bitcoinj => format!("regtest {peer} {HEIGHT}"),
        };
        line.split(' ').map(str::to_owned).collect()
    }
}
