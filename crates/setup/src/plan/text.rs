//! The plan as nft text.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{
    Action, BLOCK_TABLE, Chain, ChainHook, ChainKind, Match, PORTS_SET, Purpose, Rule, Ruleset,
    TABLE, UNGUARDED_TABLE,
};
use crate::group::GroupName;

/// The nft text that removes all tables, whether or not they exist.
#[must_use]
pub fn removal_text() -> String {
    [TABLE, BLOCK_TABLE, UNGUARDED_TABLE].map(removal).concat()
}

fn removal(table: &str) -> String {
    format!("table inet {table}\ndelete table inet {table}\n")
}

/// The nft text, commented, that replaces the table in one transaction. The redirect ends a block.
impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.purpose {
            Purpose::Redirect => write!(f, "{REDIRECT_HEADER}{}", removal_text())?,
            Purpose::Block => write!(f, "{BLOCK_HEADER}{}", removal(self.table))?,
            Purpose::BlockAll => write!(f, "{BLOCK_ALL_HEADER}{}", removal(self.table))?,
        }
        writeln!(f, "\ntable inet {} {{", self.table)?;
        writeln!(f, "\t# Ports of Bitcoin peers.")?;
        writeln!(f, "\tset {PORTS_SET} {{\n\t\ttype inet_service")?;
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        writeln!(f, "\t\telements = {{ {} }}\n\t}}", ports.join(", "))?;
        for chain in &self.chains {
            write_chain(f, chain, &self.group)?;
        }
        f.write_str("}\n")
    }
}

fn write_chain(f: &mut fmt::Formatter<'_>, chain: &Chain, group: &GroupName) -> fmt::Result {
    let Chain { name, comment, kind, hook, priority, rules } = chain;
    writeln!(f)?;
    for line in *comment {
        writeln!(f, "\t# {line}")?;
    }
    writeln!(f, "\tchain {name} {{")?;
    writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy accept;")?;
    for rule in rules {
        for line in rule.comment {
            writeln!(f, "\t\t# {line}")?;
        }
        writeln!(f, "\t\t{}", rule.text(group))?;
    }
    writeln!(f, "\t}}")
}

impl Rule {
    /// The rule as nft writes it, without its comment.
    #[must_use]
    pub fn text(&self, group: &GroupName) -> String {
        let mut words: Vec<String> = self.matches.iter().map(|m| m.text(group)).collect();
        words.push("counter".into());
        words.push(self.action.to_string());
        words.join(" ")
    }
}

impl Match {
    fn text(self, group: &GroupName) -> String {
        match self {
            Self::Client => format!("meta skgid \"{group}\""),
            Self::OutLoopback => "oif \"lo\"".into(),
            Self::OutElsewhere => "oif != \"lo\"".into(),
            Self::Ipv4 => "meta nfproto ipv4".into(),
            Self::Ipv6 => "meta nfproto ipv6".into(),
            Self::Address(IpAddr::V4(address)) => format!("ip daddr {address}"),
            Self::Address(IpAddr::V6(address)) => format!("ip6 daddr {address}"),
            Self::Tcp => "meta l4proto tcp".into(),
            Self::Port(port) => format!("tcp dport {port}"),
            Self::PeerPort => format!("tcp dport @{PORTS_SET}"),
            Self::Mark(mark) => format!("ct mark {mark:#010x}"),
            // Any group there can be.
            Self::Owned => format!("meta skgid != {}", u32::MAX),
            Self::Forgotten => "ct state invalid,new,untracked".into(),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("return"),
            Self::Dnat(to @ SocketAddr::V4(_)) => write!(f, "dnat ip to {to}"),
            Self::Dnat(to @ SocketAddr::V6(_)) => write!(f, "dnat ip6 to {to}"),
            Self::SetMark(mark) => write!(f, "ct mark set {mark:#010x}"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Prohibit => f.write_str("reject with icmpx admin-prohibited"),
            Self::Drop => f.write_str("drop"),
        }
    }
}

impl fmt::Display for ChainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        })
    }
}

impl fmt::Display for ChainHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        })
    }
}

const REDIRECT_HEADER: &str = "\
#!/usr/sbin/nft -f
# Sends the group's connections to Bitcoin peers through bip324-proxy, which speaks BIP324 to them,
# and refuses those that it cannot send there. `bip324-setup up` installs exactly this.

# Replaces the table, and ends a block, in one transaction, whatever stands.
";

const BLOCK_HEADER: &str = "\
#!/usr/sbin/nft -f
# Refuses the group's connections to Bitcoin peers. `bip324-setup guard` leaves exactly this behind
# when it is stopped, and `bip324-setup block` puts it; `guard` and `up` replace it by the redirect,
# and `down` removes it.

# Replaces the table in one transaction, whether or not it exists.
";

const BLOCK_ALL_HEADER: &str = "\
#!/usr/sbin/nft -f
# Refuses all TCP connections of the group but those to this host. `bip324-setup block` puts exactly
# this where the configuration cannot be used, so that nobody knows which ports are meant;
# `bip324-setup guard` and `up` replace it by the redirect, and `down` removes it.

# Replaces the table in one transaction, whether or not it exists.
";
