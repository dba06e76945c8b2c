//! The command line, and the plain settings that the rest of the daemon runs on.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

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
    /// Sessions at a time; a connection beyond them is reset at once.
    pub max_sessions: usize,
    /// How long each step may take.
    pub timeouts: Timeouts,
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
    /// Unanswered probes that end a connection.
    pub keepalive_probes: u32,
    /// Unacknowledged data, or probes, for this long end a connection: Bitcoin Core's
    /// `TIMEOUT_INTERVAL` (net.h).
    pub user_timeout: Duration,
}

/// Gives Bitcoin clients encrypted BIP324 connections, without their knowing.
///
/// Runs as a user and group of its own; bip324-setup makes the kernel redirect the clients here.
#[derive(Debug, Parser)]
#[command(name = "bip324-proxy", version)]
pub struct Cli {
    /// Address to listen on; repeat for more. Replaces both defaults, port 1324 of 127.0.0.1 and ::1
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<SocketAddr>,
    /// The clients' group, which the daemon refuses to run as [default: bip324, where it exists]
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Destinations of connections that were not redirected
    #[arg(long, value_enum, default_value_t = Direct::Public)]
    pub direct: Direct,
    /// What to do when a peer does not speak v2
    #[arg(long, value_enum, default_value_t = Fallback::Reject)]
    pub fallback: Fallback,
    /// Splice clients through that speak v2 themselves
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub passthrough: Switch,
    /// Port that `--direct public` may dial; repeat for more
    #[arg(long, value_name = "PORT", default_values_t = DEFAULT_PORTS,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Append bip324-proxy to the user agent that peers see
    #[arg(long)]
    pub user_agent_suffix: bool,
    /// Sessions at a time; connections beyond them are reset
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SESSIONS,
          value_parser = parse_max_sessions)]
    pub max_sessions: usize,
    /// Log level: off, error, warn, info, debug or trace. Addresses and session ids appear from
    /// debug on
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: LevelFilter,
}

/// `on` or `off` on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

impl Cli {
    /// The settings that these arguments ask for.
    pub fn config(&self) -> Config {
        Config {
            direct: self.direct,
            fallback: self.fallback,
            passthrough: self.passthrough == Switch::On,
            ports: self.port.clone(),
            user_agent_suffix: self.user_agent_suffix,
            max_sessions: self.max_sessions,
            timeouts: Timeouts::default(),
        }
    }
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
            timeouts: Timeouts::default(),
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

fn parse_max_sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(sessions @ 1..=MAX_MAX_SESSIONS) => Ok(sessions),
        _ => Err(format!("not a number from 1 to {MAX_MAX_SESSIONS}")),
    }
}

/// Default ports of mainnet, testnet3, signet, testnet4 and regtest.
const DEFAULT_PORTS: [u16; 5] = [8333, 18333, 38333, 48333, 18444];
const DEFAULT_MAX_SESSIONS: usize = 512;
/// Two descriptors a session: more than this does not fit the kernel's default hard limit.
const MAX_MAX_SESSIONS: usize = 250_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["bip324-proxy"].into_iter().chain(arguments.split_whitespace()))
    }

    #[test]
    fn no_arguments_give_the_production_defaults() {
        let cli = parse("").unwrap();
        assert!(cli.listen.is_empty());
        assert_eq!(format!("{:?}", cli.config()), format!("{:?}", Config::default()));
    }

    #[test]
    fn every_argument_arrives() {
        let cli = parse(
            "--listen 127.0.0.1:9 --listen [::1]:9 --group g --direct any --fallback v1 \
             --passthrough off --port 1 --port 2 --user-agent-suffix --max-sessions 3 --log debug",
        )
        .unwrap();
        let config = cli.config();
        assert_eq!(cli.listen, ["127.0.0.1:9".parse().unwrap(), "[::1]:9".parse().unwrap()]);
        assert_eq!(cli.group.as_deref(), Some("g"));
        assert_eq!(cli.log, LevelFilter::DEBUG);
        assert_eq!((config.direct, config.fallback), (Direct::Any, Fallback::V1));
        assert!(!config.passthrough);
        assert_eq!(config.ports, [1, 2]);
        assert!(config.user_agent_suffix);
        assert_eq!(config.max_sessions, 3);
    }

    #[test]
    fn senseless_values_are_refused() {
        for arguments in [
            "--listen nonsense",
            "--port 0",
            "--port 65536",
            "--max-sessions 0",
            "--direct maybe",
            "--fallback v2",
            "--passthrough maybe",
            "--log loud",
        ] {
            assert!(parse(arguments).is_err(), "{arguments}");
        }
    }
}
