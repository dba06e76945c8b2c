//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use bip324_control::SOCKET;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

/// Shows what bip324-proxy does: its sessions, what they carry, and what it refuses.
///
/// Members of the group bip324 see the status and their own sessions; root sees everybody's, and may
/// close them. Where systemd holds the control socket, to ask a daemon that was stopped starts it.
#[derive(Debug, Parser)]
#[command(name = "bip324ctl", version)]
pub struct Cli {
    /// Control socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET)]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the daemon, the rules, what is refused and what v2 saved
    Status(Output),
    /// List the sessions that the caller may see
    Sessions(Output),
    /// Show one session: its messages by type, and its session id for reading aloud
    Session(Session),
    /// End a session; both its connections are reset. For root
    Close(Session),
    /// Find the session whose id the peer's owner has read out
    Verify(Verify),
    /// Check daemon, rules and control socket, and say how to mend what is wrong
    Check(Output),
    /// Show the log level of the daemon, or set it until its next reload or start. Setting is for root
    Log(Log),
    /// Watch the sessions, full screen
    Top,
    /// Serve the same as a page for a browser on this host, read-only
    ///
    /// Prints the page's address. It ends in a token, new at each start: whoever has the whole address
    /// sees on the page what the user who started this may see, other users of this host too. Who
    /// only reaches the port sees nothing.
    Web(Web),
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// One session.
#[derive(Debug, Args)]
pub struct Session {
    /// Number of the session, as `sessions` shows it
    #[arg(value_name = "N")]
    pub id: u64,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub struct Verify {
    /// All 64 digits, in groups of any kind, upper or lower case
    #[arg(value_name = "SESSION_ID", required = true, num_args = 1..)]
    pub words: Vec<String>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `log`.
#[derive(Debug, Args)]
pub struct Log {
    /// The level to set
    #[arg(value_name = "LEVEL", value_parser = PossibleValuesParser::new(LEVELS))]
    pub level: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub output: Output,
}

/// Arguments of `web`.
#[derive(Debug, Args)]
pub struct Web {
    /// Address to serve at
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1326")]
    pub listen: SocketAddr,
    /// Serve at an address that other hosts reach, too: unencrypted
    #[arg(long)]
    pub i_know: bool,
    /// Write the page's address to this file as well, for the user and the group of this process
    #[arg(long, value_name = "PATH")]
    pub url_file: Option<PathBuf>,
}

/// Log levels, the quietest first.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
