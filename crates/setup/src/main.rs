//! `bip324-setup`: installs, removes, shows and checks the redirect.

#![forbid(unsafe_code)]

use std::error::Error as _;
use std::io::{self, Write};
use std::process::ExitCode;

use bip324_setup::check::{Proof, check};
use bip324_setup::cli::{self, Cli, Command};
use bip324_setup::exit::{Error, Exit};
use bip324_setup::group::Group;
use bip324_setup::kernel::{self, Batch, Socket};
use bip324_setup::link::{self, Fault};
use bip324_setup::plan::{self, Config, Ruleset};
use bip324_setup::privilege::{self, NetAdmin};
use bip324_setup::status::{Status, TableState};
use clap::Parser;

/// What a command prints, and the code that the program then exits with.
type Outcome = Result<(String, Exit), Error>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // As in `complain`.
            let _ = error.print();
            return exit.into();
        }
    };
    let outcome = match cli.command {
        Command::Up(arguments) => up(&arguments),
        Command::Down(arguments) => down(&arguments),
        Command::Status(arguments) => status(&arguments),
        Command::Check(arguments) => run_check(&arguments),
    };
    match outcome {
        Ok((text, exit)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => exit.into(),
            Err(_) => Exit::IoErr.into(),
        },
        Err(error) => {
            complain(&one_line(&error));
            error.exit().into()
        }
    }
}

fn up(arguments: &cli::Up) -> Outcome {
    let config = arguments.config();
    let ruleset = Ruleset::new(&config)?;
    if arguments.dry_run {
        return Ok((ruleset.to_string(), Exit::Ok));
    }
    privilege::require_net_admin()?;
    let group = if arguments.create_group {
        Group::resolve_or_create(&config.group)?
    } else {
        Group::resolve(&config.group)?
    };
    let net_admin = NetAdmin::keep_only()?;

    let socket = Socket::open()?;
    let batch = Batch::replace(&ruleset, group.gid);
    kernel::apply(&socket, &batch, &net_admin)?;
    let installed = kernel::read(&socket, &net_admin)?.unwrap_or_default();
    if let Some(difference) = installed.differences(&batch.contents()?, &ruleset).first() {
        return Err(Error::NotInstalled(difference.clone()));
    }

    // Rules that refuse are better than none, so they are installed whatever lo is like.
    match link::loopback()?.fault() {
        None => {}
        Some(fault @ Fault::NoV6) => complain(&format!("warning: {fault}")),
        Some(fault) => return Err(Error::Loopback(fault)),
    }
    let Group { name, gid, .. } = group;
    let text = format!(
        "group {name} (gid {gid}): connections to port {} go to 127.0.0.1:{port} and [::1]:{port}\n",
        port_list(&config),
        port = config.listen_port,
    );
    Ok((text, Exit::Ok))
}

fn down(arguments: &cli::Down) -> Outcome {
    if arguments.dry_run {
        return Ok((plan::removal_text(), Exit::Ok));
    }
    let net_admin = NetAdmin::keep_only()?;
    kernel::apply(&Socket::open()?, &Batch::remove(), &net_admin)?;
    Ok((String::new(), Exit::Ok))
}

fn status(arguments: &cli::Status) -> Outcome {
    let config = arguments.config();
    let ruleset = Ruleset::new(&config)?;
    let group = Group::resolve(&config.group);
    let net_admin = NetAdmin::keep_only()?;

    let status = Status::read(&config, &ruleset, group, &net_admin)?;
    let text = if arguments.json {
        // Plain data with string keys: there is nothing that could fail.
        serde_json::to_string(&status).unwrap_or_default() + "\n"
    } else {
        status.to_string()
    };
    let exit = if status.table == TableState::Installed { Exit::Ok } else { Exit::Config };
    Ok((text, exit))
}

fn run_check(arguments: &cli::Check) -> Outcome {
    let config = arguments.config();
    let ruleset = Ruleset::new(&config)?;
    let Proof { group, version, reached, rules_compared } = check(&config, &ruleset)?;
    let listeners: Vec<String> = reached
        .iter()
        .map(|at| format!("{} (user {})", at.address, at.owner.as_deref().unwrap_or("unknown")))
        .collect();
    let Group { name, gid, .. } = group;
    let listeners = listeners.join(" and ");
    let text = if rules_compared {
        let ports = port_list(&config);
        format!(
            "group {name} (gid {gid}) is redirected from port {ports} to bip324-proxy {version} on {listeners}\n"
        )
    } else {
        let status = config.command_line("status");
        format!(
            "the canary of group {name} (gid {gid}) is redirected to bip324-proxy {version} on {listeners}; \
             `sudo {status}` proves which ports are\n"
        )
    };
    Ok((text, Exit::Ok))
}

fn port_list(config: &Config) -> String {
    config.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// The error and what caused it, on one line.
fn one_line(error: &Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(&format!(": {error}"));
        cause = error.source();
    }
    line
}

fn complain(line: &str) {
    // Where nothing can be printed, the exit code still tells.
    let _ = writeln!(io::stderr(), "bip324-setup: {line}");
}
