//! The rulesets as plain data, and as nft text. Nothing here touches the kernel.

mod chains;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::group::GroupName;

pub use bip324_config::{DEFAULT_GROUP, DEFAULT_LISTEN_PORT, DEFAULT_PORT, MAX_PORTS};
pub use text::removal_text;

/// Name of the redirect's table, in the `inet` family.
pub const TABLE: &str = "bip324";

/// Name of the table that refuses the clients while the redirect is away, in the `inet` family.
pub const BLOCK_TABLE: &str = "bip324_block";

/// Name of the table that refuses another group than the guard's while that one runs, in the `inet`
/// family: the guard sees to the other two.
pub const UNGUARDED_TABLE: &str = "bip324_unguarded";

/// What the names of tables begin with that the package's scripts put for a number which the group had
/// before: the number follows.
const NUMBER_BLOCK: &str = "bip324_block_";

/// Whether a table of the `inet` family refuses one number only. It stays until the next boot, or `down`.
#[must_use]
pub fn is_number_block(table: &str) -> bool {
    table.strip_prefix(NUMBER_BLOCK).is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Name of the set of peers' ports.
pub const PORTS_SET: &str = "ports";

/// Port of the canary on 127.0.0.1 and ::1. Below 1024, so that no ordinary user can listen there
/// and answer in the daemon's place.
pub const CANARY_PORT: u16 = 324;

/// Conntrack mark of the clients' connections. Unlikely to be another program's.
const CLIENT_MARK: u32 = 0xb324;

/// What the redirect is to do: everything that `up` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Group whose connections are redirected.
    pub group: GroupName,
    /// Destination ports that are redirected; not empty.
    pub ports: BTreeSet<u16>,
    /// The daemon's port on 127.0.0.1 and ::1.
    pub listen_port: u16,
}

/// Why a [`Config`] cannot be a ruleset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A redirected packet would look like one that escaped the redirect.
    #[error("port {0} is also --listen-port: name two different ports")]
    ListenPortRedirected(u16),
    /// See [`MAX_PORTS`].
    #[error("{0} ports given, at most {MAX_PORTS} are possible: name fewer")]
    TooManyPorts(usize),
}

/// A table of the `inet` family: chains in the order in which they are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// What it is for.
    pub purpose: Purpose,
    /// [`TABLE`], [`BLOCK_TABLE`] or [`UNGUARDED_TABLE`].
    pub table: &'static str,
    /// Group that [`Match::Client`] stands for.
    pub group: GroupName,
    /// Elements of the set that [`Match::PeerPort`] looks up.
    pub ports: BTreeSet<u16>,
    /// The base chains.
    pub chains: Vec<Chain>,
}

/// What a table does with the clients' connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sends them to the daemon.
    Redirect,
    /// Refuses them.
    Block,
    /// Refuses them, and all others that the group makes to other hosts.
    BlockAll,
}

/// A base chain, policy accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Name within the table.
    pub name: &'static str,
    /// What it is for, a line each.
    pub comment: &'static [&'static str],
    /// `type` of the chain.
    pub kind: ChainKind,
    /// Where packets meet it.
    pub hook: ChainHook,
    /// Smaller runs earlier; conntrack is at -200, the kernel's output NAT at -100.
    pub priority: i32,
    /// Rules in order of evaluation.
    pub rules: Vec<Rule>,
}

/// Type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// `type nat`: sees the first packet of each connection.
    Nat,
    /// `type filter`: sees every packet.
    Filter,
}

/// Hook of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainHook {
    /// Packets that this host makes, with the route they had before any rule.
    Output,
    /// Packets about to leave through an interface, with the route that they leave by.
    Postrouting,
}

/// A rule: all matches must hold; then it counts and acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Why the rule exists, a line each; may be empty.
    pub comment: &'static [&'static str],
    /// Conditions, in order of evaluation.
    pub matches: Vec<Match>,
    /// What happens to the packet.
    pub action: Action,
}

