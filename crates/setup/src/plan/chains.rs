//! The chains of both tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Action, CANARY_PORT, CLIENT_MARK, Chain, ChainHook, ChainKind, Match, Rule};

/// The chains of the redirect to `listen_port`.
pub(super) fn redirect(listen_port: u16) -> Vec<Chain> {
    vec![
        nat_chain(listen_port),
        mark_chain(Match::PeerPort),
        guard_chain(),
        wire_chain(listen_port),
    ]
}

/// The chains of the block that stands in for it.
pub(super) fn block(listen_port: u16) -> Vec<Chain> {
    vec![mark_chain(Match::PeerPort), block_chain(vec![], Match::PeerPort), wire_chain(listen_port)]
}

/// The chains of the block where nobody can tell which ports are meant: whatever the clients send.
pub(super) fn block_all(listen_port: u16) -> Vec<Chain> {
    let here = |ip, comment| Rule {
        comment,
        matches: vec![Match::Address(ip), Match::Tcp],
        action: Action::Return,
    };
    let redirected = vec![
        here(IpAddr::V4(Ipv4Addr::LOCALHOST), &["Redirected packets, whose `oif` is out of date."]),
        here(IpAddr::V6(Ipv6Addr::LOCALHOST), &[]),
    ];
    let mut wire_chain = wire_chain(listen_port);
    wire_chain.rules.push(Rule {
        comment: &[],
        matches: vec![Match::Client, Match::Tcp, Match::OutElsewhere],
        action: Action::Drop,
    });
    vec![mark_chain(Match::Tcp), block_chain(redirected, Match::Tcp), wire_chain]
}

fn nat_chain(listen_port: u16) -> Chain {
    let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let canary = |address, comment| Rule {
        comment,
        matches: vec![Match::Client, Match::Address(address), Match::Port(CANARY_PORT)],
        action: Action::Dnat(SocketAddr::new(address, listen_port)),
    };
    let redirect = |family, address, comment| Rule {
        comment,
        matches: vec![family, Match::Client, Match::PeerPort],
        action: Action::Dnat(SocketAddr::new(address, listen_port)),
    };
    Chain {
        name: "nat_output",
        comment: &["The redirect. (nft has no name for priority -100 in an output hook.)"],
        kind: ChainKind::Nat,
        hook: ChainHook::Output,
        priority: -100,
        rules: vec![
            canary(
                v4,
                &[
                    "The canary: `bip324-setup check` connects here to prove the redirect without",
                    "a packet leaving the host. Below 1024, so that no user can answer instead.",
                ],
            ),
            canary(v6, &[]),
            return_loopback(&["A node on this host stays reachable as it is."]),
            redirect(
                Match::Ipv4,
                v4,
                &["skgid is the group that the process had as its primary one at socket()."],
            ),
            redirect(Match::Ipv6, v6, &[]),
        ],
    }
}

/// Marks what the group sends to `ports`.
fn mark_chain(ports: Match) -> Chain {
    Chain {
        name: "mark_output",
        comment: &[
            "Marks the clients' connections, for the guard: a socket that was closed with data",
            "still queued has no owner, hence no skgid, but its connection keeps the mark.",
        ],
        kind: ChainKind::Filter,
        hook: ChainHook::Output,
        priority: -150,
        rules: vec![
            return_loopback(&[]),
            Rule {
                comment: &[],
                matches: vec![Match::Client, ports],
                action: Action::SetMark(CLIENT_MARK),
            },
        ],
    }
}

fn guard_chain() -> Chain {
    Chain {
        name: "guard_output",
        comment: &[
            "Resets what the redirect did not take, such as a connection older than it. A",
            "redirected packet passes: after nat its port is the daemon's. Its `oif` still names",
            "the interface of the first route, so it cannot be told by that.",
        ],
        kind: ChainKind::Filter,
        hook: ChainHook::Output,
        priority: 0,
        rules: reset_rules(Match::PeerPort),
    }
}

/// Resets what goes to `ports` and the network, and is a client's; and what goes to a peer's port, and
/// may be a client's.
fn reset_rules(ports: Match) -> Vec<Rule> {
    let reset = |sender, ports, comment| Rule {
        comment,
        matches: vec![sender, ports],
        action: Action::Reset,
    };
    vec![
        return_loopback(&[]),
        reset(Match::Client, ports, &[]),
        reset(Match::Mark(CLIENT_MARK), ports, &[]),
        Rule { comment: &[], matches: vec![Match::Owned], action: Action::Return },
        reset(
            Match::Forgotten,
            Match::PeerPort,
            &[
                "No owner, and no connection to carry the mark, such as after `conntrack -F`: it",
                "may be what a client left unsent.",
            ],
        ),
    ]
}

fn wire_chain(listen_port: u16) -> Chain {
    let to_daemon = |ip, comment| Rule {
        comment,
        matches: vec![Match::Address(ip), Match::Port(listen_port), Match::OutElsewhere],
        action: Action::Drop,
    };
    Chain {
        name: "guard_postrouting",
        comment: &[
            "Keeps clients' connections on lo. A socket that is bound to a device (SO_BINDTODEVICE,",
            "or a link-local destination with its scope) leaves by that device even after nat, on",
            "its way to 127.0.0.1 or ::1, perhaps with data in its SYN. Here `oif` is up to date;",
            "there is no reject in this hook, so such a client waits until it gives up.",
        ],
        kind: ChainKind::Filter,
        hook: ChainHook::Postrouting,
        priority: 0,
        rules: vec![
            Rule {
                comment: &[],
                matches: vec![Match::Mark(CLIENT_MARK), Match::OutElsewhere],
                action: Action::Drop,
            },
            to_daemon(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                &["The same where another table has overwritten the mark."],
            ),
            to_daemon(IpAddr::V6(Ipv6Addr::LOCALHOST), &[]),
        ],
    }
}

fn return_loopback(comment: &'static [&'static str]) -> Rule {
    Rule { comment, matches: vec![Match::OutLoopback], action: Action::Return }
}

/// Resets what the group sends to `ports`, unless one of `passing` lets it go.
fn block_chain(passing: Vec<Rule>, ports: Match) -> Chain {
    let canary = |address, comment| Rule {
        comment,
        matches: vec![Match::Client, Match::Address(address), Match::Port(CANARY_PORT)],
        action: Action::Prohibit,
    };
    let mut rules = vec![
        canary(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            &[
                "The canary: an answer of its own tells `bip324-setup check` that this table stands.",
            ],
        ),
        canary(IpAddr::V6(Ipv6Addr::LOCALHOST), &[]),
    ];
    rules.extend(passing);
    rules.extend(reset_rules(ports));
    Chain {
        name: "block_output",
        comment: &[
            "Resets clients. Beside the redirect it resets what that one does: after nat the port",
            "is the daemon's, so a redirected packet passes, and so does a redirected canary.",
        ],
        kind: ChainKind::Filter,
        hook: ChainHook::Output,
        priority: 0,
        rules,
    }
}
