//! The programs, and their command lines as clap has them.

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
}

impl Program {
    /// Every program there is.
    pub(crate) const ALL: [Self; 3] = [Self::Proxy, Self::Setup, Self::Run];

    /// The name that it is installed under.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Proxy => "bip324-proxy",
            Self::Setup => "bip324-setup",
            Self::Run => "bip324-run",
        }
    }

    /// Its command line.
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Proxy => Proxy::command(),
            Self::Setup => Setup::command(),
            Self::Run => Run::command(),
        }
        .disable_help_subcommand(true)
    }
}
