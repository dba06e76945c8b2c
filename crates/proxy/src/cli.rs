//! The command line.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::config::{
    Config, DEFAULT_MAX_DIRECT_PER_USER, DEFAULT_MAX_SESSIONS, DEFAULT_PORTS, Direct, Fallback,
    Timeouts, default_max_memory,
};
use crate::memory::MIB;

/// Gives Bitcoin clients encrypted BIP324 connections, without their knowing.
///
/// Runs as a user and group of its own; bip324-setup makes the kernel redirect the clients here.
#[derive(Debug, Parser)]
#[command(name = "bip324-proxy", version)]
pub struct Cli {
    /// Address to listen on; repeat for more. Replaces both defaults, port 1324 of 127.0.0.1 and
    /// ::1. Not together with sockets of a service manager
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
    /// Sessions at a time; connections beyond them are reset. A quarter is kept for connections that
    /// were redirected
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_SESSIONS,
          value_parser = parse_max_sessions)]
    pub max_sessions: usize,
    /// Sessions that one user may have by connections that were not redirected
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_DIRECT_PER_USER,
          value_parser = parse_max_sessions)]
    pub max_direct_per_user: usize,
    /// Memory of all sessions together, in MiB: beyond it the session that wants more ends. Half of it
    /// is kept for connections that were redirected
    /// [default: half a MiB for each of --max-sessions, at least 64]
    #[arg(long, value_name = "MIB", value_parser = parse_max_memory)]
    pub max_memory: Option<usize>,
    /// Log level: off, error, warn, info, debug or trace. Addresses and session ids appear from
    /// debug on
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: LevelFilter,
    /// Restrict this process as the daemon does, try what is forbidden, print what is in force, and
    /// exit; with 0 if that is all that this kernel has
    #[arg(long)]
    pub sandbox_status: bool,
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
            max_direct_per_user: self.max_direct_per_user,
            max_memory: self
                .max_memory
                .map_or_else(|| default_max_memory(self.max_sessions), |mib| mib * MIB),
            timeouts: Timeouts::default(),
            watchdog: None,
        }
    }
}

fn parse_max_sessions(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(sessions @ 1..=MAX_MAX_SESSIONS) => Ok(sessions),
        _ => Err(format!("not a number from 1 to {MAX_MAX_SESSIONS}")),
    }
}

fn parse_max_memory(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(mib @ MIN_MAX_MEMORY..=MAX_MAX_MEMORY) => Ok(mib),
        _ => Err(format!("not a number of MiB from {MIN_MAX_MEMORY} to {MAX_MAX_MEMORY}")),
    }
}

/// MiB: the longest messages of one session both ways at once, in three quarters of it.
const MIN_MAX_MEMORY: usize = 32;

/// MiB: 1 TiB.
const MAX_MAX_MEMORY: usize = 1024 * 1024;

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
             --passthrough off --port 1 --port 2 --user-agent-suffix --max-sessions 3 \
             --max-direct-per-user 2 --max-memory 100 --log debug",
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
        assert_eq!((config.max_sessions, config.max_direct_per_user), (3, 2));
        assert_eq!(config.max_memory, 100 << 20);
    }

    #[test]
    fn memory_follows_the_sessions_unless_said_otherwise() {
        for (arguments, mib) in [("", 256), ("--max-sessions 4", 64), ("--max-sessions 2000", 1000)]
        {
            assert_eq!(parse(arguments).unwrap().config().max_memory, mib << 20, "{arguments}");
        }
    }

    #[test]
    fn senseless_values_are_refused() {
        for arguments in [
            "--listen nonsense",
            "--port 0",
            "--port 65536",
            "--max-sessions 0",
            "--max-direct-per-user 0",
            "--max-memory 31",
            "--max-memory 1048577",
            "--direct maybe",
            "--fallback v2",
            "--passthrough maybe",
            "--log loud",
        ] {
            assert!(parse(arguments).is_err(), "{arguments}");
        }
    }
}
