//! What the configuration may say.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::metrics::Metrics;
use crate::values::{Direct, Fallback, GroupName, Log, OnExit};

/// What a file or a command line says; `None` is what it leaves out. [`KEYS`](crate::KEYS) tells
/// what each is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "told in KEYS, and a test holds the two together")]
pub struct Settings {
    pub group: Option<GroupName>,
    #[serde(deserialize_with = "rules_ports")]
    pub ports: Option<BTreeSet<NonZeroU16>>,
    pub on_exit: Option<OnExit>,
    #[serde(deserialize_with = "not_empty")]
    pub listen: Option<Vec<SocketAddr>>,
    pub direct: Option<Direct>,
    #[serde(deserialize_with = "some_ports")]
    pub direct_ports: Option<BTreeSet<NonZeroU16>>,
    pub fallback: Option<Fallback>,
    pub passthrough: Option<bool>,
    pub user_agent_suffix: Option<bool>,
    #[serde(deserialize_with = "sessions")]
    pub max_sessions: Option<usize>,
    #[serde(deserialize_with = "sessions")]
    pub max_direct_per_user: Option<usize>,
    #[serde(deserialize_with = "memory")]
    pub max_memory: Option<usize>,
    #[serde(deserialize_with = "absolute")]
    pub control: Option<PathBuf>,
    pub metrics: Option<Metrics>,
    pub log: Option<Log>,
}

impl Settings {
    /// These, and those of `below` where these are silent.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            group: self.group.or(below.group),
            ports: self.ports.or(below.ports),
            on_exit: self.on_exit.or(below.on_exit),
            listen: self.listen.or(below.listen),
            direct: self.direct.or(below.direct),
            direct_ports: self.direct_ports.or(below.direct_ports),
            fallback: self.fallback.or(below.fallback),
            passthrough: self.passthrough.or(below.passthrough),
            user_agent_suffix: self.user_agent_suffix.or(below.user_agent_suffix),
            max_sessions: self.max_sessions.or(below.max_sessions),
            max_direct_per_user: self.max_direct_per_user.or(below.max_direct_per_user),
            max_memory: self.max_memory.or(below.max_memory),
            control: self.control.or(below.control),
            metrics: self.metrics.or(below.metrics),
            log: self.log.or(below.log),
        }
    }

    /// What holds where nothing is said. `group`, `listen` and `control` stay silent: to name the
    /// default is more than to leave them out, for a group that is named must exist, addresses that are
    /// named exclude those of a service manager, and a control socket that is named must be possible.
    #[must_use]
    pub fn with_defaults(self) -> Self {
        let max_sessions = self.max_sessions.unwrap_or(DEFAULT_MAX_SESSIONS);
        self.over(Self {
            group: None,
            ports: Some(ports([DEFAULT_PORT])),
            on_exit: Some(OnExit::default()),
            listen: None,
            direct: Some(Direct::default()),
            direct_ports: Some(ports(DEFAULT_DIRECT_PORTS)),
            fallback: Some(Fallback::default()),
            passthrough: Some(true),
            user_agent_suffix: Some(false),
            max_sessions: Some(max_sessions),
            max_direct_per_user: Some(DEFAULT_MAX_DIRECT_PER_USER),
            max_memory: Some(default_max_memory(max_sessions)),
            control: None,
            metrics: Some(Metrics::default()),
            log: Some(Log::default()),
        })
    }

    /// The port on 127.0.0.1 and ::1 that the rules are to lead to: of the first address that can be
    /// reached there, or the default.
    #[must_use]
    pub fn listen_port(&self) -> u16 {
        let reachable = |address: &&SocketAddr| {
            let ip = address.ip();
            let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            address.port() != 0 && (loopback.contains(&ip) || ip.is_unspecified())
        };
        let first = self.listen.iter().flatten().find(reachable);
        first.map_or(DEFAULT_LISTEN_PORT, SocketAddr::port)
    }
}

fn ports<const N: usize>(ports: [u16; N]) -> BTreeSet<NonZeroU16> {
    ports.into_iter().filter_map(NonZeroU16::new).collect()
}

/// The clients' group, unless another is named.
pub const DEFAULT_GROUP: &str = "bip324";

/// Port that is redirected, unless others are named: mainnet's.
pub const DEFAULT_PORT: u16 = 8333;

/// Most ports that can be redirected: the whole ruleset must fit one netlink message to be atomic.
pub const MAX_PORTS: usize = 64;

/// The daemon's port, unless another is named.
pub const DEFAULT_LISTEN_PORT: u16 = 1324;

/// The daemon's addresses, unless others are named.
pub const DEFAULT_LISTEN: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), DEFAULT_LISTEN_PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), DEFAULT_LISTEN_PORT),
];

/// Default ports of mainnet, testnet3, signet, testnet4 and regtest.
pub const DEFAULT_DIRECT_PORTS: [u16; 5] = [8333, 18333, 38333, 48333, 18444];

/// Sessions at a time, unless another number is named.
pub const DEFAULT_MAX_SESSIONS: usize = 512;

