//! The command line.

use std::collections::BTreeSet;

use clap::{Args, Parser, Subcommand, value_parser};

use crate::group::GroupName;
use crate::plan::{Config, DEFAULT_GROUP, DEFAULT_LISTEN_PORT, DEFAULT_PORT};

/// Installs the nftables redirect of bip324-proxy and proves that it works.
#[derive(Debug, Parser)]
#[command(version)]
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
    /// Remove the rules; running clients of the group then connect in plaintext
    Down(Down),
    /// Compare the rules with what `up` would install; show counters, group and listeners
    Status(Status),
    /// Prove, as a member of the group, that the redirect reaches the daemon; as root, compare the
    /// rules as well
    Check(Check),
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    redirect: Redirect,
    /// Create the group, as a system group, unless it exists
    #[arg(long)]
    pub create_group: bool,
    /// Print the rules as nft text and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct Down {
    /// Print the removal as nft text and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `status`: those that `up` was given.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    redirect: Redirect,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `check`: those that `up` was given. The ports serve to compare the rules, which
/// takes CAP_NET_ADMIN.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    redirect: Redirect,
}

#[derive(Debug, Args)]
struct Redirect {
    /// Group whose connections are redirected
    #[arg(long, default_value = DEFAULT_GROUP, value_name = "NAME")]
    group: GroupName,
    /// Port of peers that is redirected; may be repeated
    #[arg(long = "port", default_values_t = [DEFAULT_PORT], value_parser = value_parser!(u16).range(1..))]
    ports: Vec<u16>,
    /// Port that the daemon listens on, on 127.0.0.1 and ::1
    #[arg(long, default_value_t = DEFAULT_LISTEN_PORT, value_parser = value_parser!(u16).range(1..))]
    listen_port: u16,
}

impl Up {
    /// The redirect that was asked for.
    #[must_use]
    pub fn config(&self) -> Config {
        self.redirect.config()
    }
}

impl Status {
    /// The redirect that is asked about.
    #[must_use]
    pub fn config(&self) -> Config {
        self.redirect.config()
    }
}

impl Check {
    /// The redirect that is asked about.
    #[must_use]
    pub fn config(&self) -> Config {
        self.redirect.config()
    }
}

impl Redirect {
    fn config(&self) -> Config {
        Config {
            group: self.group.clone(),
            ports: self.ports.iter().copied().collect::<BTreeSet<_>>(),
            listen_port: self.listen_port,
        }
    }
}
