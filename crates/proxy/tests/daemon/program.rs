//! The real program, started as an unprivileged user, and what the kernel says about it.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::activation::{Notifications, passing};
use bip324_testkit::peer::{PATIENCE, Peer, Session, Wire, within};
use bip324_testkit::process::{Process, output};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;
use tokio::net::TcpStream;

use crate::harness::*;
use crate::journal::Journal;

/// `bip324-proxy --direct any` on a free port, as an unprivileged user.
pub(crate) struct Program {
    pub(crate) process: Process,
    folder: Folder,
    pub(crate) address: SocketAddr,
    pub(crate) id: u32,
}

/// A folder that is removed with all that is in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Program {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with_descriptors(1024)
    }

    /// With these arguments, and the ordinary limits.
    pub(crate) fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::start_by(unprivileged(Command::new("env")), arguments)
    }

    /// With these sockets passed to it, and these names of theirs, instead of an address.
    pub(crate) fn start_passed(sockets: &[BorrowedFd<'_>], names: Option<&str>) -> Result<Self> {
        let command = unprivileged(passing(sockets, names)?);
        Self::start_in(Folder::new()?, command, &MANY_SESSIONS)
    }

    /// With a service manager that it notifies, and these variables of that one.
    pub(crate) fn start_notifying(variables: &[(&str, &str)]) -> Result<(Self, Notifications)> {
        let folder = Folder::new()?;
        let notifications = Notifications::open(&folder.0)?;
        let (name, path) = notifications.variable();
        let mut command = unprivileged(Command::new("env"));
        command.env(name, path).envs(variables.iter().copied());
        Ok((Self::start_in(folder, command, &LISTEN)?, notifications))
    }

    /// With these variables.
    pub(crate) fn start_in_environment(variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = unprivileged(Command::new("env"));
        command.envs(variables.iter().copied());
        Self::start_by(command, &[])
    }

    /// With a journal that reads its standard error, and takes entries.
    pub(crate) fn start_with_journal(arguments: &[&str]) -> Result<(Self, Journal)> {
        ensure!(geteuid().is_root(), "run this test as root");
        let folder = Folder::new()?;
        let journal = Journal::open(&folder.0)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", WITH_JOURNAL]).arg(&journal.folder);
        command.args(["setpriv", &format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}")]);
        command.arg("--clear-groups").arg(program(&folder)?).args(["--direct", "any"]).args(LISTEN);
        command.args(arguments).arg("--config").arg(configure(&folder, "")?);
        let process = Process::spawn("daemon", command, &folder.0)?;
        let ready = journal.wait_for("ready, listening on ")?;
        let address = ready.get("MESSAGE").and_then(|line| line.rsplit(' ').next());
        let (address, id) = (address.context("no address")?.parse()?, process.id());
        Ok((Self { process, folder, address, id }, journal))
    }

    /// With a limit to its open files that it cannot raise.
    pub(crate) fn start_with_descriptors(limit: u32) -> Result<Self> {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}:{limit}"));
        Self::start_by(unprivileged(command), &MANY_SESSIONS)
    }

    /// With CAP_SETPCAP, which only root can give it.
    pub(crate) fn start_with_setpcap() -> Result<Self> {
        ensure!(geteuid().is_root(), "run this test as root");
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
        command.args(["--clear-groups", "--inh-caps=+setpcap", "--ambient-caps=+setpcap"]);
        Self::start_by(command, &MANY_SESSIONS)
    }

    /// With this in its configuration file, and no argument but where it is and a free port, and a
    /// service manager that it notifies.
    pub(crate) fn start_configured(text: &str) -> Result<(Self, Notifications)> {
        let folder = Folder::new()?;
        let notifications = Notifications::open(&folder.0)?;
        let (name, path) = notifications.variable();
        let mut command = unprivileged(Command::new("env"));
        command.env(name, path).arg(program(&folder)?).args(LISTEN);
        command.arg("--config").arg(configure(&folder, text)?);
        let program = Self::spawn(folder, command)?;
        ensure!(notifications.next(PATIENCE)?.as_deref() == Some("READY=1"));
        Ok((program, notifications))
    }

    /// With an /etc of its own that has the folder of the configuration and this in its file, or not
    /// even the folder.
    pub(crate) fn start_in_etc(text: Option<&str>) -> Result<Self> {
        let folder = Self::etc()?;
        if let Some(text) = text {
            let ours = folder.0.join("etc/bip324-proxy");
            fs::create_dir_all(ours.join("config.d"))?;
            fs::write(ours.join("config.toml"), text)?;
        }
        Self::start_in_its_etc(folder, &[])
    }

    /// With an /etc of its own that has this in a file right there, which it is told.
    pub(crate) fn start_by_file_in_etc(file: &str, text: &str) -> Result<Self> {
        let folder = Self::etc()?;
        fs::write(folder.0.join("etc").join(file), text)?;
        Self::start_in_its_etc(folder, &["--config", &format!("/etc/{file}")])
    }

    fn etc() -> Result<Folder> {
        ensure!(geteuid().is_root(), "run this test as root");
        let folder = Folder::new()?;
        let etc = folder.0.join("etc");
        fs::create_dir(&etc)?;
        for (file, text) in [("passwd", "root:x:0:0::/:\n"), ("group", "root:x:0:\n")] {
            fs::write(etc.join(file), text)?;
        }
        Ok(folder)
    }

    fn start_in_its_etc(folder: Folder, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", r#"mount --bind "$0" /etc && exec "$@""#]);
        command.arg(folder.0.join("etc"));
        command.args(["setpriv", &format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}")]);
        command.arg("--clear-groups").arg(program(&folder)?).args(LISTEN).args(arguments);
        Self::spawn(folder, command)
    }

    /// Replaces a file of that /etc as package managers do: by another one.
    pub(crate) fn write_etc(&self, file: &str, text: &str) -> Result<()> {
        replace(&self.folder.0.join("etc/bip324-proxy").join(file), text)
    }

    /// Replaces its configuration file in the same way.
    pub(crate) fn configure(&self, text: &str) -> Result<PathBuf> {
        configure(&self.folder, text)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// By a command that runs the one in its last arguments.
    fn start_by(command: Command, arguments: &[&str]) -> Result<Self> {
        Self::start_in(Folder::new()?, command, &[&LISTEN, arguments].concat())
    }

    fn start_in(folder: Folder, mut command: Command, arguments: &[&str]) -> Result<Self> {
        command.arg(program(&folder)?).args(["--direct", "any"]).args(arguments);
        // Not the file of the machine that the tests run on.
        command.arg("--config").arg(configure(&folder, "")?);
        Self::spawn(folder, command)
    }

    fn spawn(folder: Folder, command: Command) -> Result<Self> {
        let mut process = Process::spawn("daemon", command, &folder.0)?;
        let address = process.wait_for_log("where it listens", PATIENCE, |log| {
            let (_, rest) = log.split_once("ready, listening on ")?;
            rest.lines().next()?.split(',').next()?.trim().parse().ok()
        })?;
        let id = process.id();
        Ok(Self { process, folder, address, id })
    }

    /// The same program once more, with the same configuration, yet to be started.
    pub(crate) fn command(&self) -> Command {
        let mut command = unprivileged(Command::new(self.folder.0.join(NAME)));
        command.arg("--config").arg(self.folder.0.join(CONFIG));
        command
    }

    /// As [`Self::command`], but as root where the tests are: enough where nobody is served.
    pub(crate) fn command_as_we_are(&self) -> Command {
        let mut command = Command::new(self.folder.0.join(NAME));
        command.arg("--config").arg(self.folder.0.join(CONFIG));
        command
    }

    /// As [`Self::command`], with these sockets passed to it.
    pub(crate) fn command_passed(
        &self,
        sockets: &[BorrowedFd<'_>],
        names: &str,
    ) -> Result<Command> {
        let mut command = unprivileged(passing(sockets, Some(names))?);
        command.arg(self.folder.0.join(NAME)).arg("--config").arg(self.folder.0.join(CONFIG));
        Ok(command)
    }

    /// A client that has sent VERSION, and its peer, which has sent nothing.
    pub(crate) async fn meet(&self) -> Result<(Wire, Session)> {
        self.meet_on(self.connect().await?).await
    }

    async fn meet_on(&self, mut client: Wire) -> Result<(Wire, Session)> {
        let peer = Peer::listen().await?;
        let version = version_to(peer.address()?, "/light:1.0/");
        client.write(&message("version", &version)).await?;
        Ok((client, peer.meet(MAGIC).await?))
    }

    /// An established session.
    pub(crate) async fn open(&self) -> Result<(Wire, Session)> {
        self.open_on(self.connect().await?).await
    }

    /// An established session of this client.
    pub(crate) async fn open_on(&self, client: Wire) -> Result<(Wire, Session)> {
        let (mut client, mut session) = self.meet_on(client).await?;
        let opening = session.opening(&[]);
        session.wire.write(&opening).await?;
        session.finish().await?;
        ensure!(session.message().await?.0 == command("version"));
        pass_to_client(&mut session, &mut client).await?;
        Ok((client, session))
    }

    pub(crate) async fn connect(&self) -> Result<Wire> {
        Wire::new(within("the daemon to listen", TcpStream::connect(self.address)).await??)
    }

    /// Forgets the largest amount of memory used so far, and returns what is used now, in KiB.
    pub(crate) fn start_memory_watch(&self) -> Result<u64> {
        fs::write(format!("/proc/{}/clear_refs", self.id), "5")?;
        self.peak_memory()
    }

    /// The largest amount of memory used since the watch began, in KiB.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        kibibytes(&self.status("VmHWM")?)
    }

    /// Memory that it has asked for, used or not, in KiB.
    pub(crate) fn allocated_memory(&self) -> Result<u64> {
        kibibytes(&self.status("VmData")?)
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.id))?.count())
    }

    /// A value of /proc/PID/status.
    pub(crate) fn status(&self, name: &str) -> Result<String> {
        field(&fs::read_to_string(format!("/proc/{}/status", self.id))?, name)
    }

    /// Processor time used so far. The kernel counts in hundredths of a second.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * times.sum::<Result<u64, _>>()?))
    }

    /// Runs several sessions at once, so that every thread has its share of memory before it is
    /// measured.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        let mut sessions = Vec::new();
        for _ in 0..20 {
            sessions.push(self.open().await?);
        }
        for (client, session) in &mut sessions {
            assert_served(client, session).await?;
        }
        Ok(())
    }
}

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Other users run the program in it, whatever the caller's umask.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let name = format!("bip324-daemon-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        // Not `temp_dir()`: $TMPDIR may be a place that only its owner can enter.
        let folder = Path::new("/tmp").join(name);
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The program under test, where any user may run it: the checkout may be closed to others.
fn program(folder: &Folder) -> Result<PathBuf> {
    let copy = folder.0.join(NAME);
    // By install: a program that another thread's child inherits open for writing cannot be started.
    let mut command = Command::new("install");
    command.args(["-m", "755"]).arg(env!("CARGO_BIN_EXE_bip324-proxy")).arg(&copy);
    output(command)?;
    Ok(copy)
}