/// More than the connections of any node or wallet: Bitcoin Core makes 11 outbound ones.
pub const DEFAULT_MAX_DIRECT_PER_USER: usize = 32;

/// Two descriptors a session: more than this does not fit the kernel's default hard limit.
pub const SESSIONS: RangeInclusive<usize> = 1..=250_000;

/// In MiB: from the longest messages of one session both ways at once, in three quarters of it, to
/// 1 TiB.
pub const MAX_MEMORY: RangeInclusive<usize> = 32..=1024 * 1024;

/// In MiB. Half a MiB for every session, which is what ordinary traffic takes both ways at once
/// (320 KiB) and some more, but never too little for a few of the longest messages. A session in the
/// middle of those, both ways and with a reader that stalls, takes 17 MiB.
#[must_use]
pub fn default_max_memory(max_sessions: usize) -> usize {
    max_sessions.div_ceil(2).max(64)
}

fn sessions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    within(deserializer, SESSIONS)
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    within(deserializer, MAX_MEMORY)
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<usize>,
) -> Result<Option<usize>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match usize::try_from(number) {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => {
            let (first, last) = range.into_inner();
            Err(D::Error::custom(format!("{number} is not a number from {first} to {last}")))
        }
    }
}

/// Two programs with different working directories read the same file.
fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    if !path.is_absolute() {
        return Err(D::Error::custom("not an absolute path"));
    }
    Ok(Some(path))
}

fn rules_ports<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeSet<NonZeroU16>>, D::Error> {
    match some_ports(deserializer)? {
        Some(ports) if ports.len() > MAX_PORTS => {
            let count = ports.len();
            Err(D::Error::custom(format!("{count} ports, and at most {MAX_PORTS} are possible")))
        }
        ports => Ok(ports),
    }
}

fn some_ports<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeSet<NonZeroU16>>, D::Error> {
    let ports = not_empty::<_, Port>(deserializer)?;
    Ok(ports.map(|ports| ports.into_iter().map(|Port(port)| port).collect()))
}

fn not_empty<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let values = Vec::deserialize(deserializer)?;
    if values.is_empty() {
        return Err(D::Error::custom("empty: name at least one, or leave it out"));
    }
    Ok(Some(values))
}

/// One of an array.
struct Port(NonZeroU16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(PortVisitor)
    }
}

/// Refuses a number where it is read, so that the error is in its line and not in the array's.
struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port from 1 to 65535")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Port, E> {
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        port.map(Port).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KEYS;

    #[test]
    fn every_key_has_a_field_that_goes_over_the_one_below() {
        for key in KEYS {
            let said: Settings =
                toml::from_str(&format!("{} = {}", key.name, key.default)).unwrap();
            assert_ne!(said, Settings::default(), "{}", key.name);
            assert_eq!(said.clone().over(Settings::default()), said, "{}", key.name);
            assert_eq!(Settings::default().over(said.clone()), said, "{}", key.name);
        }
        let fields = toml::Table::try_from(all_defaults()).unwrap();
        assert_eq!(fields.len(), KEYS.len());
    }

    #[test]
    fn what_the_table_calls_the_default_is_the_default() {
        let named = all_defaults();
        assert_eq!(named.group, Some(GroupName::default()));
        assert_eq!(named.listen.as_deref(), Some(&DEFAULT_LISTEN[..]));
        let defaults = Settings::default().with_defaults();
        assert_eq!((&defaults.group, &defaults.listen), (&None, &None));
        assert_eq!(defaults, Settings { group: None, listen: None, control: None, ..named });
    }

    fn all_defaults() -> Settings {
        let lines = KEYS.iter().map(|key| format!("{} = {}\n", key.name, key.default));
        toml::from_str(&lines.collect::<String>()).unwrap()
    }

    #[test]
    fn memory_follows_the_sessions_unless_said_otherwise() {
        let memory = |max_sessions, max_memory| {
            let max_sessions = Some(max_sessions);
            let said = Settings { max_sessions, max_memory, ..Settings::default() };
            said.with_defaults().max_memory.unwrap()
        };
        assert_eq!([4, 512, 2001].map(|sessions| memory(sessions, None)), [64, 256, 1001]);
        assert_eq!(memory(4, Some(100)), 100);
    }

    #[test]
    fn the_rules_lead_to_the_first_address_that_they_can_reach() {
        for (listen, port) in [
            ("[]", 1324),
            ("['192.0.2.1:9']", 1324),
            ("['127.0.0.1:0']", 1324),
            ("['192.0.2.1:9', '[::1]:10', '127.0.0.1:11']", 10),
            ("['0.0.0.0:12']", 12),
        ] {
            #[derive(Deserialize)]
            struct Listen {
                listen: Vec<SocketAddr>,
            }
            let Listen { listen } = toml::from_str(&format!("listen = {listen}")).unwrap();
            let said = Settings { listen: Some(listen), ..Settings::default() };
            assert_eq!(said.listen_port(), port);
        }
    }
}
