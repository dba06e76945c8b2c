//! The table in the kernel: what `up`, `down` and `status` do to it and say about it.

use std::path::Path;

use crate::netns::{self, GID, GROUP, Netns, OTHER_GID, UNPRIVILEGED, complaint};

fn shipped_file() -> String {
    shipped("bip324.nft")
}

/// The path of a file in the folder nft.
pub(crate) fn shipped(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nft").join(name);
    file.canonicalize().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn up_installs_what_nft_loads_from_the_shipped_file() {
    let (ours, theirs) = (Netns::new(), Netns::new());
    ours.setup_ok(&["up"]);
    theirs.expect(&["nft", "-f", &shipped_file()]);
    assert!(ours.table().contains(&format!("meta skgid {GID}")));
    assert_eq!(ours.table(), theirs.table());
    // And to `status` the two are the same as well.
    theirs.setup_ok(&["status"]);
}

#[test]
fn nft_accepts_the_shipped_file_and_the_dry_run_is_it() {
    let netns = Netns::new();
    netns.expect(&["nft", "-c", "-f", &shipped_file()]);
    let printed = netns.setup_ok(&["up", "--dry-run"]);
    assert_eq!(printed, std::fs::read_to_string(shipped_file()).unwrap());
    assert_eq!(netns.expect(&["nft", "list", "ruleset"]), "");
}

#[test]
fn dry_run_needs_no_privilege_and_no_group() {
    let netns = Netns::new();
    let words = [&UNPRIVILEGED[..], &[netns::SETUP, "up", "--dry-run", "--group", "missing"]];
    assert!(netns.expect(&words.concat()).contains("meta skgid \"missing\""));
}

#[test]
fn dry_run_with_other_arguments_is_what_up_installs_with_them() {
    let (ours, theirs) = (Netns::new(), Netns::new());
    let arguments = ["--port", "18444", "--port", "8333", "--listen-port", "2000"];
    ours.setup_ok(&[&["up"], &arguments[..]].concat());
    let text = theirs.setup_ok(&[&["up", "--dry-run"], &arguments[..]].concat());
    theirs.write_etc("rules", &text);
    theirs.expect(&["nft", "-f", "/etc/rules"]);
    assert_eq!(ours.table(), theirs.table());
    assert!(ours.table().contains("elements = { 8333, 18444 }"));
}

#[test]
fn up_and_down_can_be_repeated_and_leave_other_tables_alone() {
    let netns = Netns::new();
    netns.expect(&["nft", "add", "table", "inet", "other"]);
    netns.expect(&[
        "nft",
        "add",
        "chain",
        "inet",
        "other",
        "output { type nat hook output priority -100; }",
    ]);
    netns.expect(&["nft", "add", "table", "ip", "bip324"]);
    let before = netns.expect(&["nft", "list", "ruleset"]);

    netns.setup_ok(&["down"]);
    assert_eq!(netns.expect(&["nft", "list", "ruleset"]), before);
    netns.setup_ok(&["up"]);
    let once = netns.table();
    netns.setup_ok(&["up", "--port", "18444"]);
    assert_ne!(netns.table(), once);
    netns.setup_ok(&["up"]);
    assert_eq!(netns.table(), once);
    netns.setup_ok(&["down"]);
    assert_eq!(netns.expect(&["nft", "list", "ruleset"]), before);
}

/// As the package puts it for a number that the group had before.
#[test]
fn a_block_of_a_number_is_named_and_goes_with_down() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let block = netns.setup_ok(&["block", "--dry-run"]);
    let number = block.replace("bip324_block", "bip324_block_43250");
    netns.write_etc("number", &number.replace("\"bip324\"", "43250"));
    netns.expect(&["nft", "-f", "/etc/number"]);
    for stranger in ["bip324_block_x", "bip324_blocks"] {
        netns.expect(&["nft", "add", "table", "inet", stranger]);
    }
    let said = netns.setup_ok(&["status"]);
    assert!(said.contains("\ntable inet bip324_block_43250 refuses gid 43250\n"), "{said}");
    assert_eq!(said.matches("refuses gid").count(), 1, "{said}");
    netns.setup_ok(&["down"]);
    assert_eq!(netns.tables(), ["inet bip324_block_x", "inet bip324_blocks"]);
}

