//! The plain settings that the daemon runs on.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bip324_config::Settings;
pub use bip324_config::{Direct, Fallback};
use tokio::sync::watch;

use crate::memory::MIB;

/// What the daemon does now: it may be told otherwise while it runs.
pub type Current = watch::Receiver<Arc<Config>>;

/// What the daemon does. `Default` is how it runs in production.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which destinations a connection that was not redirected may name.
    pub direct: Direct,
    /// What happens when a peer does not answer the v2 handshake.
    pub fallback: Fallback,
    /// Whether clients that speak v2 themselves are spliced through to their destination.
    pub passthrough: bool,
    /// Ports that [`Direct::Public`] may dial. A redirected destination may have any port.
    pub ports: Vec<u16>,
    /// Append our name to the user agent that the peer sees.
    pub user_agent_suffix: bool,
    /// Sessions at a time; a connection beyond them is reset at once. A quarter, rounded down, is kept
    /// for connections that were redirected.
    pub max_sessions: usize,
    /// Of these, sessions that one user may have by connections that were not redirected. Those
    /// of unknown owners count as one more user's.
    pub max_direct_per_user: usize,
    /// Bytes that all sessions' buffers and states may take together; those that were not redirected
    /// may take half of it. A session that receives
    /// more than is left ends; a connection is reset at once while nothing is left.
    pub max_memory: usize,
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// How often the service manager is told that every accept loop turns: see
    /// [`notify::watchdog`](crate::notify::watchdog).
    pub watchdog: Option<Duration>,
}

/// How long each step of a session may take.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// One TCP connection attempt to the peer.
    pub connect: Duration,
    /// The peer's first byte, once TCP is up.
    pub silence: Duration,
    /// Both together, from the client's connect: bitcoinj gives up 5.0 s after it.
    pub total_connect_and_silence: Duration,
    /// The whole v2 handshake, from the peer's first byte.
    pub handshake: Duration,
    /// The first 16 bytes of a redirected client. It has its own reasons to be slow, and only the
    /// clients' group gets here.
    pub client_prefix: Duration,
    /// The first 16 bytes and the VERSION of a client that was not redirected: any local user can
    /// be one, so silence must not hold sessions for long.
    pub direct_prefix: Duration,
    /// What sessions get to end by themselves when the daemon stops.
    pub drain: Duration,
    /// Idle time before the first TCP keepalive probe.
    pub keepalive_idle: Duration,
    /// Between keepalive probes.
    pub keepalive_interval: Duration,
    /// Unanswered probes that would end a connection, were there no `user_timeout`: beside it Linux
    /// does not count them (`tcp_keepalive_timer`, net/ipv4/tcp_timer.c).
    pub keepalive_probes: u32,
    /// Data or probes unanswered for this long end a connection: Bitcoin Core's `TIMEOUT_INTERVAL`
    /// (net.h). An idle connection into a black hole lasts as long.
    pub user_timeout: Duration,
}

/// What the configuration says; where it is silent, its defaults.
impl From<Settings> for Config {
    fn from(said: Settings) -> Self {
        let said = said.with_defaults();
        let ports = said.direct_ports.unwrap_or_default();
        Self {
            direct: said.direct.unwrap_or_default(),
            fallback: said.fallback.unwrap_or_default(),
            passthrough: said.passthrough.unwrap_or_default(),
            ports: ports.into_iter().map(NonZeroU16::get).collect(),
            user_agent_suffix: said.user_agent_suffix.unwrap_or_default(),
            max_sessions: said.max_sessions.unwrap_or_default(),
            max_direct_per_user: said.max_direct_per_user.unwrap_or_default(),
            max_memory: said.max_memory.unwrap_or_default().saturating_mul(MIB),
            timeouts: Timeouts::default(),
            watchdog: None,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Settings::default().into()
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(4),
            silence: Duration::from_secs(3),
            total_connect_and_silence: Duration::from_millis(4500),
            handshake: Duration::from_secs(10),
            client_prefix: Duration::from_secs(30),
            direct_prefix: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            keepalive_idle: Duration::from_secs(120),
            keepalive_interval: Duration::from_secs(30),
            keepalive_probes: 4,
            user_timeout: Duration::from_secs(20 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_and_the_rest_is_the_default() {
        let said = Settings {
            direct: Some(Direct::Any),
            direct_ports: Some([2, 1].into_iter().filter_map(NonZeroU16::new).collect()),
            fallback: Some(Fallback::V1),
            passthrough: Some(false),
            user_agent_suffix: Some(true),
            max_sessions: Some(3),
            max_direct_per_user: Some(2),
            max_memory: Some(100),
            ..Settings::default()
        };
        let config = Config::from(said);
        assert_eq!((config.direct, config.fallback), (Direct::Any, Fallback::V1));
        assert!(!config.passthrough && config.user_agent_suffix);
        assert_eq!(config.ports, [1, 2]);
        assert_eq!((config.max_sessions, config.max_direct_per_user), (3, 2));
        assert_eq!(config.max_memory, 100 << 20);

        let config = Config::default();
        assert_eq!((config.direct, config.fallback), (Direct::Public, Fallback::Reject));
        assert!(config.passthrough && !config.user_agent_suffix);
        assert_eq!(config.ports, [8333, 18333, 18444, 38333, 48333]);
        assert_eq!((config.max_sessions, config.max_direct_per_user), (512, 32));
        assert_eq!(config.max_memory, 256 << 20);
    }
}
