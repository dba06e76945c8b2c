//! The rules, the daemon and `check` around a real node: who is redirected, and who is not.

use anyhow::{Result, ensure};
use bip324_testkit::capture::Capture;
use bip324_testkit::daemon::Daemon;
use bip324_testkit::identity::Identity;
use bip324_testkit::lab::Lab;
use bip324_testkit::namespace::Family;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::process::{Process, finish, output};
use bip324_testkit::rules;
use bip324_testkit::v1::V1Client;
use bip324_testkit::wait::PATIENCE;

const NETWORK: Network = Network::Regtest;

/// As Go clients write it: header, then payload, a segment each.
#[test]
fn version_in_two_segments() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let daemon = Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;
        for family in Family::BOTH {
            for first in [24, 1, 16] {
                let mut client = V1Client::redirected(lab, NETWORK, family.peer())?;
                let version = client.version();
                let (header, rest) = version.split_at(first);
                client.write(header)?;
                client.write(rest)?;
                client.finish_handshake()?;
                client.ping(1)?;
                let peer = node.wait_for_peer(PATIENCE)?;
                ensure!(daemon.session_ids()?.contains(&peer.session_id), "{peer:?}");
                drop(client);
                node.wait_for_no_peer(PATIENCE)?;
            }
        }
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

#[test]
fn check_succeeds_end_to_end() -> Result<()> {
    Lab::run(|lab| {
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &[])?;
        for identity in [Identity::Root, Identity::Sudo, Identity::Sg, Identity::Setpriv] {
            let answer = rules::check(lab, identity)?;
            ensure!(answer.status.success(), "as {identity:?}: {answer:?}");
        }
        Ok(())
    })
}

#[test]
fn a_supplementary_group_is_not_redirected_and_check_says_so() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;

        let bash = format!("exec 3<>/dev/tcp/{}/8333; cat <&3", Family::V4.peer());
        let words = ["bash", "-c", &bash].map(str::to_owned);
        let command = lab.command(&lab.host, Identity::Supplementary, &words)?;
        let _client = Process::spawn("client", command, lab.folder())?;
        node.wait_for_connection(PATIENCE)?;
        ensure!(rules::counted(lab, "nat_output")? == 0, "it was redirected");
        ensure!(!capture.stop()?.is_empty(), "it did not go out directly");

        let answer = rules::check(lab, Identity::Supplementary)?;
        let text = String::from_utf8([answer.stdout, answer.stderr].concat())?;
        ensure!(
            !answer.status.success() && text.contains("only supplementary"),
            "check said: {text}"
        );
        Ok(())
    })
}

/// H11: a node of this host stays reachable as it was, on loopback and on its own address.
#[test]
fn a_local_node_is_left_alone() -> Result<()> {
    Lab::run(|lab| {
        let loopback = ["127.0.0.1", "::1"].map(|ip| ip.parse().unwrap());
        let addresses = [loopback.to_vec(), Family::BOTH.map(Family::host).to_vec()].concat();
        let node = Node::listening(lab, &lab.host, &addresses, NETWORK, &[])?;
        rules::up(lab)?;
        // No daemon: nobody else could answer.
        for address in addresses {
            V1Client::redirected(lab, NETWORK, address)?.handshake()?;
        }
        let peers = node.peers()?;
        ensure!(peers.iter().all(|peer| peer.transport_protocol_type == "v1"), "{peers:?}");
        Ok(())
    })
}

/// H3: in another conntrack zone the kernel does not say where a connection was going.
#[test]
fn a_conntrack_zone_is_refused_and_check_says_so() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &[])?;
        rules::nft(lab, "add table inet zone")?;
        for hook in ["output", "prerouting"] {
            rules::nft(
                lab,
                &format!(
                    "add chain inet zone {hook} {{ type filter hook {hook} priority -300 ; }}"
                ),
            )?;
            rules::nft(lab, &format!("add rule inet zone {hook} ct zone set 5"))?;
        }
        let capture = Capture::start(lab)?;
        for family in Family::BOTH {
            require_no_service(V1Client::redirected(lab, NETWORK, family.peer()))?;
        }
        node.require_no_peer()?;
        capture.stop()?.require_silence()?;

        let answer = rules::check(lab, Identity::Sudo)?;
        let text = String::from_utf8([answer.stdout, answer.stderr].concat())?;
        ensure!(!answer.status.success() && text.contains("zone"), "check said: {text}");
        Ok(())
    })
}

