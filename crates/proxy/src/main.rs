//! `bip324-proxy`: from the command line to [`bip324_proxy::serve`].

#![forbid(unsafe_code)]

use std::fmt::Display;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};
use bip324_config::{GroupName, Layers};
use bip324_proxy::cli::Cli;
use bip324_proxy::reload::{self, Reload};
use bip324_proxy::{
    Config, Current, Kernel, Overview, Stats, Tcp, activation, allocator, control, listen, log,
    metrics, notify, owner_of, privilege, sandbox, serve,
};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
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
    match command(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bip324-proxy: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// All but the last work as any user, root and the clients too: nobody is served.
fn command(cli: &Cli) -> Result<()> {
    let configuration = cli.configuration()?;
    if cli.check_config {
        let files = configuration.files().iter().map(|file| file.display().to_string());
        let files = files.collect::<Vec<_>>().join(", ");
        let files = if files.is_empty() { "no file is there".to_owned() } else { files };
        print(format_args!("the configuration can be used: {files}\n"))
    } else if cli.print_config {
        print(configuration)
    } else if cli.sandbox_status {
        print_sandbox_status(reload::readable(cli.folder(), configuration.files()))
    } else {
        run(cli, configuration)
    }
}

fn run(cli: &Cli, configuration: Layers) -> Result<()> {
    allocator::return_large_buffers();
    let passed = activation::take()?;
    let said = configuration.settings();
    let level = log::start(said.log);
    let group = privilege::clients_group(said.group.as_ref().map(GroupName::as_str))?;
    if privilege::check_identity(group)? {
        warn!("the daemon's user is a member of the clients' group: it should not be");
    }
    privilege::drop_all()?;
    let config = Config { watchdog: notify::watchdog(), ..said.clone().into() };
    let most_sessions = raise_descriptor_limit();
    if config.max_sessions > most_sessions {
        warn!("there are file descriptors for {most_sessions} sessions only: see LimitNOFILE");
    }
    let listeners = listen::open(said.listen.as_deref().unwrap_or_default(), passed.listeners)?;
    let control = control::open(said.control.as_deref(), passed.control)?;
    let metrics = metrics::open(&said.metrics.clone().unwrap_or_default())?;
    // While the files that tell of a limit can still be read.
    let threads = available_parallelism().map_or(1, NonZero::get);
    let readable = reload::readable(cli.folder(), configuration.files());
    let sandbox = sandbox::apply(&readable)?;
    if let Some(missing) = sandbox.missing() {
        warn!("sandbox: {missing}");
    }
    let (config, live) = watch::channel(Arc::new(config));
    let (started, current) = (configuration.clone(), configuration);
    let unreadable = match (sandbox.is_readable(), readable.is_empty()) {
        (true, _) => None,
        (false, true) => Some("was not there at the start, so the sandbox keeps it closed"),
        (false, false) => Some("is closed, for without Landlock the sandbox allows no file"),
    };
    let reload = Reload { cli, started, current, unreadable, most_sessions, config, level };
    // Its threads inherit that there is nothing left to gain.
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.context("cannot start threads")?;
    runtime.block_on(run_until_told(listeners, control, metrics, live, reload))
}

/// Serves until the first signal to stop, and drains until the second.
async fn run_until_told(
    listeners: Vec<std::net::TcpListener>,
    control: Option<control::Opened>,
    metrics: Option<metrics::Listener>,
    config: Current,
    mut reload: Reload<'_>,
) -> Result<()> {
    let mut signals = Signals::new()?;
    let listeners: Vec<_> =
        listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
    let mut addresses = Vec::new();
    for listener in &listeners {
        addresses.push(listener.local_addr()?);
    }
    let named = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    info!("ready, listening on {named}");
    notify::ready();
    let stats = Arc::new(Stats::default());
    let overview =
        Overview { stats: Arc::clone(&stats), config: config.clone(), listeners: addresses };
    if let Some(control) = control {
        control::start(control, overview.clone(), reload.level.clone())?;
    }
    let owner_of = owner_of();
    if let Some(metrics) = metrics {
        let served = metrics::serve(metrics, overview, Arc::clone(&owner_of));
        tokio::spawn(async {
            if let Err(error) = served.await {
                warn!("there are no metrics: {error}");
            }
        });
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        // Nothing is sent: dropping the sender is the message.
        let _ = stopped.await;
    };
    let told_twice = async {
        while signals.recv().await == Told::Reload {
            reload.run();
        }
        info!("stopping; once more ends the sessions that are left");
        notify::stopping();
        drop(stop);
        while signals.recv().await == Told::Reload {}
    };
    tokio::select! {
        served = serve(listeners, config, Kernel, owner_of, Tcp, stats, shutdown) => served?,
        () = told_twice => {}
    }
    info!("stopped");
    Ok(())
}

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}

/// SIGTERM and SIGINT; SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    async fn recv(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
        }
    }
}

/// Whoever reads it may have gone.
fn print(text: impl Display) -> Result<()> {
    write!(io::stdout(), "{text}").context("cannot write the output")
}

fn print_sandbox_status(readable: Vec<PathBuf>) -> Result<()> {
    privilege::drop_all()?;
    let status = sandbox::status(readable)?;
    print(&status)?;
    ensure!(status.is_complete(), "not all of the sandbox is in force: this is a bug");
    Ok(())
}

/// The soft limit is often too low, and ours to raise: as far as it goes, for a reload may ask for more
/// sessions, and the sandbox allows no change. Returns for how many sessions it is enough: each takes
/// two descriptors.
fn raise_descriptor_limit() -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        // Where the service manager forbids to ask, it knows what it gives.
        return usize::MAX;
    };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    let limit = if raised.is_ok() { hard } else { soft };
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(OTHER_DESCRIPTORS) / 2
}

/// sysexits(3).
fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(privilege::Error::Root | privilege::Error::ClientsGroup(_)) => return EX_NOPERM,
        Some(privilege::Error::NoGroup(_)) => return EX_CONFIG,
        _ => {}
    }
    match error.downcast_ref() {
        Some(bip324_config::Error::Read(..)) => return EX_NOINPUT,
        Some(bip324_config::Error::Content { .. }) => return EX_CONFIG,
        None => {}
    }
    if error.is::<activation::Error>() {
        return EX_CONFIG;
    }
    if error.is::<metrics::Error>() {
        return EX_UNAVAILABLE;
    }
    match error.downcast_ref() {
        Some(control::Error::Both) => return EX_CONFIG,
        Some(control::Error::Listen(_)) => return EX_UNAVAILABLE,
        None => {}
    }
    match error.downcast_ref() {
        Some(listen::Error::Both) => EX_CONFIG,
        Some(listen::Error::Address { .. }) => EX_UNAVAILABLE,
        None => EX_OSERR,
    }
}

const EX_USAGE: u8 = 64;
const EX_NOINPUT: u8 = 66;
const EX_UNAVAILABLE: u8 = 69;
const EX_OSERR: u8 = 71;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

/// The connections of the control socket (64) and of the metrics (8), listeners, the runtime's own, and
/// as much again to spare.
const OTHER_DESCRIPTORS: usize = 160;
