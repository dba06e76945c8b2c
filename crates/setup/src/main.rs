//! `bip324-setup`: installs, removes, shows and checks the redirect.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use bip324_setup::block::Block;
use bip324_setup::check::{Proof, check};
use bip324_setup::cli::{self, Cli, Command};
use bip324_setup::exit::{Error, Exit};
use bip324_setup::group::Group;
use bip324_setup::guard;
use bip324_setup::keeper::Keeper;
use bip324_setup::kernel::{self, Batch, Change, Socket, Tenure};
use bip324_setup::link::{self, Fault};
use bip324_setup::plan::{self, BLOCK_TABLE, Ruleset, TABLE, UNGUARDED_TABLE};
use bip324_setup::privilege::{self, NetAdmin};
use bip324_setup::standing::{self, State};
use bip324_setup::status::Status;
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
        Command::Guard(arguments) => run_guard(&arguments),
        Command::Down(arguments) => down(&arguments),
        Command::Block(arguments) => block(&arguments),
        Command::Status(arguments) => status(&arguments),
        Command::Check(arguments) => run_check(&arguments),
    };
    match outcome {
        Ok((text, exit)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => exit.into(),
            Err(_) => Exit::IoErr.into(),
        },
        Err(error) => {
            complain(&error.line());
            error.exit().into()
        }
    }
}

fn up(arguments: &cli::Up) -> Outcome {
    let config = arguments.redirect.config()?;
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

    let socket = refuse_beside_a_guard(&net_admin)?;
    let put = Change::Put { ruleset: &ruleset, gid: group.gid, tenure: Tenure::Free };
    let batch = Batch::new(&[put, Change::Remove(BLOCK_TABLE), Change::Remove(UNGUARDED_TABLE)]);
    guard::apply(&socket, &batch, &net_admin)?;
    let installed = kernel::read(&socket, TABLE, &net_admin)?.unwrap_or_default();
    if let Some(difference) = installed.differences(&batch.contents(TABLE)?, &ruleset).first() {
        return Err(Error::NotInstalled(difference.clone()));
    }

    // Rules that refuse are better than none, so they are installed whatever lo is like.
    match link::loopback()?.fault() {
        None => {}
        Some(fault @ Fault::NoV6) => complain(&format!("warning: {fault}")),
        Some(fault) => return Err(Error::Loopback(fault)),
    }
    Ok((format!("{config}\n"), Exit::Ok))
}

fn run_guard(arguments: &cli::Guard) -> Outcome {
    if arguments.dry_run {
        let config = arguments.redirect.config()?;
        let text = format!("{}\n{}", Ruleset::new(&config)?, Ruleset::block(&config));
        return Ok((text, Exit::Ok));
    }
    guard::run(arguments)?;
    Ok((String::new(), Exit::Ok))
}

fn down(arguments: &cli::Down) -> Outcome {
    if arguments.dry_run {
        return Ok((plan::removal_text(), Exit::Ok));
    }
    let net_admin = NetAdmin::keep_only()?;
    let socket = refuse_beside_a_guard(&net_admin)?;
    let mut others = kernel::tables(&socket, &net_admin)?;
    others.retain(|table| plan::is_number_block(table));
    let tables = [TABLE, BLOCK_TABLE, UNGUARDED_TABLE].into_iter();
    let tables = tables.chain(others.iter().map(String::as_str));
    let batch = Batch::new(&tables.map(Change::Remove).collect::<Vec<_>>());
    guard::apply(&socket, &batch, &net_admin)?;
    let text = "clients connect in plaintext from now on: no table of ours stands\n";
    Ok((text.to_owned(), Exit::Ok))
}

fn block(arguments: &cli::Block) -> Outcome {
    if arguments.stays_open() {
        return left_open(arguments.dry_run);
    }
    let block = Block::new(&arguments.redirect);
    if let Some(error) = &block.unusable {
        complain(&format!("the configuration cannot be used: {}", error.line()));
    }
    let exit = block.unusable.as_ref().map_or(Exit::Ok, Error::exit);
    if arguments.dry_run {
        return Ok((block.ruleset.to_string(), exit));
    }
    let standing = block.put()?;
    Ok((block.says(standing) + "\n", exit))
}

/// Puts no block. What was put before stays, such as by a guard that did not hear of this configuration.
fn left_open(dry_run: bool) -> Outcome {
    let mut text = "no block is put: the configuration says on_exit = \"open\"\n".to_owned();
    if !dry_run {
        let net_admin = NetAdmin::keep_only()?;
        for refusal in standing::refusals(&Socket::open()?, &net_admin)? {
            text +=
                &format!("{refusal} all the same, until `bip324-setup down` or the next boot\n");
        }
    }
    Ok((text, Exit::Ok))
}

/// A socket to change the rules by, unless a guard would put them back.
fn refuse_beside_a_guard(net_admin: &NetAdmin) -> Result<Socket, Error> {
    let socket = Socket::open()?;
    match Keeper::of(kernel::read(&socket, TABLE, net_admin)?.as_ref()) {
        Some(keeper) => Err(Error::Held(keeper)),
        None => Ok(socket),
    }
}

fn status(arguments: &cli::Status) -> Outcome {
    let config = arguments.redirect.config()?;
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
    let exit = if status.table.stands() { Exit::Ok } else { Exit::Config };
    Ok((text, exit))
}

fn run_check(arguments: &cli::Check) -> Outcome {
    let config = arguments.redirect.config()?;
    let ruleset = Ruleset::new(&config)?;
    let Proof { group, daemon, rules } = check(&config, &ruleset)?;
    let Group { name, gid, .. } = group;
    if rules == Some(State::Orphaned) {
        let guard = config.command_line("guard");
        complain(&format!(
            "warning: the guard was killed, so anything may remove the rules: run `sudo {guard}`"
        ));
    }
    let text = if rules.is_some() {
        let ports = config.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        format!("group {name} (gid {gid}) is redirected from port {ports} to {daemon}\n")
    } else {
        let status = config.command_line("status");
        format!(
            "the canary of group {name} (gid {gid}) is redirected to {daemon}; \
             `sudo {status}` proves which ports are\n"
        )
    };
    Ok((text, Exit::Ok))
}

fn complain(line: &str) {
    // Where nothing can be printed, the exit code still tells.
    let _ = writeln!(io::stderr(), "bip324-setup: {line}");
}
