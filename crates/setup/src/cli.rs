//! The command line.

pub mod run;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use bip324_config::{Error, FOLDER, GroupName, Layers, OnExit, Settings};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, value_parser};

use crate::plan::{Config, DEFAULT_PORT};

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
    /// Remove the rules, and whatever refuses clients in their place; clients then connect in plaintext
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
    /// What clients meet once the guard is stopped [default: block]
    #[arg(long, value_parser = on_exit(), value_name = "WHAT")]
    on_exit: Option<OnExit>,
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

/// Arguments of `down`.
#[derive(Debug, Args)]
pub struct Down {
    /// Print the removal as nft text and change nothing; it leaves out tables bip324_block_NUMBER
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `block`.
#[derive(Debug, Args)]
pub struct Block {
    /// Whom to refuse, and where.
    #[command(flatten)]
    pub redirect: Redirect,
    /// Do nothing where the configuration says on_exit = "open", for the unit of a guard: unless
    /// SERVICE_RESULT tells that the guard was not stopped but failed
    #[arg(long)]
    unless_open: bool,
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
    /// Port that the daemon listens on, on 127.0.0.1 and ::1 [default: 1324, or the one of `listen`]
    #[arg(long, value_parser = value_parser!(u16).range(1..))]
    listen_port: Option<u16>,
    /// Configuration file, for what the command line leaves out
    /// [default: /etc/bip324-proxy/config.toml and config.d/*.toml there, as far as there are any]
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Redirect {
    /// The command line over the files over the defaults. Reads the files each time.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn config(&self) -> Result<Config, Error> {
        Ok(self.read()?.0)
    }

    /// As [`Redirect::config`], with all that the files say.
    fn read(&self) -> Result<(Config, Settings), Error> {
        let layers = Layers::read(self.file.as_deref(), Path::new(FOLDER), self.settings())?;
        let said = layers.settings().clone();
        let ports = match &said.ports {
            Some(ports) => ports.iter().map(|port| port.get()).collect(),
            None => [DEFAULT_PORT].into(),
        };
        let group = said.group.clone().unwrap_or_default();
        Ok((Config { group, ports, listen_port: said.listen_port() }, said))
    }

    /// What the arguments say.
    fn settings(&self) -> Settings {
        let ports = || self.ports.iter().copied().filter_map(NonZeroU16::new).collect();
        let listen = |port| {
            [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
                .map(|ip: IpAddr| SocketAddr::new(ip, port))
                .to_vec()
        };
        Settings {
            group: self.group.clone(),
            ports: (!self.ports.is_empty()).then(ports),
            listen: self.listen_port.map(listen),
            ..Settings::default()
        }
    }

    /// The group that is most likely meant where [`Self::config`] fails.
    pub(crate) fn likely_group(&self) -> Option<GroupName> {
        let named = || bip324_config::likely_group(self.file.as_deref(), Path::new(FOLDER));
        self.group.clone().or_else(named)
    }

    /// The ports that may be meant then, as far as they can be told.
    pub(crate) fn likely_ports(&self) -> BTreeSet<u16> {
        let named = bip324_config::likely_ports(self.file.as_deref(), Path::new(FOLDER));
        named.into_iter().map(NonZeroU16::get).chain(self.ports.iter().copied()).collect()
    }
}

impl Guard {
    /// As [`Redirect::config`], and what to leave behind.
    ///
    /// # Errors
    /// As [`Redirect::config`].
    pub fn config(&self) -> Result<(Config, OnExit), Error> {
        let (config, said) = self.redirect.read()?;
        Ok((config, self.on_exit.or(said.on_exit).unwrap_or_default()))
    }
}

impl Block {
    /// Whether clients are to be let out instead. A configuration that cannot be used is no reason.
    #[must_use]
    pub fn stays_open(&self) -> bool {
        let stopped = std::env::var_os("SERVICE_RESULT").is_none_or(|result| result == "success");
        let open = |said: Settings| said.on_exit == Some(OnExit::Open);
        self.unless_open && stopped && self.redirect.read().is_ok_and(|(_, said)| open(said))
    }
}

fn on_exit() -> impl TypedValueParser<Value = OnExit> {
    let values = OnExit::NAMES.iter().map(|(name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<OnExit>())
}

#[cfg(test)]
mod tests {
    use bip324_config::{KEYS, Reader};
    use clap::CommandFactory;

    use super::*;

    /// Each key that is read here can be given to `guard`, and its help names the default of the table.
    #[test]
    fn the_help_of_setup_agrees_with_the_table_of_keys() {
        let command = Cli::command();
        let guard = command.find_subcommand("guard").unwrap();
        for key in KEYS.iter().filter(|key| key.reader != Reader::Daemon) {
            let (id, default) = match key.name {
                "listen" => ("listen_port", "1324, or the one of `listen`".to_owned()),
                name => (name, key.default.replace(['"', '[', ']'], "")),
            };
            let found = guard.get_arguments().find(|argument| argument.get_id() == id);
            let help = found.unwrap().get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {default}]")), "{id}: {help}");
        }
    }
}