#[test]
fn down_dry_run_prints_what_nft_can_run_with_and_without_the_table() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    netns.write_etc("removal", &netns.setup_ok(&["down", "--dry-run"]));
    netns.table();
    for _ in 0..2 {
        netns.expect(&["nft", "-f", "/etc/removal"]);
        assert_eq!(netns.expect(&["nft", "list", "ruleset"]), "");
    }
}

#[test]
fn a_table_that_another_process_owns_is_not_replaced() {
    let netns = Netns::new();
    let owner = netns::Owner::start(&netns);
    let refused = netns.setup(&["up"]);
    drop(owner);
    assert_eq!(refused.status.code(), Some(75));
    let said = complaint(&refused);
    assert!(said.contains(", nft) owns table inet bip324: stop its process"), "{said}");
}

#[test]
fn status_finds_an_absent_table() {
    let netns = Netns::new();
    let output = netns.setup(&["status"]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("table inet bip324: absent: run `sudo bip324-setup up`"), "{text}");
}

#[test]
fn status_names_the_command_with_the_arguments_that_were_given() {
    let netns = Netns::new();
    let given = ["status", "--port", "18444", "--listen-port", "2000"];
    let up = "bip324-setup up --port 18444 --listen-port 2000`";
    let absent = String::from_utf8(netns.setup(&given).stdout).unwrap();
    assert!(absent.contains(&format!("absent: run `sudo {up}")), "{absent}");
    netns.setup_ok(&["up"]);
    let differs = String::from_utf8(netns.setup(&given).stdout).unwrap();
    assert!(differs.contains(&format!("differs from what `{up} would install")), "{differs}");
}

