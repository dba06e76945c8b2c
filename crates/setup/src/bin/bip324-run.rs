//! `bip324-run`: starts a Bitcoin client whose connections are redirected, or refuses to.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use bip324_setup::check::reach_daemon;
use bip324_setup::exit::{Error, Exit};
use bip324_setup::group::GroupName;
use bip324_setup::launch::{become_command, take_on};
use bip324_setup::plan::{Config, DEFAULT_GROUP, DEFAULT_LISTEN_PORT, DEFAULT_PORT};
use clap::{Parser, value_parser};

/// Starts a Bitcoin client whose connections bip324-proxy encrypts, or refuses to start it.
#[derive(Debug, Parser)]
#[command(
    name = "bip324-run",
    version,
    override_usage = "bip324-run [--group NAME] [--listen-port PORT] <CMD [ARGS]... | --check>"
)]
struct Arguments {
    /// Group whose connections are redirected
    #[arg(long, default_value = DEFAULT_GROUP, value_name = "NAME")]
    group: GroupName,
    /// Port that the daemon listens on, on 127.0.0.1 and ::1
    #[arg(
        long,
        default_value_t = DEFAULT_LISTEN_PORT,
        value_name = "PORT",
        value_parser = value_parser!(u16).range(1..),
    )]
    listen_port: u16,
    /// Only say whether a client would be started
    #[arg(long, conflicts_with = "command")]
    check: bool,
    /// The client and its arguments, options included
    #[arg(
        required_unless_present = "check",
        trailing_var_arg = true,
        value_names = ["CMD", "ARGS"],
        num_args = 1..,
    )]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Where nothing can be printed, the exit code still tells.
            let _ = error.print();
            return exit.into();
        }
    };
    match run(&arguments) {
        Ok(line) => match writeln!(io::stdout(), "{line}") {
            Ok(()) => Exit::Ok.into(),
            Err(_) => Exit::IoErr.into(),
        },
        Err(error) => {
            // As above.
            let _ = writeln!(io::stderr(), "bip324-run: {}", error.line());
            error.exit().into()
        }
    }
}

/// Returns only for `--check`, with the line to print.
fn run(arguments: &Arguments) -> Result<String, Error> {
    let config = Config {
        group: arguments.group.clone(),
        ports: BTreeSet::from([DEFAULT_PORT]),
        listen_port: arguments.listen_port,
    };
    let group = take_on(&config.group)?;
    let daemon = reach_daemon(&config)?;
    if let Some((program, rest)) = arguments.command.split_first() {
        match become_command(program, rest)? {}
    }
    Ok(format!("clients run as group {} (gid {}) and reach {daemon}", group.name, group.gid))
}
