//! `check`: success as each kind of caller, and each failure with its exit code and remedy.

use std::process::Output;

use crate::daemon::{BANNER, Daemon};
use crate::netns::{DAEMON, GROUP, MALLORY, Netns, SETUP, UNPRIVILEGED, complaint, loopback};

/// A user whose primary group is the clients'.
const MEMBER: [&str; 5] = ["setpriv", "--reuid=43242", "--regid=43240", "--clear-groups", "--"];

/// A user who has the clients' group as a supplementary one.
const SUPPLEMENTARY: [&str; 5] =
    ["setpriv", "--reuid=43242", "--regid=43242", "--groups=43240", "--"];

fn check_as(netns: &Netns, caller: &[&str]) -> Output {
    check_as_with(netns, caller, &[])
}

fn check_as_with(netns: &Netns, caller: &[&str], arguments: &[&str]) -> Output {
    netns.run(&[caller, &[SETUP, "check"], arguments].concat())
}

/// The failure must have that code and say, on one line, all of `words`.
fn assert_failure(output: &Output, code: i32, words: &[&str]) {
    let said = complaint(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

/// Rules and a daemon: everything as it should be.
fn sound() -> (Netns, Daemon) {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let daemon = Daemon::start(&netns, BANNER);
    (netns, daemon)
}

#[test]
fn succeeds_as_root_and_as_a_member() {
    let (netns, _daemon) = sound();
    let daemon =
        "bip324-proxy 9.8.7 on 127.0.0.1:1324 (user _bip324) and [::1]:1324 (user _bip324)";
    assert_eq!(
        netns.setup_ok(&["check"]),
        format!("group bip324 (gid 43240) is redirected from port 8333 to {daemon}\n")
    );
    let as_member = check_as(&netns, &MEMBER);
    assert_eq!(
        String::from_utf8(as_member.stdout).unwrap(),
        format!(
            "the canary of group bip324 (gid 43240) is redirected to {daemon}; \
             `sudo bip324-setup status` proves which ports are\n"
        )
    );
}

#[test]
fn ports_that_are_not_redirected_fail_where_the_rules_can_be_read() {
    let (netns, _daemon) = sound();
    netns.expect(&["nft", "flush set inet bip324 ports"]);
    let words = ["not those of `bip324-setup up`", "set ports: port 8333 missing", "--port"];
    assert_failure(&netns.setup(&["check"]), 78, &words);
    // A member cannot see it, and says so.
    let as_member = check_as(&netns, &MEMBER);
    let said = String::from_utf8(as_member.stdout).unwrap();
    assert!(said.contains("`sudo bip324-setup status` proves which ports are"), "{said}");
}

#[test]
fn other_ports_are_checked_when_named() {
    let (netns, _daemon) = sound();
    netns.setup_ok(&["up", "--port", "18444", "--port", "18333"]);
    let words = ["port 8333 missing", "; 2 more in `bip324-setup status`"];
    assert_failure(&netns.setup(&["check"]), 78, &words);
    let ports = ["--port", "18333", "--port", "18444"];
    let line = netns.setup_ok(&[&["check"], &ports[..]].concat());
    assert!(line.contains("is redirected from port 18333, 18444 to bip324-proxy"), "{line}");
    let as_member = check_as_with(&netns, &MEMBER, &ports);
    let said = String::from_utf8(as_member.stdout).unwrap();
    assert!(said.contains("`sudo bip324-setup status --port 18333 --port 18444`"), "{said}");
}

#[test]
fn succeeds_through_sg_for_a_user_in_the_group() {
    let (netns, _daemon) = sound();
    let line = format!("{SETUP} check");
    let words = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "sg", GROUP, "-c"];
    netns.expect(&[&words[..], &[&line]].concat());
}

#[test]
fn a_host_without_ipv6_is_checked_over_ipv4() {
    let netns = Netns::new();
    netns.expect(&["sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1"]);
    netns.setup_ok(&["up"]);
    let _daemon = Daemon::on(&netns, &[loopback(false, 1324)], BANNER);
    let line = netns.setup_ok(&["check"]);
    assert!(line.contains("on 127.0.0.1:1324 (user _bip324)\n"), "{line}");
}

#[test]
fn another_listen_port_is_checked_when_named() {
    let netns = Netns::new();
    netns.setup_ok(&["up", "--listen-port", "2000"]);
    let _daemon = Daemon::on(&netns, &[loopback(false, 2000), loopback(true, 2000)], BANNER);
    netns.setup_ok(&["check", "--listen-port", "2000"]);
    for caller in [&[][..], &MEMBER] {
        let output = check_as_with(&netns, caller, &["--listen-port", "2001"]);
        assert_failure(&output, 78, &["--listen-port", "`up` was given"]);
    }
}

#[test]
fn group_missing() {
    let (netns, _daemon) = sound();
    let output = netns.setup(&["check", "--group", "nobody-has-it"]);
    assert_failure(
        &output,
        66,
        &["no group nobody-has-it", "`sudo groupadd --system nobody-has-it`"],
    );
}

#[test]
fn wrong_group() {
    let (netns, _daemon) = sound();
    assert_failure(&check_as(&netns, &UNPRIVILEGED), 67, &["not in group", "sudo -g bip324"]);
}

#[test]
fn supplementary_group_only() {
    let (netns, _daemon) = sound();
    let output = check_as(&netns, &SUPPLEMENTARY);
    assert_failure(&output, 77, &["only supplementary", "usermod -aG", "sg bip324 -c"]);
}

#[test]
fn no_table() {
    let (netns, _daemon) = sound();
    netns.setup_ok(&["down"]);
    let words = ["no table inet bip324", "in plaintext", "run `sudo bip324-setup up`"];
    assert_failure(&netns.setup(&["check"]), 78, &words);
    let words = ["127.0.0.1:324 is not redirected", "run `sudo bip324-setup up`"];
    assert_failure(&check_as(&netns, &MEMBER), 78, &words);
}

#[test]
fn no_table_and_no_daemon() {
    let netns = Netns::new();
    assert_failure(&netns.setup(&["check"]), 78, &["no table inet bip324"]);
}

#[test]
fn no_rule_for_one_family() {
    let (netns, _daemon) = sound();
    netns.expect(&["nft", "flush chain inet bip324 nat_output"]);
    let rule = "meta skgid bip324 ip daddr 127.0.0.1 tcp dport 324 dnat ip to 127.0.0.1:1324";
    netns.expect(&["nft", "add rule inet bip324 nat_output", rule]);
    assert_failure(&netns.setup(&["check"]), 78, &["chain nat_output: missing `"]);
    assert_failure(&check_as(&netns, &MEMBER), 78, &["[::1]:324 is not redirected"]);
}

#[test]
fn rules_for_another_gid() {
    let (netns, _daemon) = sound();
    netns.write_etc("group", &netns.read_etc("group").replace("43240", "43241"));
    assert_failure(&netns.setup(&["check"]), 78, &["missing `meta skgid \"bip324\""]);
    let member = ["setpriv", "--reuid=43242", "--regid=43241", "--clear-groups", "--"];
    assert_failure(&check_as(&netns, &member), 78, &["127.0.0.1:324 is not redirected"]);
}

#[test]
fn remedies_carry_the_arguments_that_were_given() {
    let netns = Netns::new();
    let _daemon = Daemon::on(&netns, &[loopback(false, 2000)], BANNER);
    netns.write_etc("group", &netns.read_etc("group").replace("bip324", "clients"));
    let given = ["--group", "clients", "--port", "18444", "--listen-port", "2000"];
    let given_line = given.join(" ");
    let up = format!("`sudo bip324-setup up {given_line}`");
    let check = format!("bip324-setup check {given_line}");
    assert_failure(&check_as_with(&netns, &[], &given), 78, &[&up]);
    assert_failure(&check_as_with(&netns, &MEMBER, &given), 78, &[&up]);
    let words = [&*format!("`sudo -g clients {check}`")];
    assert_failure(&check_as_with(&netns, &UNPRIVILEGED, &given), 67, &words);
    let words = [&*format!("`sg clients -c '{check}'`")];
    assert_failure(&check_as_with(&netns, &SUPPLEMENTARY, &given), 77, &words);
}

#[test]
fn daemon_down() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let words = ["nothing listens on 127.0.0.1:1324", "start bip324-proxy"];
    assert_failure(&netns.setup(&["check"]), 69, &words);
}

