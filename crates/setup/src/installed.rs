//! What a table holds, as the kernel's messages say it, and how two tables differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::plan::{PORTS_SET, Ruleset};

/// `NFT_TABLE_F_DORMANT` of linux/netfilter/nf_tables.h: the table does nothing.
pub const DORMANT: u32 = 1;

/// `NFT_TABLE_F_OWNER`: only one socket may change the table.
pub const OWNER: u32 = 2;

/// `NFT_TABLE_F_PERSIST`: the table outlives the socket that owned it.
pub const PERSIST: u32 = 4;

/// A table's contents. Read by the same code from the messages of a batch and from the kernel's
/// answers, so that what is there can be compared with what `up` would put there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installed {
    /// [`DORMANT`], [`OWNER`] and [`PERSIST`]; `None` where there is no table.
    pub table_flags: Option<u32>,
    /// Netlink port id of the socket that owns the table.
    pub owner: Option<u32>,
    /// Chains by name.
    pub chains: BTreeMap<String, InstalledChain>,
    /// Sets by name.
    pub sets: BTreeMap<String, InstalledSet>,
}

/// A chain of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstalledChain {
    /// Type, hook, priority and policy.
    pub header: String,
    /// Rules in order of evaluation.
    pub rules: Vec<InstalledRule>,
}

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledRule {
    /// Its expressions in libnftnl's notation, without the counter's values.
    pub expressions: String,
    /// Its counter, if it has one.
    pub counter: Option<Counter>,
    /// Id of the group that it is about, if it is about one.
    pub client: Option<u32>,
}

/// What a rule has matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, headers included.
    pub bytes: u64,
}

/// A set of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstalledSet {
    /// Key type and flags.
    pub header: String,
    /// Its elements.
    pub elements: BTreeSet<Element>,
}

/// An element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A key, in network byte order.
    Key(Vec<u8>),
    /// `*`: whatever is no key of the set.
    CatchAll,
}

impl Installed {
    /// There is a table.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.table_flags.is_some()
    }

    /// Only one socket may change the table.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.flags() & OWNER != 0
    }

    /// The table has outlived the socket that owned it.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.flags() & (OWNER | PERSIST) == PERSIST
    }

    /// Ids of the groups that its rules are about.
    #[must_use]
    pub fn clients(&self) -> BTreeSet<u32> {
        let rules = self.chains.values().flat_map(|chain| &chain.rules);
        rules.filter_map(|rule| rule.client).collect()
    }

    /// The peers' ports.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        let elements = self.sets.get(PORTS_SET).into_iter().flat_map(|set| &set.elements);
        elements.filter_map(Element::port).collect()
    }

    fn flags(&self) -> u32 {
        self.table_flags.unwrap_or_default()
    }

    /// What distinguishes this table from the one that `ruleset` describes and `expected` holds,
    /// a line each. Empty if nothing does; counters and owners do not count.
    #[must_use]
    pub fn differences(&self, expected: &Self, ruleset: &Ruleset) -> Vec<String> {
        let mut lines = Vec::new();
        if self.is_there() != expected.is_there() {
            let there = if self.is_there() { "stands" } else { "is missing" };
            lines.push(format!("table inet {}: {there}", ruleset.table));
            return lines;
        }
        if self.flags() & !(OWNER | PERSIST) != 0 {
            lines.push(format!("the table has flags {:#x} (1: dormant)", self.flags()));
        }
        for (name, set) in &self.sets {
            match expected.sets.get(name) {
                Some(expected) => set.differences(expected, name, &mut lines),
                None => lines.push(format!("set {name}: is not ours")),
            }
        }
        for name in expected.sets.keys().filter(|name| !self.sets.contains_key(*name)) {
            lines.push(format!("set {name}: missing"));
        }
        for (name, chain) in &self.chains {
            match expected.chains.get(name) {
                Some(expected) => {
                    chain.differences(expected, &rule_texts(ruleset, name), name, &mut lines);
                }
                None => lines.push(format!("chain {name}: is not ours")),
            }
        }
        for name in expected.chains.keys().filter(|name| !self.chains.contains_key(*name)) {
            lines.push(format!("chain {name}: missing"));
        }
        lines
    }
}

impl InstalledSet {
    fn differences(&self, expected: &Self, name: &str, lines: &mut Vec<String>) {
        if self.header != expected.header {
            lines.push(format!("set {name}: is `{}`", self.header));
        }
        for element in expected.elements.difference(&self.elements) {
            lines.push(format!("set {name}: {element} missing"));
        }
        for element in self.elements.difference(&expected.elements) {
            lines.push(format!("set {name}: {element} is not ours"));
        }
    }
}

impl InstalledChain {
    fn differences(&self, expected: &Self, texts: &[String], name: &str, lines: &mut Vec<String>) {
        let before = lines.len();
        if self.header != expected.header {
            lines.push(format!("chain {name}: is `{}`", self.header));
        }
        let mut unmatched: Vec<&str> =
            self.rules.iter().map(|rule| rule.expressions.as_str()).collect();
        for (index, rule) in expected.rules.iter().enumerate() {
            match unmatched.iter().position(|found| *found == rule.expressions) {
                Some(position) => drop(unmatched.remove(position)),
                None => {
                    let text = texts.get(index).unwrap_or(&rule.expressions);
                    lines.push(format!("chain {name}: missing `{text}`"));
                }
            }
        }
        for rule in unmatched {
            lines.push(format!("chain {name}: not ours `{rule}`"));
        }
        let reordered = || self.expressions().ne(expected.expressions());
        if lines.len() == before && reordered() {
            lines.push(format!("chain {name}: rules are out of order"));
        }
    }

    fn expressions(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.expressions.as_str())
    }
}

/// The nft text of a planned chain's rules.
fn rule_texts(ruleset: &Ruleset, chain: &str) -> Vec<String> {
    let rules = ruleset.chains.iter().filter(|c| c.name == chain).flat_map(|c| &c.rules);
    rules.map(|rule| rule.text(&ruleset.group)).collect()
}

impl Element {
    fn port(&self) -> Option<u16> {
        match self {
            Self::Key(key) => Some(u16::from_be_bytes(key.as_slice().try_into().ok()?)),
            Self::CatchAll => None,
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.port()) {
            (Self::Key(_), Some(port)) => write!(f, "port {port}"),
            (Self::Key(other), None) => write!(f, "element {other:02x?}"),
            (Self::CatchAll, _) => f.write_str("the catch-all element `*`"),
        }
    }
}
