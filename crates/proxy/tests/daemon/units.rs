//! What systemd's units say, beside what the program says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bip324_config::{DEFAULT_LISTEN, KEYS, SESSIONS};
use bip324_proxy::Config;

/// The values of a key of a unit, in order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let text = fs::read_to_string(folder.join(unit)).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(str::to_owned).collect()
}

fn number(unit: &str, key: &str) -> u64 {
    values(unit, key)[0].parse().unwrap()
}

#[test]
fn the_socket_has_the_addresses_that_the_rules_lead_to() {
    let addresses = values("bip324-proxy.socket", "ListenStream");
    assert_eq!(addresses, DEFAULT_LISTEN.map(|address| address.to_string()));
}

/// One name for all sockets of a unit is all that systemd has: the control socket has its own.
#[test]
fn the_control_socket_is_where_its_clients_look_for_it() {
    let unit = "bip324-proxy-control.socket";
    assert_eq!(values(unit, "ListenStream"), [bip324_control::SOCKET]);
    assert_eq!(values(unit, "FileDescriptorName"), ["control"]);
    assert_eq!(values(unit, "Service"), ["bip324-proxy.service"]);
    assert_eq!(values(unit, "SocketMode"), ["0660"]);
    assert_eq!(values(unit, "SocketGroup"), [bip324_config::DEFAULT_GROUP]);
    assert_eq!(values("bip324-proxy.socket", "FileDescriptorName"), ["transparent"]);
    assert_eq!(values("bip324-proxy.service", "Wants"), [unit]);
}

#[test]
fn the_service_has_descriptors_for_the_most_sessions_that_can_be_configured() {
    let needed = 2 * *SESSIONS.end() as u64 + 160;
    let limit = number("bip324-proxy.service", "LimitNOFILE");
    assert!(limit >= needed, "{limit} of {needed}");
}

#[test]
fn the_service_may_serve_metrics_where_the_manual_says() {
    let key = KEYS.iter().find(|key| key.name == "metrics").unwrap();
    let port = &values("bip324-proxy.service", "SocketBindAllow")[0];
    let port = port.strip_prefix("tcp:").unwrap();
    assert!(key.doc.contains(&format!("port {port}")), "{}", key.doc);
    let folder = &values("bip324-proxy.service", "RuntimeDirectory")[0];
    assert!(key.doc.contains(&format!("/run/{folder}")), "{}", key.doc);
    // Removed with the service, which the control socket must not be.
    assert_ne!(folder, "bip324-proxy");
}

/// Otherwise systemd would kill what may still end by itself.
#[test]
fn the_service_has_time_to_drain() {
    let time = Duration::from_secs(number("bip324-proxy.service", "TimeoutStopSec"));
    assert!(time > Config::default().timeouts.drain);
}

/// As it happens to a unit that failed too often: nobody would hold its port, or its rules.
#[test]
fn systemd_never_gives_up_on_a_unit() {
    for service in ["bip324-proxy.service", "bip324-guard.service"] {
        assert_eq!(number(service, "StartLimitIntervalSec"), 0, "{service}");
        assert_eq!(values(service, "Restart"), ["always"], "{service}");
        assert!(values(service, "RestartPreventExitStatus").is_empty(), "{service}");
    }
    assert_eq!(number("bip324-proxy.socket", "TriggerLimitIntervalSec"), 0);
}

/// With arguments the configuration would not have the last word.
#[test]
fn the_programs_are_started_without_arguments() {
    assert_eq!(values("bip324-proxy.service", "ExecStart"), ["/usr/sbin/bip324-proxy"]);
    assert_eq!(values("bip324-guard.service", "ExecStart"), ["/usr/sbin/bip324-setup guard"]);
    let after = values("bip324-guard.service", "ExecStopPost");
    assert_eq!(after, ["+/usr/sbin/bip324-setup block --unless-open"]);
}