#[test]
fn daemon_down_on_ipv6() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _daemon = Daemon::on(&netns, &[loopback(false, 1324)], BANNER);
    assert_failure(&netns.setup(&["check"]), 69, &["nothing listens on [::1]:1324"]);
}

#[test]
fn lo_down() {
    let (netns, _daemon) = sound();
    netns.expect(&["ip", "link", "set", "lo", "down"]);
    assert_failure(&netns.setup(&["check"]), 68, &["lo is down", "ip link set lo up"]);
}

#[test]
fn lo_without_its_v4_address() {
    let (netns, _daemon) = sound();
    netns.expect(&["ip", "address", "delete", "127.0.0.1/8", "dev", "lo"]);
    let words = ["lo has no 127.0.0.1", "ip address add 127.0.0.1/8 dev lo"];
    assert_failure(&netns.setup(&["check"]), 68, &words);
}

#[test]
fn lo_without_its_v6_address() {
    let (netns, _daemon) = sound();
    netns.expect(&["ip", "address", "delete", "::1/128", "dev", "lo"]);
    let words = ["lo has no ::1", "ip address add ::1/128 dev lo"];
    assert_failure(&netns.setup(&["check"]), 68, &words);
}

#[test]
fn conntrack_zone() {
    let (netns, _daemon) = sound();
    netns.expect(&["nft", "add table inet zoned"]);
    for hook in ["output", "prerouting"] {
        let chain =
            format!("add chain inet zoned {hook} {{ type filter hook {hook} priority -300; }}");
        netns.expect(&["nft", &chain]);
        netns.expect(&["nft", &format!("add rule inet zoned {hook} ct zone set 5")]);
    }
    let words = ["127.0.0.1:324 connects", "conntrack zone", "nft list ruleset"];
    assert_failure(&netns.setup(&["check"]), 76, &words);
}

