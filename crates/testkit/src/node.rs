//! Bitcoin Knots, as the node and as a client.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::identity::Identity;
use crate::lab::Lab;
use crate::namespace::{Family, Namespace};
use crate::process::{Process, finish, output, output_with_input};
use crate::rpc::AUTHORIZATION;
use crate::wait::{PATIENCE, wait_for};

/// Port that every node listens on, whatever its network: the one that is redirected.
pub const PORT: u16 = 8333;

/// Blocks that a regtest node mines at its start.
pub const HEIGHT: u32 = 120;

/// The chain that a node and its clients are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Mainnet; the nodes here know its genesis block alone.
    Mainnet,
    /// Regtest.
    Regtest,
}

impl Network {
    /// The four bytes in front of every v1 message.
    pub const fn magic(self) -> [u8; 4] {
        match self {
            Self::Mainnet => [0xf9, 0xbe, 0xb4, 0xd9],
            Self::Regtest => [0xfa, 0xbf, 0xb5, 0xda],
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::Mainnet => "-chain=main",
            Self::Regtest => "-chain=regtest",
        }
    }
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node<'lab> {
    lab: &'lab Lab,
    namespace: &'lab Namespace,
    network: Network,
    data: PathBuf,
    process: Process,
}

/// What a node says of one of its peers: the part of `getpeerinfo` that tests look at.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// `v1`, `v2`, or `detecting` until the handshake is done.
    pub transport_protocol_type: String,
    /// The BIP324 session id in hexadecimal, empty for v1.
    pub session_id: String,
    /// User agent of its VERSION message.
    pub subver: String,
    /// Bytes received from it, on the wire.
    pub bytesrecv: u64,
    /// Bytes sent to it, on the wire.
    pub bytessent: u64,
    /// Bytes received from it by message type.
    pub bytesrecv_per_msg: BTreeMap<String, u64>,
}

impl Peer {
    /// Whether the Bitcoin handshake is done: its VERACK has come.
    pub fn is_connected(&self) -> bool {
        self.bytesrecv_per_msg.contains_key("verack")
    }
}

impl<'lab> Node<'lab> {
    /// Starts the peer's node: v2, compact filters, both families on [`PORT`], on regtest with
    /// [`HEIGHT`] fresh blocks. `options` come last and so win.
    ///
    /// # Errors
    ///
    /// Where the node is absent or does not start.
    pub fn start(lab: &'lab Lab, network: Network, options: &[&str]) -> Result<Self> {
        let addresses = Family::BOTH.map(Family::peer);
        let node = Self::listening(lab, &lab.peer, &addresses, network, options)?;
        if network == Network::Regtest {
            // Block times are now: some clients take an old tip for an unfinished sync.
            node.rpc(&["generatetodescriptor", &HEIGHT.to_string(), "raw(51)"])?;
        }
        Ok(node)
    }