/// A condition on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// The socket was made with the group as fs gid.
    Client,
    /// The packet was routed to the loopback interface.
    OutLoopback,
    /// The packet was routed to any other interface.
    OutElsewhere,
    /// The packet is IPv4.
    Ipv4,
    /// The packet is IPv6.
    Ipv6,
    /// Destination address.
    Address(IpAddr),
    /// The packet is TCP.
    Tcp,
    /// TCP destination port.
    Port(u16),
    /// TCP destination port is one of the set's.
    PeerPort,
    /// Conntrack mark of the connection.
    Mark(u32),
    /// The socket still belongs to a process.
    Owned,
    /// Conntrack has not seen this connection established, or cannot place the packet in it.
    Forgotten,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave the chain; the packet goes on.
    Return,
    /// Change the destination of the connection.
    Dnat(SocketAddr),
    /// Set the conntrack mark of the connection.
    SetMark(u32),
    /// Drop the packet and answer it with a TCP RST.
    Reset,
    /// Drop the packet and answer that the administrator prohibits it.
    Prohibit,
    /// Drop the packet.
    Drop,
}

impl Config {
    /// The command line that runs `command` of this program for this redirect: with the arguments
    /// that differ from their defaults.
    #[must_use]
    pub fn command_line(&self, command: &str) -> String {
        let mut line = format!("bip324-setup {command}");
        if self.group != GroupName::default() {
            line += &format!(" --group {}", self.group);
        }
        if !self.ports.iter().eq([&DEFAULT_PORT]) {
            line.extend(self.ports.iter().map(|port| format!(" --port {port}")));
        }
        if self.listen_port != DEFAULT_LISTEN_PORT {
            line += &format!(" --listen-port {}", self.listen_port);
        }
        line
    }
}

/// What is redirected where.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, ports, listen_port } = self;
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        write!(
            f,
            "group {group}: connections to port {ports} go to 127.0.0.1:{listen_port} and \
             [::1]:{listen_port}"
        )
    }
}

