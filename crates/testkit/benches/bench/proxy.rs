//! The proxy that is measured: ours, or another one that listens on the same port.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::panic::resume_unwind;
use std::process::Command;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use bip324_testkit::identity::Identity;
use bip324_testkit::prerequisite::{built, built_programs};
use bip324_testkit::process::Process;
use bip324_testkit::vitals::{Vitals, peak};
use bip324_testkit::wait::{PATIENCE, wait_for};
use nix::unistd::{Pid, getpgid};

use crate::clock;
use crate::options::Options;

/// It runs, and listens at `address`.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// All of it: what a command starts may start others.
    processes: Vec<Pid>,
    _process: Process,
}

impl Proxy {
    /// A fresh one, so that no figure depends on what was measured before.
    pub(crate) fn start(options: &Options) -> Result<Self> {
        let (process, address) = match &options.against {
            None => start_ours()?,
            Some(command) => start_other(command)?,
        };
        Self::of(process, address)
    }

    /// A process that listens at `address`.
    pub(crate) fn of(process: Process, address: SocketAddr) -> Result<Self> {
        let processes = members(i32::try_from(process.id())?)?;
        Ok(Self { address, processes, _process: process })
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.processes.iter().map(|id| clock::of_process(*id)).sum()
    }

    /// What `work` takes of the proxy, in nanoseconds. It counts as done once the proxy rests: the
    /// kernel brings the account of a thread that runs up to date only now and then.
    pub(crate) fn nanoseconds(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let before = self.cpu_at_rest()?;
        work()?;
        Ok((self.cpu_at_rest()? - before).as_nanos() as f64)
    }

    /// What it uses of the system.
    pub(crate) fn vitals(&self) -> Result<Vitals> {
        let all = self.processes.iter().map(|id| Vitals::of(id.as_raw().unsigned_abs()));
        let mut all = all.collect::<Result<Vec<_>>>()?.into_iter();
        let first = all.next().context("no process of the proxy was found")?;
        Ok(all.fold(first, |sum, one| Vitals {
            descriptors: sum.descriptors + one.descriptors,
            sockets: sum.sockets + one.sockets,
            threads: sum.threads + one.threads,
            memory: sum.memory + one.memory,
            processor: sum.processor + one.processor,
        }))
    }

    /// Waits until it has no more sockets than this: until its sessions are over.
    pub(crate) fn wait_for_sockets(&self, count: usize) -> Result<()> {
        wait_for("the sessions to end", PATIENCE, || {
            Ok((self.vitals()?.sockets <= count).then_some(()))
        })
    }

    /// Resident memory in KiB, once nothing is left to do.
    pub(crate) fn memory_at_rest(&self) -> Result<f64> {
        self.cpu_at_rest()?;
        Ok(self.vitals()?.memory as f64)
    }

    /// From now on the peak is that of what follows.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        for id in &self.processes {
            fs::write(format!("/proc/{id}/clear_refs"), "5").context("needs root")?;
        }
        Ok(())
    }

    /// Most resident memory in KiB since then.
    pub(crate) fn peak_memory(&self) -> Result<f64> {
        let peaks = self.processes.iter().map(|id| peak(id.as_raw().unsigned_abs()));
        Ok(peaks.sum::<Result<u64>>()? as f64)
    }

    fn cpu_at_rest(&self) -> Result<Duration> {
        let mut last = self.cpu()?;
        wait_for("the proxy to rest", PATIENCE, || {
            let now = self.cpu()?;
            Ok((std::mem::replace(&mut last, now) == now).then_some(now))
        })
    }
}

/// As its own user, with room for as many sessions as any figure has.
fn start_ours() -> Result<(Process, SocketAddr)> {
    built("bip324-proxy")?;
    let folder = built_programs()?;
    // Not the configuration of this machine.
    let (program, configuration) = (folder.join("bip324-proxy"), folder.join("bench.toml"));
    fs::write(&configuration, "")?;
    let words = [
        &program.display().to_string(),
        "--config",
        &configuration.display().to_string(),
        "--listen=127.0.0.1:0",
        "--direct=any",
        "--max-sessions=60000",
        "--max-direct-per-user=40000",
    ];
    let mut words = Identity::Daemon.wrap(&words.map(str::to_owned)).into_iter();
    let mut command = Command::new(words.next().context("a command")?);
    command.args(words);
    let mut process = spawn("bench-proxy", command)?;
    let address = process.wait_for_log("where it listens", PATIENCE, |log| {
        log.split_once(READY)?.1.lines().next()?.trim().parse().ok()
    });
    let address = address.with_context(|| process.log().unwrap_or_default())?;
    Ok((process, address))
}

/// By its command, which must not go into the background.
fn start_other(command: &str) -> Result<(Process, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bip324_testkit::daemon::PORT));
    // The one before this may take a moment to end.
    let free =
        wait_for("the port", GRACE, || Ok(TcpStream::connect(address).is_err().then_some(())));
    free.with_context(|| format!("somebody listens at {address} already: end that first"))?;
    let mut shell = Command::new("sh");
    // Not as the shell's child: it is measured, and ended, by its process id.
    shell.args(["-c", &format!("exec {command}")]);
    let mut process = spawn("bench-proxy", shell)?;
    wait_for("the proxy to listen at 127.0.0.1:1324", PATIENCE, || {
        process.still_runs().with_context(|| process.log().unwrap_or_default())?;
        Ok(TcpStream::connect(address).is_ok().then_some(()))
    })?;
    Ok((process, address))
}

/// Starts a program with a log of its own, without what an earlier one has left there.
pub(crate) fn spawn(name: &str, command: Command) -> Result<Process> {
    let folder = built_programs()?;
    let log = folder.join(format!("{name}.log"));
    if log.exists() {
        fs::remove_file(log)?;
    }
    Process::spawn(name, command, &folder)
}

/// What a thread returned.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// The processes of a group.
fn members(group: i32) -> Result<Vec<Pid>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else {
            continue;
        };
        // One that has ended meanwhile is in no group.
        if getpgid(Some(id)).is_ok_and(|its| its.as_raw() == group) {
            members.push(id);
        }
    }
    Ok(members)
}

/// How long the processes of a command may take to end.
const GRACE: Duration = Duration::from_secs(5);

const READY: &str = "ready, listening on ";
