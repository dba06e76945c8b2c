//! The programs, and their command lines as clap has them.

use bip324_ctl::cli::Cli as Ctl;
use bip324_proxy::cli::Cli as Proxy;
use bip324_setup::cli::Cli as Setup;
use bip324_setup::cli::run::Cli as Run;
use clap::{Command, CommandFactory};

/// A program that is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The daemon.
    Proxy,
    /// Rules, guard and check.
    Setup,
    /// The launcher.
    Run,
    /// What the daemon does, for people and scripts.
    Ctl,
}

impl Program {
    /// Every program there is.
    pub(crate) const ALL: [Self; 4] = [Self::Proxy, Self::Setup, Self::Run, Self::Ctl];

    /// The name that it is installed under.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "bip324-proxy",
            Self::Setup => "bip324-setup",
            Self::Run => "bip324-run",
            Self::Ctl => "bip324ctl",
        }
    }

    /// Its command line.
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Proxy => Proxy::command(),
            Self::Setup => Setup::command(),
            Self::Run => Run::command(),
            Self::Ctl => Ctl::command(),
        }
        .disable_help_subcommand(true)
    }
}
