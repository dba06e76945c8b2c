//! `bip324-run`: starts a Bitcoin client whose connections are redirected, or refuses to.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::process::ExitCode;

use bip324_setup::check::reach_daemon;
use bip324_setup::cli::run::Cli;
use bip324_setup::exit::{Error, Exit};
use bip324_setup::launch::{become_command, take_on};
use bip324_setup::plan::{Config, DEFAULT_PORT};
use clap::Parser;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // Where nothing can be printed, the exit code still tells.
            let _ = error.print();
            return exit.into();
        }
    };
    match run(&cli) {
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
fn run(cli: &Cli) -> Result<String, Error> {
    let config = Config {
        group: cli.group.clone(),
        ports: BTreeSet::from([DEFAULT_PORT]),
        listen_port: cli.listen_port,
    };
    let group = take_on(&config.group)?;
    let daemon = reach_daemon(&config)?;
    if let Some((program, rest)) = cli.command.split_first() {
        match become_command(program, rest)? {}
    }
    Ok(format!("clients run as group {} (gid {}) and reach {daemon}", group.name, group.gid))
}
