//! `bip324ctl`: shows what a running bip324-proxy does.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use bip324_control::Answer;
use bip324_ctl::cli::{self, Cli, Command};
use bip324_ctl::client::Client;
use bip324_ctl::exit::{Error, Exit, Outcome};
use bip324_ctl::printable::{json, printable};
use bip324_ctl::{check, session, sessions, status, top, verify};
use clap::Parser;

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
    match run(&cli) {
        Ok((text, exit)) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => exit.into(),
            Err(error) => {
                // Whoever has stopped reading has seen enough.
                if error.kind() != io::ErrorKind::BrokenPipe {
                    complain(&format!("cannot print: {error}"));
                }
                Exit::IoErr.into()
            }
        },
        Err(error) => {
            complain(&error.line());
            error.exit().into()
        }
    }
}

fn run(cli: &Cli) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::System("cannot wait for the daemon", error))?;
    let outcome = runtime.block_on(command(&cli.socket, &cli.command));
    // Whoever has quit does not wait for what is still being proved.
    runtime.shutdown_background();
    outcome
}

async fn command(socket: &Path, command: &Command) -> Outcome {
    match command {
        Command::Close(arguments) => close(socket, arguments).await,
        Command::Log(arguments) => log(socket, arguments).await,
        Command::Status(output) => status::run(socket, *output).await,
        Command::Sessions(output) => sessions::run(socket, *output).await,
        Command::Session(arguments) => session::run(socket, arguments).await,
        Command::Verify(arguments) => verify::run(socket, arguments).await,
        Command::Check(output) => check::run(socket, *output).await,
        Command::Top => top::run(socket).await,
        Command::Web(arguments) => web(socket, arguments).await,
    }
}

async fn close(socket: &Path, arguments: &cli::Session) -> Outcome {
    let id = arguments.id;
    Client::connect(socket).await?.close(id).await?;
    let text = format!("session {id} is closed\n");
    Ok((if arguments.output.json { json(&Answer::Closed { id }) } else { text }, Exit::Ok))
}

async fn log(socket: &Path, arguments: &cli::Log) -> Outcome {
    let level = Client::connect(socket).await?.log(arguments.level.clone()).await?;
    let text = format!("{}\n", printable(&level));
    Ok((if arguments.output.json { json(&Answer::Log { level }) } else { text }, Exit::Ok))
}

async fn web(socket: &Path, arguments: &cli::Web) -> Outcome {
    bip324_ctl::web::run(socket, arguments).await?;
    Ok((String::new(), Exit::Ok))
}

fn complain(line: &str) {
    // Where nothing can be printed, the exit code still tells.
    let _ = writeln!(io::stderr(), "bip324ctl: {line}");
}
