//! Where packets go with the rules in place, and when the rules are taken away.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::daemon::original_dst;
use crate::netns::{self, Capture, GID, Netns, OTHER_GID, PATIENCE, complaint, loopback, peer};

/// What a client writes; must not be seen on the wire.
pub(crate) const SECRET: &[u8] = b"a v1 message in plaintext";

/// A client's namespace with the rules, joined to a peer's.
pub(crate) fn client_and_peer() -> (Netns, Netns) {
    let (client, peer) = (Netns::new(), Netns::new());
    client.join(&peer);
    client.setup_ok(&["up"]);
    (client, peer)
}

pub(crate) fn listen(netns: &Netns, address: SocketAddr) -> TcpListener {
    netns.listen(0, address)
}

pub(crate) fn connect(netns: &Netns, gid: u32, to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = netns.with_group(gid, || TcpStream::connect_timeout(&to, PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[test]
fn clients_reach_the_daemon_which_learns_their_destination() {
    let (client, _peer) = client_and_peer();
    for v6 in [false, true] {
        let daemon = listen(&client, loopback(v6, 1324));
        let _client = connect(&client, GID, peer(v6, 8333)).unwrap();
        let (accepted, from) = daemon.accept().unwrap();
        assert_eq!(original_dst(&accepted).unwrap(), peer(v6, 8333));
        assert!(!from.ip().is_loopback(), "{from}");
    }
}

#[test]
fn canaries_reach_the_daemon_from_the_group_alone() {
    let client = Netns::new();
    client.setup_ok(&["up"]);
    for v6 in [false, true] {
        let daemon = listen(&client, loopback(v6, 1324));
        let _client = connect(&client, GID, loopback(v6, 324)).unwrap();
        let (accepted, _) = daemon.accept().unwrap();
        assert_eq!(original_dst(&accepted).unwrap(), loopback(v6, 324));
        let refused = connect(&client, OTHER_GID, loopback(v6, 324)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn without_a_daemon_clients_are_refused() {
    let (client, peer_netns) = client_and_peer();
    for v6 in [false, true] {
        let _peer = listen(&peer_netns, peer(v6, 8333));
        let refused = connect(&client, GID, peer(v6, 8333)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn other_groups_and_other_ports_are_left_alone() {
    let (client, peer_netns) = client_and_peer();
    for v6 in [false, true] {
        for (gid, port) in [(OTHER_GID, 8333), (GID, 8334)] {
            let listener = listen(&peer_netns, peer(v6, port));
            let client = connect(&client, gid, peer(v6, port)).unwrap();
            let (_, from) = listener.accept().unwrap();
            assert_eq!(from, client.local_addr().unwrap());
        }
    }
}

#[test]
fn a_node_on_this_host_is_left_alone() {
    let (client, _peer) = client_and_peer();
    let own: SocketAddr = "203.0.113.1:8333".parse().unwrap();
    let own_v6: SocketAddr = "[fd00:b324::1]:8333".parse().unwrap();
    for address in [loopback(false, 8333), loopback(true, 8333), own, own_v6] {
        let node = listen(&client, address);
        let mut stream = connect(&client, GID, address).unwrap();
        let (mut accepted, _) = node.accept().unwrap();
        // Past the handshake too: the guard sees every packet.
        stream.write_all(SECRET).unwrap();
        let mut received = [0; SECRET.len()];
        accepted.read_exact(&mut received).unwrap();
        assert_eq!(received, SECRET);
    }
}

/// A client that talks to the daemon, and has said something that arrived.
pub(crate) fn live_session(netns: &Netns, v6: bool) -> (TcpStream, TcpStream) {
    let daemon = listen(netns, loopback(v6, 1324));
    let mut client = connect(netns, GID, peer(v6, 8333)).unwrap();
    let (mut accepted, _) = daemon.accept().unwrap();
    client.write_all(b"hello").unwrap();
    accepted.read_exact(&mut [0; 5]).unwrap();
    (client, accepted)
}

pub(crate) fn nft(netns: &Netns, command: &str) {
    netns.expect(&["nft", command]);
}

#[test]
fn a_live_session_that_loses_the_redirect_is_reset_and_nothing_reaches_the_wire() {
    let (client_netns, peer_netns) = client_and_peer();
    for v6 in [false, true] {
        client_netns.setup_ok(&["up"]);
        let mut capture = Capture::start(&peer_netns);
        let (mut client, _accepted) = live_session(&client_netns, v6);
        nft(&client_netns, "flush chain inet bip324 nat_output");
        nft(&client_netns, "delete chain inet bip324 nat_output");
        client.write_all(SECRET).unwrap();
        let error = client.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_wire_is_clean(&client_netns, &mut capture, v6);
    }
}

#[test]
fn without_the_guard_a_live_session_would_leak() {
    // Shows that the capture of the tests around this one can see a leak.
    let (client_netns, peer_netns) = client_and_peer();
    for v6 in [false, true] {
        client_netns.setup_ok(&["up"]);
        let capture = Capture::start(&peer_netns);
        let (mut client, _accepted) = live_session(&client_netns, v6);
        client_netns.setup_ok(&["down"]);
        client.write_all(SECRET).unwrap();
        capture.wait_for(SECRET);
    }
}

/// Leaves a closed socket with unsent data behind, then takes the redirect away from under it.
pub(crate) fn orphan(netns: &Netns, v6: bool, take_away: impl FnOnce()) {
    let (mut client, accepted) = live_session(netns, v6);
    // What the daemon would acknowledge is lost, so the client's kernel keeps sending it.
    nft(netns, "add table inet loss");
    nft(netns, "add chain inet loss input { type filter hook input priority 0; }");
    nft(netns, "add rule inet loss input iif lo tcp dport 1324 drop");
    client.write_all(SECRET).unwrap();
    drop(client);
    take_away();
    nft(netns, "delete table inet loss");
    drop(accepted);
}

fn orphan_without_redirect(netns: &Netns, v6: bool) {
    orphan(netns, v6, || {
        nft(netns, "flush chain inet bip324 nat_output");
        nft(netns, "delete chain inet bip324 nat_output");
    });
}

#[test]
fn an_orphaned_socket_that_loses_the_redirect_leaks_nothing() {
    let (client, peer) = client_and_peer();
    for v6 in [false, true] {
        client.setup_ok(&["up"]);
        let mut capture = Capture::start(&peer);
        orphan_without_redirect(&client, v6);
        netns::wait_until("the guard's mark rule to reset the orphan", || {
            let table = client.expect(&["nft", "list", "chain", "inet", "bip324", "guard_output"]);
            let rule = table.lines().find(|line| line.contains("ct mark")).unwrap().to_owned();
            !rule.contains("packets 0 ")
        });
        assert_wire_is_clean(&client, &mut capture, v6);
    }
}

#[test]
fn without_the_mark_an_orphaned_socket_would_leak() {
    let (client, peer) = client_and_peer();
    for v6 in [false, true] {
        client.setup_ok(&["up"]);
        nft(&client, "flush chain inet bip324 mark_output");
        let capture = Capture::start(&peer);
        orphan_without_redirect(&client, v6);
        capture.wait_for(SECRET);
    }
}

/// Sends something that is allowed: once it is in the capture, what went before it is too. Ends the
/// capture.
pub(crate) fn assert_wire_is_clean(client: &Netns, capture: &mut Capture, v6: bool) {
    const ALLOWED: &[u8] = b"allowed on the wire";
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let socket = client.with_group(GID, || UdpSocket::bind(any)).unwrap();
    socket.send_to(ALLOWED, peer(v6, 9)).unwrap();
    capture.wait_for(ALLOWED);
    capture.stop();
    assert_eq!(capture.count(SECRET), 0);
}

#[test]
fn with_lo_down_up_says_so_and_clients_are_cut_off() {
    let (client, peer_netns) = client_and_peer();
    client.setup_ok(&["down"]);
    client.expect(&["ip", "link", "set", "lo", "down"]);
    let output = client.setup(&["up"]);
    assert_eq!(output.status.code(), Some(68));
    assert!(complaint(&output).contains("ip link set lo up"), "{}", complaint(&output));
    client.setup_ok(&["status"]);

    for v6 in [false, true] {
        let mut capture = Capture::start(&peer_netns);
        let _peer = listen(&peer_netns, peer(v6, 8333));
        let brief = Duration::from_millis(500);
        let to = peer(v6, 8333);
        client.with_group(GID, || TcpStream::connect_timeout(&to, brief)).unwrap_err();
        assert_wire_is_clean(&client, &mut capture, v6);
        assert_eq!(capture.tcp_packets(), 0);
    }
}

#[test]
fn with_ipv6_off_up_succeeds_quietly_and_its_rules_stand() {
    let netns = Netns::new();
    netns.expect(&["sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1"]);
    let output = netns.setup(&["up"]);
    assert!(output.status.success());
    assert_eq!(complaint(&output), "");
    assert!(netns.table().contains("dnat ip6 to [::1]:1324"));
}

#[test]
fn with_lo_lacking_only_its_v6_address_up_succeeds_and_warns() {
    let netns = Netns::new();
    netns.expect(&["ip", "address", "delete", "::1/128", "dev", "lo"]);
    let output = netns.setup(&["up"]);
    assert!(output.status.success());
    let warning = complaint(&output);
    assert!(warning.starts_with("bip324-setup: warning: lo has no ::1"), "{warning}");
    // The remedy that it names mends it.
    let remedy = warning.split('`').nth(1).unwrap();
    netns.expect(&["sh", "-ec", remedy]);
    assert_eq!(complaint(&netns.setup(&["up"])), "");
}