impl Ruleset {
    /// The redirect that `config` describes.
    ///
    /// # Errors
    /// When the ports contradict each other or are too many.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        if config.ports.contains(&config.listen_port) {
            return Err(ConfigError::ListenPortRedirected(config.listen_port));
        }
        if config.ports.len() > MAX_PORTS {
            return Err(ConfigError::TooManyPorts(config.ports.len()));
        }
        Ok(Self {
            purpose: Purpose::Redirect,
            table: TABLE,
            group: config.group.clone(),
            ports: config.ports.clone(),
            chains: chains::redirect(config.listen_port),
        })
    }

    /// What refuses the clients of that redirect while it is away.
    #[must_use]
    pub fn block(config: &Config) -> Self {
        Self {
            purpose: Purpose::Block,
            table: BLOCK_TABLE,
            group: config.group.clone(),
            ports: config.ports.clone(),
            chains: chains::block(config.listen_port),
        }
    }

    /// What refuses the group where its configuration cannot be used. Of packets that nobody owns it cannot
    /// tell whose they are: it refuses those to `ports`, which are likely meant, and to the usual one.
    #[must_use]
    pub fn block_all(group: GroupName, ports: &BTreeSet<u16>) -> Self {
        let others = ports.iter().copied().filter(|port| *port != DEFAULT_PORT);
        Self {
            purpose: Purpose::BlockAll,
            table: BLOCK_TABLE,
            group,
            ports: others.take(MAX_PORTS - 1).chain([DEFAULT_PORT]).collect(),
            chains: chains::block_all(DEFAULT_LISTEN_PORT),
        }
    }

    /// The same in the place of the redirect, for a guard to hold.
    #[must_use]
    pub fn shut(group: GroupName, ports: &BTreeSet<u16>) -> Self {
        Self { table: TABLE, ..Self::block_all(group, ports) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(ports: &[u16], listen_port: u16) -> Config {
        Config {
            group: "bip324".parse().unwrap(),
            ports: ports.iter().copied().collect(),
            listen_port,
        }
    }

    #[test]
    fn defaults_print_the_shipped_files() {
        let ruleset = Ruleset::new(&config(&[8333], 1324)).unwrap();
        assert_eq!(ruleset.to_string(), include_str!("../../../../nft/bip324.nft"));
        let block = Ruleset::block(&config(&[8333], 1324)).to_string();
        assert_eq!(block, include_str!("../../../../nft/bip324-block.nft"));
        let block_all = Ruleset::block_all(GroupName::default(), &BTreeSet::new()).to_string();
        assert_eq!(block_all, include_str!("../../../../nft/bip324-block-all.nft"));
    }

    #[test]
    fn group_ports_and_listener_reach_the_text() {
        let mut config = config(&[18444, 8333], 2000);
        config.group = "clients".parse().unwrap();
        let text = Ruleset::new(&config).unwrap().to_string();
        assert!(text.contains("elements = { 8333, 18444 }"), "{text}");
        assert_eq!(text.matches("meta skgid \"clients\"").count(), 6, "{text}");
        assert_eq!(text.matches("tcp dport 2000").count(), 2, "{text}");
        assert_eq!(text.matches("127.0.0.1:2000").count(), 2, "{text}");
        assert_eq!(text.matches("[::1]:2000").count(), 2, "{text}");
    }

    #[test]
    fn a_command_line_names_what_is_not_the_default() {
        assert_eq!(config(&[8333], 1324).command_line("up"), "bip324-setup up");
        let mut config = config(&[18444, 8333], 2000);
        config.group = "clients".parse().unwrap();
        let line = "bip324-setup check --group clients --port 8333 --port 18444 --listen-port 2000";
        assert_eq!(config.command_line("check"), line);
    }

    #[test]
    fn every_output_chain_looks_at_loopback_before_it_looks_at_peer_ports() {
        let config = config(&[8333], 1324);
        let rulesets = [
            (Ruleset::new(&config).unwrap(), Match::PeerPort),
            (Ruleset::block(&config), Match::PeerPort),
            (Ruleset::block_all(config.group, &config.ports), Match::Tcp),
        ];
        for (ruleset, ports) in rulesets {
            for chain in ruleset.chains.iter().filter(|chain| chain.hook == ChainHook::Output) {
                let first = |wanted: &[Match]| {
                    chain.rules.iter().position(|rule| rule.matches.ends_with(wanted))
                };
                let client = first(&[Match::Client, ports]);
                assert!(client.is_some(), "{}", chain.name);
                assert!(first(&[Match::OutLoopback]) < client, "{}", chain.name);
            }
        }
    }

    #[test]
    fn refuses_to_redirect_the_listeners_own_port() {
        let error = Ruleset::new(&config(&[8333, 1324], 1324)).unwrap_err();
        assert_eq!(error, ConfigError::ListenPortRedirected(1324));
    }

    #[test]
    fn what_refuses_everything_knows_as_many_ports_as_fit() {
        let ports: BTreeSet<u16> = (8300..8400).collect();
        let block = Ruleset::block_all(GroupName::default(), &ports);
        assert_eq!(block.ports.len(), MAX_PORTS);
        assert!(block.ports.contains(&DEFAULT_PORT) && block.ports.is_subset(&ports));
        // As it is recognised where it stands.
        assert_eq!(Ruleset::block_all(GroupName::default(), &block.ports), block);
    }

    #[test]
    fn refuses_more_ports_than_one_message_holds() {
        let ports: Vec<u16> = (8000..8065).collect();
        let error = Ruleset::new(&config(&ports, 1324)).unwrap_err();
        assert_eq!(error, ConfigError::TooManyPorts(65));
    }
}
