//! The command line.

pub mod run;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::config::{self, File};
use crate::group::GroupName;
use crate::plan::{Config, DEFAULT_LISTEN_PORT, DEFAULT_PORT};

/// Installs the nftables redirect of bip324-proxy and proves that it works.
#[derive(Debug, Parser)]
#[command(name = "bip324-setup", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Install or replace the rules, all at once; other tables are left alone
    Up(Up),
    /// Install or replace the rules and stay, so that nothing else removes them; once it is
    /// stopped, clients are refused
    Guard(Guard),
    /// Remove the rules, and a block that a guard left; clients then connect in plaintext
    Down(Down),
    /// Refuse the clients, beneath whatever stands: what a redirect does not take goes nowhere. Where the
    /// configuration cannot be used, refuses all TCP of the group but to this host
    Block(Block),
    /// Compare the rules with what `up` would install; show counters, group and listeners
    Status(Status),
    /// Prove, as a member of the group, that the redirect reaches the daemon; as root, compare the
    /// rules as well
    Check(Check),
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// What to redirect.
    #[command(flatten)]
    pub redirect: Redirect,
    /// Create the group, as a system group, unless it exists
    #[arg(long)]
    pub create_group: bool,
    /// Print the rules as nft text and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `guard`.
#[derive(Debug, Args)]
pub struct Guard {
    /// What to redirect.
    #[command(flatten)]
    pub redirect: Redirect,
    /// What clients meet once the guard is stopped
    #[arg(long, value_enum, default_value_t = OnExit::Block, value_name = "WHAT")]
    pub on_exit: OnExit,
    /// Do not own the table, as on a kernel older than 5.12: watch it, and put back what is changed
    #[arg(long)]
    pub no_owner: bool,
    /// Own the table in a way that ends with the guard, as on a kernel older than 6.9
    #[arg(long, hide = true)]
    pub no_persist: bool,
    /// Print the rules, and those that stay behind, as nft text and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a stopped guard leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnExit {
    /// Clients are refused
    Block,
    /// Clients connect in plaintext
    Open,
}

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct Down {
    /// Print the removal as nft text and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `block`.
#[derive(Debug, Args)]
pub struct Block {
    /// Whom to refuse, and where.
    #[command(flatten)]
    pub redirect: Redirect,
    /// Print the rules as nft text and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `status`: those that `up` was given.
#[derive(Debug, Args)]
pub struct Status {
    /// What to compare with.
    #[command(flatten)]
    pub redirect: Redirect,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`: those that `up` was given. The ports serve to compare the rules, which
/// takes CAP_NET_ADMIN.
#[derive(Debug, Args)]
pub struct Check {
    /// What to compare with.
    #[command(flatten)]
    pub redirect: Redirect,
}

/// The redirect that is asked for or about.
#[derive(Debug, Args)]
pub struct Redirect {
    /// Group whose connections are redirected [default: bip324]
    #[arg(long, value_name = "NAME")]
    group: Option<GroupName>,
    /// Port of peers that is redirected; may be repeated [default: 8333]
    #[arg(long = "port", value_parser = value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// Port that the daemon listens on, on 127.0.0.1 and ::1
    #[arg(long, default_value_t = DEFAULT_LISTEN_PORT, value_parser = value_parser!(u16).range(1..))]
    listen_port: u16,
    /// File (TOML) that gives `group` and `ports` where the command line does not
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Redirect {
    /// The command line over the file over the defaults. Reads the file each time.
    ///
    /// # Errors
    /// When a file is named and cannot be used.
    pub fn config(&self) -> Result<Config, config::Error> {
        let file = match &self.file {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let ports = match file.ports {
            _ if !self.ports.is_empty() => self.ports.iter().copied().collect(),
            Some(ports) => ports.iter().map(|port| port.get()).collect(),
            None => [DEFAULT_PORT].into(),
        };
        let group = self.group.clone().or(file.group).unwrap_or_default();
        Ok(Config { group, ports, listen_port: self.listen_port })
    }

    /// The group that the command line names.
    pub(crate) fn group(&self) -> Option<GroupName> {
        self.group.clone()
    }

    /// The files that [`Self::config`] reads, the one that has the last word last.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.file.iter().cloned().collect()
    }
}