/// Writes the configuration file of the program in `folder`.
fn configure(folder: &Folder, text: &str) -> Result<PathBuf> {
    let path = folder.0.join(CONFIG);
    replace(&path, text)?;
    Ok(path)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

/// The daemon refuses to run as root, so a test that does runs it as nobody.
fn unprivileged(mut command: Command) -> Command {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn kibibytes(value: &str) -> Result<u64> {
    Ok(value.trim_end_matches("kB").trim().parse()?)
}

pub(crate) fn field(status: &str, name: &str) -> Result<String> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("no {name}"))?.trim().to_owned())
}

/// Puts the folder $0 where the journal's sockets are, and names standard error as systemd does.
const WITH_JOURNAL: &str = r#"
    set -e
    mount -t tmpfs none /run
    mkdir -p /run/systemd/journal
    mount --bind "$0" /run/systemd/journal
    JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
    export JOURNAL_STREAM
    exec "$@"
"#;

/// A free port.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// All clients of a test are one user's.
const MANY_SESSIONS: [&str; 2] = ["--max-direct-per-user", "512"];

/// uid and gid that own nothing.
/// Of no account, and no other daemon's. Not 65534, which the control socket takes for no user at all.
pub(crate) const NOBODY: u32 = 64999;

const NAME: &str = "bip324-proxy";

const CONFIG: &str = "config.toml";
