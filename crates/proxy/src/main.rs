//! `bip324-proxy`: from the command line to [`bip324_proxy::serve`].

#![forbid(unsafe_code)]

use std::io::{self, IsTerminal};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use bip324_proxy::cli::Cli;
use bip324_proxy::{
    Config, Kernel, Stats, Tcp, activation, listen, notify, owner_of, privilege, sandbox, serve,
};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{info, warn};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to do if even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EX_USAGE } else { 0 });
        }
    };
    let done = if cli.sandbox_status { print_sandbox_status() } else { run(&cli) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bip324-proxy: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let passed = activation::take()?;
    tracing_subscriber::fmt()
        .with_max_level(cli.log)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    let group = privilege::clients_group(cli.group.as_deref())?;
    if privilege::check_identity(group)? {
        warn!("the daemon's user is a member of the clients' group: it should not be");
    }
    privilege::drop_all()?;
    raise_descriptor_limit(cli.max_sessions);
    let listeners = listen::open(&cli.listen, passed)?;
    // While the files that tell of a limit can still be read.
    let threads = available_parallelism().map_or(1, NonZero::get);
    let sandbox = sandbox::apply(None)?;
    if let Some(missing) = sandbox.missing() {
        warn!("sandbox: {missing}");
    }
    // Its threads inherit that there is nothing left to gain.
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    runtime.block_on(run_until_told(cli, listeners))
}

/// Serves until the first signal to stop, and drains until the second.
async fn run_until_told(cli: &Cli, listeners: Vec<std::net::TcpListener>) -> Result<()> {
    let mut signals = Signals::new()?;
    let listeners: Vec<_> =
        listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
    let mut addresses = Vec::new();
    for listener in &listeners {
        addresses.push(listener.local_addr()?.to_string());
    }
    info!("ready, listening on {}", addresses.join(", "));
    notify::ready();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        // Nothing is sent: dropping the sender is the message.
        let _ = stopped.await;
    };
    let told_twice = async {
        signals.recv().await;
        info!("stopping; once more ends the sessions that are left");
        notify::stopping();
        drop(stop);
        signals.recv().await;
    };
    let config = Config { watchdog: notify::watchdog(), ..cli.config() };
    let stats = Arc::new(Stats::default());
    tokio::select! {
        served = serve(listeners, config, Kernel, owner_of(), Tcp, stats, shutdown) => served?,
        () = told_twice => {}
    }
    info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Works as any user, root and the clients too: nobody is served.
fn print_sandbox_status() -> Result<()> {
    privilege::drop_all()?;
    let status = sandbox::status()?;
    print!("{status}");
    ensure!(status.is_complete(), "not all of the sandbox is in force: this is a bug");
    Ok(())
}

/// Two descriptors a session, and some. The soft limit is often too low for it, and ours to raise.
fn raise_descriptor_limit(max_sessions: usize) {
    let wanted = 2 * max_sessions as u64 + OTHER_DESCRIPTORS;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < wanted {
            setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
        }
        Ok(hard >= wanted)
    });
    if raised != Ok(true) {
        warn!("{wanted} file descriptors may be needed and are not to be had: see LimitNOFILE");
    }
}

/// sysexits(3).
fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(privilege::Error::Root | privilege::Error::ClientsGroup(_)) => return EX_NOPERM,
        Some(privilege::Error::NoGroup(_)) => return EX_CONFIG,
        _ => {}
    }
    if error.is::<activation::Error>() {
        return EX_CONFIG;
    }
    match error.downcast_ref() {
        Some(listen::Error::Both) => EX_CONFIG,
        Some(listen::Error::Address { .. }) => EX_UNAVAILABLE,
        None => EX_OSERR,
    }
}

const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_OSERR: u8 = 71;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

const OTHER_DESCRIPTORS: u64 = 64;