/// H4: the session goes on when somebody empties the connection tracking table.
#[test]
fn a_session_survives_a_conntrack_flush() -> Result<()> {
    Lab::run(|lab| {
        let _node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;
        let mut client = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
        client.handshake()?;
        client.ping(1)?;
        let mut flush = lab.host.command("conntrack");
        flush.arg("-F");
        output(flush)?;
        client.ping(2)?;
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// A Multipath TCP socket connects through a socket that the kernel makes for it; it is redirected
/// all the same, and the daemon, which speaks plain TCP, leaves it with that one path.
#[test]
fn h8_a_multipath_client_is_redirected() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start(lab, &[])?;
        let capture = Capture::start(lab)?;
        for family in Family::BOTH {
            let mut client = V1Client::redirected_multipath(lab, NETWORK, family.peer())?;
            client.handshake()?;
            client.ping(1)?;
        }
        let peers = node.peers()?;
        ensure!(peers.iter().all(|peer| peer.transport_protocol_type == "v2"), "{peers:?}");
        capture.stop()?.require_no_plaintext(NETWORK)
    })
}

/// H10: what was connected before the rules is not redirected; the guard resets it, and the
/// client's next connection is redirected.
#[test]
fn a_connection_older_than_the_rules_is_reset() -> Result<()> {
    Lab::run(|lab| {
        let node = Node::start(lab, NETWORK, &[])?;
        let _daemon = Daemon::start(lab, &[])?;
        let mut old = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
        old.handshake()?;
        old.ping(1)?;
        rules::up(lab)?;
        let capture = Capture::start(lab)?;
        ensure!(old.ping(2).is_err(), "the old connection still speaks v1");
        // The node may still have something to say to it: nothing of ours.
        let sent = capture.stop()?.sent_to(Family::V4.peer());
        ensure!(sent.plaintext(NETWORK) == 0, "it has spoken v1");

        let mut new = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
        new.handshake()?;
        new.ping(3)?;
        let peers = node.peers()?;
        ensure!(peers.iter().any(|peer| peer.transport_protocol_type == "v2"), "{peers:?}");
        Ok(())
    })
}

#[test]
fn a_host_without_ipv6_is_served_over_ipv4() -> Result<()> {
    Lab::run(|lab| {
        let mut sysctl = lab.host.command("sysctl");
        sysctl.args(["-w", "net.ipv6.conf.all.disable_ipv6=1"]);
        output(sysctl)?;
        let node = Node::start(lab, NETWORK, &[])?;
        rules::up(lab)?;
        let _daemon = Daemon::start_with_listeners(lab, &[], 1)?;
        let mut client = V1Client::redirected(lab, NETWORK, Family::V4.peer())?;
        client.handshake()?;
        ensure!(node.wait_for_peer(PATIENCE)?.transport_protocol_type == "v2");
        Ok(())
    })
}

/// H2: its own connections would be redirected to itself.
#[test]
fn the_daemon_refuses_the_clients_group() -> Result<()> {
    Lab::run(|lab| {
        let program = [lab.built("bip324-proxy")?];
        let answer = finish(lab.command(&lab.host, Identity::Setpriv, &program)?)?;
        let text = String::from_utf8([answer.stdout, answer.stderr].concat())?;
        ensure!(text.contains("refusing to run as the clients' group"), "{text}");
        ensure!(answer.status.code() == Some(77), "{}", answer.status);
        Ok(())
    })
}

/// The daemon may have reset the connection before `connect` returns, or before we write.
fn require_no_service(client: Result<V1Client>) -> Result<()> {
    match client {
        Ok(mut client) => {
            let _ = client.write(&client.version());
            client.wait_for_end(PATIENCE).map(drop)
        }
        Err(error) => {
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            ensure!(kind == Some(std::io::ErrorKind::ConnectionReset), "{error:#}");
            Ok(())
        }
    }
}
