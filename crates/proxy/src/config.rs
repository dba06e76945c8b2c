//! The plain settings that the daemon runs on.

use std::time::Duration;

use clap::ValueEnum;

use crate::memory::MIB;

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

/// Which destinations a connection that was not redirected may name in the `addr_recv` of its
/// VERSION.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direct {
    /// None.
    Off,
    /// Globally routable addresses, on the ports of `--port`.
    Public,
    /// Any unicast address and port, loopback too: for tests and labs.
    Any,
}

/// What happens when a peer does not answer the v2 handshake with a single byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Fallback {
    /// The client is refused.
    Reject,
    /// The peer is dialled once more and spoken to in v1, in plaintext.
    V1,
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

impl Default for Config {
    fn default() -> Self {
        Self {
            direct: Direct::Public,
            fallback: Fallback::Reject,
            passthrough: true,
            ports: DEFAULT_PORTS.to_vec(),
            user_agent_suffix: false,
            max_sessions: DEFAULT_MAX_SESSIONS,
            max_direct_per_user: DEFAULT_MAX_DIRECT_PER_USER,
            max_memory: default_max_memory(DEFAULT_MAX_SESSIONS),
            timeouts: Timeouts::default(),
            watchdog: None,
        }
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

/// Default ports of mainnet, testnet3, signet, testnet4 and regtest.
pub(crate) const DEFAULT_PORTS: [u16; 5] = [8333, 18333, 38333, 48333, 18444];
pub(crate) const DEFAULT_MAX_SESSIONS: usize = 512;

/// More than the connections of any node or wallet: Bitcoin Core makes 11 outbound ones.
pub(crate) const DEFAULT_MAX_DIRECT_PER_USER: usize = 32;

/// 512 KiB for every session, which is what ordinary traffic takes both ways at once (320 KiB) and
/// some more, but never too little for a few of the longest messages. A session in the middle of
/// those, both ways and with a reader that stalls, takes 17 MiB.
pub(crate) fn default_max_memory(max_sessions: usize) -> usize {
    max_sessions.saturating_mul(MIB / 2).max(64 * MIB)
}
