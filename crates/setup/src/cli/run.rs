//! The command line of `bip324-run`.

use std::ffi::OsString;

use clap::{Parser, ValueHint, value_parser};

use crate::group::GroupName;
use crate::plan::{DEFAULT_GROUP, DEFAULT_LISTEN_PORT};

/// Starts a Bitcoin client whose connections bip324-proxy encrypts, or refuses to start it.
#[derive(Debug, Parser)]
#[command(
    name = "bip324-run",
    version,
    override_usage = "bip324-run [--group NAME] [--listen-port PORT] <CMD [ARGS]... | --check>"
)]
pub struct Cli {
    /// Group whose connections are redirected
    #[arg(long, default_value = DEFAULT_GROUP, value_name = "NAME")]
    pub group: GroupName,
    /// Port that the daemon listens on, on 127.0.0.1 and ::1
    #[arg(
        long,
        default_value_t = DEFAULT_LISTEN_PORT,
        value_name = "PORT",
        value_parser = value_parser!(u16).range(1..),
    )]
    pub listen_port: u16,
    /// Only say whether a client would be started
    #[arg(long, conflicts_with = "command")]
    pub check: bool,
    /// The client and its arguments, options included
    #[arg(
        required_unless_present = "check",
        trailing_var_arg = true,
        value_names = ["CMD", "ARGS"],
        num_args = 1..,
        value_hint = ValueHint::CommandWithArguments,
    )]
    pub command: Vec<OsString>,
}