    /// Starts a node of the same kind on `addresses` in `namespace`, without mining.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn listening(
        lab: &'lab Lab,
        namespace: &'lab Namespace,
        addresses: &[IpAddr],
        network: Network,
        options: &[&str],
    ) -> Result<Self> {
        let mut words = strings(&SERVING);
        words.extend(addresses.iter().map(|ip| format!("-bind={}", SocketAddr::new(*ip, PORT))));
        words.extend(strings(options));
        Self::spawn(lab, namespace, Identity::Root, network, lab.home().join("node"), &words)
    }

    /// Starts the peer's node on regtest with what is in the folder `data`, which it keeps.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn keeping(lab: &'lab Lab, data: PathBuf) -> Result<Self> {
        let address = SocketAddr::new(Family::V4.peer(), PORT);
        let options = ["-v2transport=1".into(), format!("-bind={address}"), "-debug=0".into()];
        Self::spawn(lab, &lab.peer, Identity::Root, Network::Regtest, data, &options)
    }

    /// Starts a node without v2 on the host that downloads from `peer` and listens nowhere:
    /// a full node as a client.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn client(
        lab: &'lab Lab,
        identity: Identity,
        network: Network,
        peer: SocketAddr,
    ) -> Result<Self> {
        let words = [strings(&["-v2transport=0", "-listen=0"]), vec![format!("-connect={peer}")]];
        let data = lab.home().join("client-node");
        Self::spawn(lab, &lab.host, identity, network, data, &words.concat())
    }

    /// Starts a node on the host that knows nobody yet: see [`Self::download`]. Its data goes to the
    /// folder `data`, and `options` say the rest.
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn downloader(
        lab: &'lab Lab,
        identity: Identity,
        data: PathBuf,
        options: &[&str],
    ) -> Result<Self> {
        let words = [&["-listen=0", "-connect=0", "-debug=0"], options].concat();
        Self::spawn(lab, &lab.host, identity, Network::Regtest, data, &strings(&words))
    }

    fn spawn(
        lab: &'lab Lab,
        namespace: &'lab Namespace,
        identity: Identity,
        network: Network,
        data: PathBuf,
        options: &[String],
    ) -> Result<Self> {
        let role = if identity == Identity::Root { "node" } else { "client-node" };
        let run = |words: &[String]| lab.command(namespace, identity, words);
        // Made by the user that is to write there.
        output(run(&["mkdir".into(), "-p".into(), data.display().to_string()])?)?;
        let mut words = vec![lab.real("bitcoind")?, network.option().into()];
        words.push(format!("-datadir={}", data.display()));
        words.extend(strings(&QUIET));
        words.extend_from_slice(options);
        let process = Process::spawn(role, run(&words)?, lab.folder())?;
        let mut node = Self { lab, namespace, network, data, process };
        wait_for("the node's RPC server", PATIENCE, || {
            node.process.still_runs()?;
            Ok(finish(node.rpc_command(&["getblockcount"])?)?.status.success().then_some(()))
        })?;
        Ok(node)
    }

    /// Calls the node by `bitcoin-cli` and hands back what it printed.
    ///
    /// # Errors
    ///
    /// What the node or `bitcoin-cli` said.
    pub fn rpc(&self, call: &[&str]) -> Result<String> {
        let printed = output(self.rpc_command(call)?).with_context(|| format!("rpc {call:?}"))?;
        Ok(String::from_utf8(printed.stdout)?.trim().to_owned())
    }

    /// As [`Self::rpc`], with more arguments, a line each: too long ones for a command line.
    ///
    /// # Errors
    ///
    /// As [`Self::rpc`].
    pub fn rpc_with_lines(&self, call: &[&str], lines: &str) -> Result<String> {
        let words = [&["-stdin"], call].concat();
        let printed = output_with_input(self.rpc_command(&words)?, lines.as_bytes());
        let printed = printed.with_context(|| format!("rpc {call:?}"))?;
        Ok(String::from_utf8(printed.stdout)?.trim().to_owned())
    }

    /// Has it connect to `peer`, and waits for as long as it takes until it has blocks up to
    /// `height`.
    ///
    /// # Errors
    ///
    /// As [`Self::rpc`], or where no block comes for half a minute.
    pub fn download(&self, peer: SocketAddr, height: u32) -> Result<()> {
        self.rpc(&["addnode", &peer.to_string(), "onetry"])?;
        let mut reached = 0;
        while reached < height {
            let before = reached;
            self.rpc(&["waitforblockheight", &height.to_string(), "30000"])?;
            reached = self.height()?;
            ensure!(reached > before, "the download stands still at block {reached}");
        }
        Ok(())
    }

    /// Ends it in order, with all that it has in its folder.
    ///
    /// # Errors
    ///
    /// Where it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.rpc(&["stop"])?;
        self.process.wait_for_end(PATIENCE).map(drop)
    }

    /// Height of its best block.
    ///
    /// # Errors
    ///
    /// As [`Self::rpc`].
    pub fn height(&self) -> Result<u32> {
        Ok(self.rpc(&["getblockcount"])?.parse()?)
    }

    /// Its peers.
    ///
    /// # Errors
    ///
    /// As [`Self::rpc`], and where the answer lacks a field of [`Peer`].
    pub fn peers(&self) -> Result<Vec<Peer>> {
        serde_json::from_str(&self.rpc(&["getpeerinfo"])?).context("getpeerinfo")
    }

    /// Waits for a peer that has finished the Bitcoin handshake.
    ///
    /// # Errors
    ///
    /// Where none comes within `limit`.
    pub fn wait_for_peer(&self, limit: Duration) -> Result<Peer> {
        wait_for("a peer of the node", limit, || {
            Ok(self.peers()?.into_iter().find(Peer::is_connected))
        })
    }

    /// Waits until it has [`HEIGHT`] blocks.
    ///
    /// # Errors
    ///
    /// Where it has not within `limit`.
    pub fn wait_for_blocks(&self, limit: Duration) -> Result<()> {
        wait_for("the blocks", limit, || Ok((self.height()? == HEIGHT).then_some(())))
    }

    /// Waits until somebody has connected, whether or not anything was said.
    ///
    /// # Errors
    ///
    /// Where nobody does within `limit`.
    pub fn wait_for_connection(&self, limit: Duration) -> Result<()> {
        wait_for(
            "a connection to the node",
            limit,
            || Ok((!self.peers()?.is_empty()).then_some(())),
        )
    }

    /// Waits until the node has lost every peer.
    ///
    /// # Errors
    ///
    /// Where one is left after `limit`.
    pub fn wait_for_no_peer(&self, limit: Duration) -> Result<()> {
        wait_for("the end of the node's peers", limit, || {
            Ok(self.peers()?.is_empty().then_some(()))
        })
    }

    /// Fails where a peer is connected or on its way.
    ///
    /// # Errors
    ///
    /// With the peers.
    pub fn require_no_peer(&self) -> Result<()> {
        let peers = self.peers()?;
        ensure!(peers.is_empty(), "the node has peers: {peers:?}");
        Ok(())
    }

    fn rpc_command(&self, call: &[&str]) -> Result<Command> {
        let mut words = vec![self.lab.real("bitcoin-cli")?, self.network.option().into()];
        words.push(format!("-datadir={}", self.data.display()));
        words.extend(strings(call));
        self.lab.command(self.namespace, Identity::Root, &words)
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Options of a node that serves v2 peers and light clients.
const SERVING: [&str; 5] = [
    "-v2transport=1",
    "-listen=1",
    "-blockfilterindex=1",
    "-peerblockfilters=1",
    "-peerbloomfilters=1",
];

/// Options of every node: it looks for nobody and says what it does.
const QUIET: [&str; 9] = [
    AUTHORIZATION,
    "-server=1",
    "-dnsseed=0",
    "-fixedseeds=0",
    "-discover=0",
    "-listenonion=0",
    "-dbcache=16",
    "-debug=net",
    "-printtoconsole=1",
];
