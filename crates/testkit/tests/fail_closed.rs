//! What is missing or broken makes the client fail, and puts no v1 byte on the wire.

use anyhow::{Result, ensure};
use bip324_testkit::capture::Capture;
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::process::output;
use bip324_testkit::rules;
use bip324_testkit::v1::{End, V1Client};
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::sys::signal::Signal;

const NETWORK: Network = Network::Regtest;

#[test]
fn without_a_daemon_connections_are_refused() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let capture = Capture::start(lab)?;
        require_refused(lab)?;
        capture.stop()?.require_silence()
    })
}

/// F10: the daemon is killed under a live session.
#[test]
fn kill_9_ends_the_session_and_nothing_leaks() -> Result<()> {
    daemon_ends(Signal::SIGKILL)
}

/// F11: the daemon is asked to stop under a live session.
#[test]
fn sigterm_ends_the_session_and_nothing_leaks() -> Result<()> {
    daemon_ends(Signal::SIGTERM)
}

fn daemon_ends(signal: Signal) -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let daemon = Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;
        let mut client = session(lab)?;
        daemon.end(signal)?;
        client.wait_for_end(PATIENCE)?;
        require_refused(lab)?;

        let _daemon = Daemon::start(lab, &[])?;
        session(lab)?;
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

#[test]
fn a_v1_only_node_is_refused() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &["-v2transport=0"])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &["--fallback", "reject"])?;
        let capture = Capture::start(lab)?;
        for family in Family::BOTH {
            let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
            client.write(&client.version())?;
            let end = client.wait_for_end(PATIENCE)?;
            ensure!(end == End::Reset, "the client sees an orderly end, not a failure");
        }
        node.require_no_peer()?;
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

#[test]
fn a_v1_only_node_is_served_where_the_policy_says_so() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &["-v2transport=0"])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &["--fallback", "v1"])?;
        let capture = Capture::start(lab)?;
        for family in Family::BOTH {
            let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
            client.handshake()?;
            client.ping(1)?;
        }
        let peers = node.peers()?;
        ensure!(peers.iter().all(|peer| peer.transport_protocol_type == "v1"), "{peers:?}");
        ensure!(capture.stop()?.plaintext(NETWORK) > 0, "the fallback spoke no v1");
        Ok(())
    })
}

/// H5: the redirect disappears under a live session, whose next bytes would go out as they are.
#[test]
fn the_guard_resets_a_session_that_lost_its_redirect() -> Result<()> {
    Lab::run(|lab| {
        let _running = start(lab)?;
        let capture = Capture::start(lab)?;
        let mut client = session_with_unsent_data(lab)?;
        delete_chain(lab, "nat_output")?;
        let end = client.wait_for_end(PATIENCE)?;
        ensure!(end == End::Reset, "the session ended in order");
        ensure!(rules::counted(lab, "guard_output")? > 0, "the guard saw nothing");
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// The same without the guard leaks: the test above can fail.
#[test]
fn a_session_that_lost_redirect_and_guard_leaks() -> Result<()> {
    Lab::run(|lab| {
        let _running = start(lab)?;
        let capture = Capture::start(lab)?;
        let _client = session_with_unsent_data(lab)?;
        for chain in ["guard_output", "guard_postrouting", "nat_output"] {
            delete_chain(lab, chain)?;
        }
        wait_for_leak(&capture)
    })
}

/// H5: a client that has closed leaves a socket without a group, whose unsent data the kernel
/// still sends. The guard knows it by the connection's mark.
#[test]
fn the_guard_stops_the_unsent_data_of_a_closed_client() -> Result<()> {
    Lab::run(|lab| {
        let _running = start(lab)?;
        let capture = Capture::start(lab)?;
        drop(session_with_unsent_data(lab)?);
        delete_chain(lab, "nat_output")?;
        wait_for("the guard", PATIENCE, || {
            Ok((rules::counted(lab, "guard_output")? > 0).then_some(()))
        })?;
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// The same without the guard leaks: the test above can fail.
#[test]
fn the_unsent_data_of_a_closed_client_leaks_without_the_guard() -> Result<()> {
    Lab::run(|lab| {
        let _running = start(lab)?;
        let capture = Capture::start(lab)?;
        drop(session_with_unsent_data(lab)?);
        for chain in ["guard_output", "guard_postrouting", "nat_output"] {
            delete_chain(lab, chain)?;
        }
        wait_for_leak(&capture)
    })
}

/// H4: with the connection tracking table emptied, the mark of a closed client is gone too.
#[test]
fn the_unsent_data_of_a_closed_client_that_conntrack_forgot_is_reset() -> Result<()> {
    Lab::run(|lab| {
        let _running = start(lab)?;
        let capture = Capture::start(lab)?;
        drop(session_with_unsent_data(lab)?);
        let before = rules::counted(lab, "guard_output")?;
        forget_connections(lab)?;
        wait_for("the guard", PATIENCE, || {
            Ok((rules::counted(lab, "guard_output")? > before).then_some(()))
        })?;
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// H5: installing the rules again is one transaction; sessions do not notice.
#[test]
fn a_session_survives_a_reload_of_the_rules() -> Result<()> {
    Lab::run(|lab| {
        let _running = start(lab)?;
        let capture = Capture::start(lab)?;
        let mut client = session(lab)?;
        rules::up(lab)?;
        client.ping(2)?;
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// A node, the rules and the daemon, with which a client is served.
fn start(lab: &Lab) -> Result<(Daemon<'_>, Node<'_>)> {
    let node = Node::start(lab, NETWORK, &[])?;
    rules::up(lab)?;
    Ok((Daemon::start(lab, &[])?, node))
}

/// A session that has exchanged messages and has nothing unread.
fn session(lab: &Lab) -> Result<V1Client> {
    let mut client = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
    client.handshake()?;
    client.ping(1)?;
    Ok(client)
}

fn require_refused(lab: &Lab) -> Result<()> {
    for family in Family::BOTH {
        let error = V1Client::redirected(lab, NETWORK, family.peer()).err();
        let kind =
            error.as_ref().and_then(|e| e.downcast_ref::<std::io::Error>()).map(|e| e.kind());
        ensure!(kind == Some(std::io::ErrorKind::ConnectionRefused), "{family:?}: {error:?}");
    }
    Ok(())
}

/// A session whose last message stays unacknowledged, because the daemon's side of loopback has
/// gone deaf. The kernel sends it again and again, by whatever way there is then.
fn session_with_unsent_data(lab: &Lab) -> Result<V1Client> {
    let mut client = session(lab)?;
    rules::nft(lab, "add table inet deaf")?;
    rules::nft(lab, "add chain inet deaf input { type filter hook input priority 0 ; }")?;
    rules::nft(lab, "add rule inet deaf input iif lo tcp dport 1324 drop")?;
    client.write(&client.version())?;
    Ok(client)
}

/// Empties the connection tracking table.
fn forget_connections(lab: &Lab) -> Result<()> {
    let mut flush = lab.host.command("conntrack");
    flush.arg("-F");
    output(flush).map(drop)
}

fn wait_for_leak(capture: &Capture<'_>) -> Result<()> {
    wait_for("the leak", PATIENCE, || Ok((capture.so_far()?.plaintext(NETWORK) > 0).then_some(())))
}

fn delete_chain(lab: &Lab, chain: &str) -> Result<()> {
    rules::nft(lab, &format!("flush chain inet bip324 {chain}"))?;
    rules::nft(lab, &format!("delete chain inet bip324 {chain}")).map(drop)
}