/// What `status` must say after `change` (arguments of nft) was made to the installed table.
fn assert_reported(change: &[&str], expected: &str) {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    netns.setup_ok(&["status"]);
    netns.expect(&[&["nft"], change].concat());
    let output = netns.setup(&["status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{change:?}: {text}");
    assert!(text.contains("table inet bip324: differs"), "{change:?}: {text}");
    assert!(text.contains(expected), "{change:?}: {text}");
}

/// The handle of the first listed rule that contains `text`.
fn handle(netns: &Netns, text: &str) -> String {
    let listing = netns.expect(&["nft", "-a", "list", "table", "inet", "bip324"]);
    let rule = listing.lines().find(|line| line.contains(text)).unwrap();
    rule.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn status_reports_a_deleted_rule() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    for (chain, text, expected) in [
        ("guard_output", "ct mark 0x0000b324 tcp", "missing `ct mark 0x0000b324 tcp dport @ports"),
        ("nat_output", "nfproto ipv6", "missing `meta nfproto ipv6 meta skgid \"bip324\""),
        ("mark_output", "ct mark set", "chain mark_output: missing `meta skgid"),
        ("guard_postrouting", "oif != \"lo\"", "missing `ct mark 0x0000b324 oif != \"lo\""),
    ] {
        let handle = handle(&netns, text);
        netns.expect(&["nft", "delete", "rule", "inet", "bip324", chain, "handle", &handle]);
        let output = netns.setup(&["status"]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn status_reports_a_deleted_element() {
    assert_reported(&["delete element inet bip324 ports { 8333 }"], "set ports: port 8333 missing");
}

#[test]
fn status_reports_an_added_element() {
    assert_reported(
        &["add element inet bip324 ports { 1, 2, 443 }"],
        "set ports: port 443 is not ours",
    );
}

#[test]
fn status_reports_a_catch_all_element() {
    assert_reported(
        &["add element inet bip324 ports { * }"],
        "set ports: the catch-all element `*` is not ours",
    );
}

#[test]
fn status_reports_an_added_rule() {
    assert_reported(
        &["insert rule inet bip324 nat_output accept"],
        "chain nat_output: not ours `[ immediate reg 0 accept ]`",
    );
}

#[test]
fn status_reports_rules_out_of_order() {
    // The last rule of the guard moves to its front.
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let rule = ["inet", "bip324", "guard_output"];
    let handle = handle(&netns, "ct mark 0x0000b324 tcp");
    netns.expect(&[&["nft", "delete", "rule"], &rule[..], &["handle", &handle]].concat());
    let text = "ct mark 0xb324 tcp dport @ports counter reject with tcp reset";
    netns.expect(&[&["nft", "insert", "rule"], &rule[..], &[text]].concat());
    let said = String::from_utf8(netns.setup(&["status"]).stdout).unwrap();
    assert!(said.contains("chain guard_output: rules are out of order"), "{said}");
}

#[test]
fn status_reports_a_chain_and_a_set_that_are_not_ours() {
    assert_reported(&["add chain inet bip324 stray"], "chain stray: is not ours");
    assert_reported(&["add set inet bip324 stray { type ipv4_addr; }"], "set stray: is not ours");
}

#[test]
fn status_reports_a_dormant_table() {
    assert_reported(&["add table inet bip324 { flags dormant; }"], "the table has flags 0x1");
}

#[test]
fn status_reports_a_changed_policy() {
    assert_reported(
        &["add chain inet bip324 mark_output { policy drop; }"],
        "chain mark_output: is `type filter hook 3 priority -150 policy 0`",
    );
}

#[test]
fn status_reports_a_changed_gid() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let moved = netns.read_etc("group").replace(&GID.to_string(), &OTHER_GID.to_string());
    netns.write_etc("group", &moved);
    let output = netns.setup(&["status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    // Each of the six rules that name the group is missing, and one with the old gid is there.
    assert_eq!(text.matches("missing `").count(), 6, "{text}");
    assert_eq!(text.matches("not ours `").count(), 6, "{text}");
    netns.setup_ok(&["up"]);
    netns.setup_ok(&["status"]);
}

#[test]
fn status_reports_a_missing_group() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    netns.write_etc("group", "root:x:0:\n");
    let output = netns.setup(&["status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(
        text.contains("there is no group bip324: run `sudo groupadd --system bip324`"),
        "{text}"
    );
}

#[test]
fn status_json_tells_group_counters_and_listeners() {
    let netns = Netns::new();
    netns.setup_ok(&["up"]);
    let listener =
        netns.with_group(0, || std::net::TcpListener::bind(netns::loopback(false, 1324)));
    let listener = listener.unwrap();
    let refused =
        netns.with_group(GID, || std::net::TcpStream::connect(netns::loopback(true, 324)));
    assert!(refused.is_err(), "nothing listens on [::1]:1324");

    let status: serde_json::Value =
        serde_json::from_str(&netns.setup_ok(&["status", "--json"])).unwrap();
    assert_eq!(status["table"], "installed");
    assert_eq!(status["group"]["name"], GROUP);
    assert_eq!(status["group"]["gid"], GID);
    assert_eq!(status["group"]["members"][0], "alice");
    assert_eq!(status["listeners"][0]["address"], "127.0.0.1:1324");
    assert_eq!(status["listeners"][0]["owner"], "root");
    assert_eq!(status["listeners"][1]["address"], "[::1]:1324");
    assert!(status["listeners"][1]["owner"].is_null());
    assert_eq!(status["counters"].as_array().unwrap().len(), 15);
    // The second rule is the canary over IPv6.
    assert_eq!(status["counters"][1]["packets"], 1);
    assert_eq!(status["counters"][1]["chain"], "nat_output");
    drop(listener);
}
