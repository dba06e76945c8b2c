//! Real, unmodified clients against a real node, none of them told about the proxy.
//!
//! Each does its work three ways: redirected over IPv4 and over IPv6, where the node must see the
//! daemon's v2 session and the wire must hold no v1 byte; and once without the rules, where the
//! same capture must hold v1 bytes, which proves that the check can fail.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use bip324_testkit::capture::Capture;
use bip324_testkit::clients::Client;
use bip324_testkit::daemon::Daemon;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node, PORT, Peer};
use bip324_testkit::rules;
use bip324_testkit::wait::PATIENCE;

mod bcoin {
    use super::*;

    #[test]
    fn ipv4_by_sg() -> Result<()> {
        redirected(Client::Bcoin, Identity::Sg, Family::V4)
    }

    #[test]
    fn ipv6_by_sudo() -> Result<()> {
        redirected(Client::Bcoin, Identity::Sudo, Family::V6)
    }

    #[test]
    fn without_rules() -> Result<()> {
        unprotected(Client::Bcoin, Identity::Sg)
    }
}

mod nakamoto {
    use super::*;

    #[test]
    fn ipv4_by_sudo() -> Result<()> {
        redirected(Client::Nakamoto, Identity::Sudo, Family::V4)
    }

    #[test]
    fn ipv6_by_setpriv() -> Result<()> {
        redirected(Client::Nakamoto, Identity::Setpriv, Family::V6)
    }

    #[test]
    fn without_rules() -> Result<()> {
        unprotected(Client::Nakamoto, Identity::Sudo)
    }
}

mod neutrino {
    use super::*;

    #[test]
    fn ipv4_by_setpriv() -> Result<()> {
        redirected(Client::Neutrino, Identity::Setpriv, Family::V4)
    }

    #[test]
    fn ipv6_by_sg() -> Result<()> {
        redirected(Client::Neutrino, Identity::Sg, Family::V6)
    }

    #[test]
    fn without_rules() -> Result<()> {
        unprotected(Client::Neutrino, Identity::Setpriv)
    }
}

mod kyoto {
    use super::*;

    #[test]
    fn ipv4_by_sudo() -> Result<()> {
        redirected(Client::Kyoto, Identity::Sudo, Family::V4)
    }

    #[test]
    fn ipv6_by_sg() -> Result<()> {
        redirected(Client::Kyoto, Identity::Sg, Family::V6)
    }

    #[test]
    fn without_rules() -> Result<()> {
        unprotected(Client::Kyoto, Identity::Sudo)
    }

    #[test]
    fn native_v2_is_spliced_over_ipv4() -> Result<()> {
        spliced(Identity::Sg, Family::V4)
    }

    #[test]
    fn native_v2_is_spliced_over_ipv6() -> Result<()> {
        spliced(Identity::Setpriv, Family::V6)
    }

    /// The client's own v2 session reaches the node, and none of the daemon's.
    fn spliced(identity: Identity, family: Family) -> Result<()> {
        Lab::run(|lab| {
            let node = Node::start(lab, Network::Regtest, &[])?;
            rules::up(lab)?;
            let daemon = Daemon::start(lab, &[])?;
            let capture = Capture::start(lab)?;
            let mut client = Client::KyotoV2.start(lab, identity, family)?;
            Client::KyotoV2.wait_until_done(&mut client)?;
            let peer = node.wait_for_peer(PATIENCE)?;
            ensure!(peer.transport_protocol_type == "v2", "{peer:?}");
            ensure!(!daemon.session_ids()?.contains(&peer.session_id), "{peer:?} is ours");
            ensure!(rules::counted(lab, "nat_output")? > 0, "kyoto was not redirected");
            capture.stop()?.require_no_plaintext(Network::Regtest)
        })
    }
}

mod bitcoinj {
    use super::*;

    #[test]
    fn ipv4_by_sg() -> Result<()> {
        redirected(Client::Bitcoinj, Identity::Sg, Family::V4)
    }

    #[test]
    fn ipv6_by_sudo() -> Result<()> {
        redirected(Client::Bitcoinj, Identity::Sudo, Family::V6)
    }

    #[test]
    fn without_rules() -> Result<()> {
        unprotected(Client::Bitcoinj, Identity::Sg)
    }
}

/// A second full node, without v2, in its initial block download.
mod knots {
    use super::*;

    #[test]
    fn ipv4_by_sudo() -> Result<()> {
        downloads(Identity::Sudo, Family::V4)
    }

    #[test]
    fn ipv6_by_setpriv() -> Result<()> {
        downloads(Identity::Setpriv, Family::V6)
    }

    #[test]
    fn without_rules() -> Result<()> {
        Lab::run(|lab| {
            let node = Node::start(lab, Network::Regtest, &[])?;
            let capture = Capture::start(lab)?;
            let _client = download(lab, Identity::Sg, Family::V4)?;
            let peer = node.wait_for_peer(PATIENCE)?;
            require_plaintext(&peer, capture, Network::Regtest)
        })
    }

    fn downloads(identity: Identity, family: Family) -> Result<()> {
        Lab::run(|lab| {
            let node = Node::start(lab, Network::Regtest, &[])?;
            rules::up(lab)?;
            let daemon = Daemon::start(lab, &[])?;
            let capture = Capture::start(lab)?;
            let _client = download(lab, identity, family)?;
            let peer = node.wait_for_peer(PATIENCE)?;
            require_our_session(&peer, &daemon)?;
            capture.stop()?.require_no_plaintext(Network::Regtest)
        })
    }

    fn download(lab: &Lab, identity: Identity, family: Family) -> Result<Node<'_>> {
        let peer = SocketAddr::new(family.peer(), PORT);
        let client = Node::client(lab, identity, Network::Regtest, peer)?;
        client.wait_for_blocks(PATIENCE)?;
        Ok(client)
    }
}

fn redirected(client: Client, identity: Identity, family: Family) -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, client.network(), &[])?;
        rules::up(lab)?;
        let daemon = Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;
        let mut process = client.start(lab, identity, family)?;
        client.wait_until_done(&mut process)?;
        let peer = node.wait_for_peer(PATIENCE)?;
        require_our_session(&peer, &daemon)?;
        capture.stop()?.require_no_plaintext(client.network())
    })
}

fn unprotected(client: Client, identity: Identity) -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, client.network(), &[])?;
        let capture = Capture::start(lab)?;
        let mut process = client.start(lab, identity, Family::V4)?;
        client.wait_until_done(&mut process)?;
        let peer = node.wait_for_peer(PATIENCE)?;
        require_plaintext(&peer, capture, client.network())
    })
}

/// C20: node and daemon name the same session.
fn require_our_session(peer: &Peer, daemon: &Daemon<'_>) -> Result<()> {
    ensure!(peer.transport_protocol_type == "v2", "not v2: {peer:?}");
    let ours = daemon.session_ids()?;
    ensure!(ours.contains(&peer.session_id), "{peer:?} is none of the daemon's {ours:?}");
    Ok(())
}

fn require_plaintext(peer: &Peer, capture: Capture<'_>, network: Network) -> Result<()> {
    ensure!(peer.transport_protocol_type == "v1", "not v1: {peer:?}");
    ensure!(capture.stop()?.plaintext(network) > 0, "no plaintext was captured");
    Ok(())
}