#[test]
fn another_program_answers() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _stranger = Daemon::start(&netns, "SSH-2.0-OpenSSH_9.2\r\n");
    let words = ["answered by another program", "SSH-2.0-OpenSSH_9.2", "ss -ltnp"];
    assert_failure(&netns.setup(&["check"]), 65, &words);
}

#[test]
fn root_may_listen_for_the_daemon() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _daemon = Daemon::of(&netns, 0);
    let line = netns.setup_ok(&["check"]);
    assert!(line.contains("127.0.0.1:1324 (user root) and [::1]:1324 (user root)"), "{line}");
}

/// It answers the canary as the daemon does, which anyone can.
#[test]
fn another_user_listens() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _stranger = Daemon::of(&netns, MALLORY);
    let words = ["127.0.0.1:1324 is held by user mallory", "ss -ltnp", "start bip324-proxy"];
    for caller in [&[][..], &MEMBER] {
        assert_failure(&check_as(&netns, caller), 65, &words);
    }
    let status = netns.setup_ok(&["status"]);
    assert!(status.contains("daemon 127.0.0.1:1324: user mallory listens, and would"), "{status}");
}

#[test]
fn another_user_listens_on_ipv6_alone() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _daemon = Daemon::on(&netns, &[loopback(false, 1324)], BANNER);
    let _stranger = netns.listen(MALLORY, loopback(true, 1324));
    assert_failure(&netns.setup(&["check"]), 65, &["[::1]:1324 is held by user mallory"]);
}

#[test]
fn a_nameless_user_listens_on_every_address() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _stranger = netns.listen(43_299, "[::]:1324".parse().unwrap());
    assert_failure(&netns.setup(&["check"]), 65, &["127.0.0.1:1324 is held by user 43299"]);
}

#[test]
fn nobody_answers_in_time() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let _listeners = [false, true].map(|v6| netns.listen(DAEMON, loopback(v6, 1324)));
    assert_failure(&netns.setup(&["check"]), 75, &["does not answer within 2 s"]);
}
