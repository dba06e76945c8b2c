//! The real program: what only a process of its own can show. Memory, descriptors, signals,
//! privileges, logs and exit codes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::{End, PATIENCE, Peer, Session, Wire, within};
use bip324_testkit::process::{Process, output};
use bip324_transport::limits::{MAX_CONTENTS, MAX_PAYLOAD};
use bip324_transport::v2::KEY_LEN;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::*;

/// `bip324-proxy --direct any` on a free port, as an unprivileged user.
struct Program {
    process: Process,
    folder: Folder,
    address: SocketAddr,
    id: u32,
}

/// A folder that is removed with all that is in it.
struct Folder(PathBuf);

impl Program {
    fn start() -> Result<Self> {
        Self::start_with_descriptors(1024)
    }

    /// With a limit to its open files that it cannot raise.
    fn start_with_descriptors(limit: u32) -> Result<Self> {
        let folder = Folder::new()?;
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={limit}:{limit}")).arg(program(&folder)?);
        command.args(["--listen", "127.0.0.1:0", "--direct", "any"]);
        let mut process = Process::spawn("daemon", unprivileged(command), &folder.0)?;
        let address = process.wait_for_log("where it listens", PATIENCE, |log| {
            let (_, rest) = log.split_once("ready, listening on ")?;
            rest.lines().next()?.trim().parse().ok()
        })?;
        let id = process.id();
        Ok(Self { process, folder, address, id })
    }

    /// A client that has sent VERSION, and its peer, which has sent nothing.
    async fn meet(&self) -> Result<(Wire, Session)> {
        let peer = Peer::listen().await?;
        let mut client = self.connect().await?;
        let version = version_to(peer.address()?, "/light:1.0/");
        client.write(&message("version", &version)).await?;
        Ok((client, peer.meet(MAGIC).await?))
    }

    /// An established session.
    async fn open(&self) -> Result<(Wire, Session)> {
        let (mut client, mut session) = self.meet().await?;
        let opening = session.opening(&[]);
        session.wire.write(&opening).await?;
        session.finish().await?;
        ensure!(session.message().await?.0 == command("version"));
        pass_to_client(&mut session, &mut client).await?;
        Ok((client, session))
    }

    async fn connect(&self) -> Result<Wire> {
        Wire::new(within("the daemon to listen", TcpStream::connect(self.address)).await??)
    }

    /// Forgets the largest amount of memory used so far, and returns what is used now, in KiB.
    fn start_memory_watch(&self) -> Result<u64> {
        fs::write(format!("/proc/{}/clear_refs", self.id), "5")?;
        self.peak_memory()
    }

    /// The largest amount of memory used since the watch began, in KiB.
    fn peak_memory(&self) -> Result<u64> {
        let value = self.status("VmHWM")?;
        Ok(value.trim_end_matches("kB").trim().parse()?)
    }

    /// A value of /proc/PID/status.
    fn status(&self, name: &str) -> Result<String> {
        field(&fs::read_to_string(format!("/proc/{}/status", self.id))?, name)
    }

    /// Processor time used so far. The kernel counts in hundredths of a second.
    fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id))?;
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        let times = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * times.sum::<Result<u64, _>>()?))
    }

    /// Runs several sessions at once, so that every thread has its share of memory before it is
    /// measured.
    async fn warm_up(&self) -> Result<()> {
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
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("bip324-daemon-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
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
    let copy = folder.0.join("bip324-proxy");
    // By cp: a program that another thread's child inherits open for writing cannot be started.
    let mut command = Command::new("cp");
    command.arg(env!("CARGO_BIN_EXE_bip324-proxy")).arg(&copy);
    output(command)?;
    Ok(copy)
}

/// The daemon refuses to run as root, so a test that does runs it as nobody.
fn unprivileged(mut command: Command) -> Command {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn field(status: &str, name: &str) -> Result<String> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("no {name}"))?.trim().to_owned())
}

/// What a hostile client and peer do to each other's session.
enum Attack {
    /// The client announces a v1 message of this length.
    ClientAnnounces(u32),
    /// The client's VERSION announces this length.
    VersionAnnounces(u32),
    /// The peer announces a packet of this length in the handshake.
    PeerAnnouncesEarly(usize),
    /// The peer announces a packet of this length in an established session.
    PeerAnnounces(usize),
    /// The peer never stops to send garbage.
    Garbage,
    /// The peer never stops to send decoys before its version packet.
    EarlyDecoys,
    /// The peer sends nothing but decoys in an established session.
    Decoys,
}

impl Attack {
    /// Carries it out, up to the end of the session where it must come at once.
    async fn run(&self, program: &Program) -> Result<()> {
        match *self {
            Self::ClientAnnounces(length) => {
                let (mut client, _session) = program.open().await?;
                client.write(&header_announcing("block", length)).await?;
                refused_unless(length as usize <= MAX_PAYLOAD, &mut client).await
            }
            Self::VersionAnnounces(length) => {
                let mut client = program.connect().await?;
                client.write(&header_announcing("version", length)).await?;
                assert_refused(&mut client).await
            }
            Self::PeerAnnouncesEarly(length) => {
                let (mut client, mut session) = program.meet().await?;
                let announced = session.seal.length(length);
                let bytes = [&session.key[..], &session.terminator, &announced].concat();
                session.wire.write(&bytes).await?;
                refused_unless(length <= MAX_CONTENTS, &mut client).await
            }
            Self::PeerAnnounces(length) => {
                let (mut client, mut session) = program.open().await?;
                let announced = session.seal.length(length);
                session.wire.write(&announced).await?;
                refused_unless(length <= MAX_CONTENTS, &mut client).await
            }
            Self::Garbage => {
                let (mut client, mut session) = program.meet().await?;
                let mut taken = 0;
                while session.wire.write(&[0xAA; 65536]).await.is_ok() {
                    taken += 65536;
                    ensure!(taken < 64 << 20, "64 MiB of garbage were taken");
                }
                assert_refused(&mut client).await
            }
            Self::EarlyDecoys => {
                let (_client, mut session) = program.meet().await?;
                session.wire.write(&[&session.key[..], &session.terminator].concat()).await?;
                send_decoys(&mut session).await
            }
            Self::Decoys => {
                let (mut client, mut session) = program.open().await?;
                send_decoys(&mut session).await?;
                assert_served(&mut client, &mut session).await
            }
        }
    }
}

fn header_announcing(name: &str, length: u32) -> Vec<u8> {
    let mut header = message(name, &[]);
    header[16..20].copy_from_slice(&length.to_le_bytes());
    header
}

/// A legal length does not end the session: what counts then is what has been allocated for it.
async fn refused_unless(legal: bool, client: &mut Wire) -> Result<()> {
    if legal { Ok(()) } else { assert_refused(client).await }
}

/// 20 MB of them.
async fn send_decoys(session: &mut Session) -> Result<()> {
    for _ in 0..5000 {
        let decoy = session.seal.packet(0x80, &[0; 4000]);
        session.wire.write(&decoy).await?;
    }
    Ok(())
}

#[tokio::test]
async fn g2_hostile_input_costs_less_than_a_mebibyte_and_its_own_session_alone() -> Result<()> {
    let program = Program::start()?;
    let (mut client, mut session) = program.open().await?;
    program.warm_up().await?;
    let attacks = [
        Attack::ClientAnnounces(u32::MAX),
        Attack::ClientAnnounces(4_000_001),
        Attack::ClientAnnounces(4_000_000),
        Attack::VersionAnnounces(u32::MAX),
        Attack::PeerAnnouncesEarly((1 << 24) - 1),
        Attack::PeerAnnouncesEarly(MAX_CONTENTS),
        Attack::PeerAnnounces((1 << 24) - 1),
        Attack::PeerAnnounces(MAX_CONTENTS),
        Attack::Garbage,
        Attack::EarlyDecoys,
        Attack::Decoys,
    ];
    for (number, attack) in attacks.iter().enumerate() {
        let before = program.start_memory_watch()?;
        attack.run(&program).await.with_context(|| format!("attack {number}"))?;
        assert_served(&mut client, &mut session).await?;
        let more = program.peak_memory()?.saturating_sub(before);
        ensure!(more < 1024, "attack {number} took {more} KiB");
    }
    Ok(())
}

#[tokio::test]
async fn g2_memory_follows_the_bytes_received() -> Result<()> {
    let program = Program::start()?;
    let (mut client, mut session) = program.open().await?;
    program.warm_up().await?;
    let before = program.start_memory_watch()?;
    // The control: a message that does arrive is seen in the figures.
    let block = vec![0; MAX_PAYLOAD];
    let (sent, arrived) =
        tokio::join!(session.send_message("block", &block), client.message(MAGIC));
    sent?;
    arrived?;
    let more = program.peak_memory()?.saturating_sub(before);
    ensure!((4000..20_000).contains(&more), "a message of 4 MB took {more} KiB");
    Ok(())
}

#[tokio::test]
async fn f12_without_descriptors_it_waits_and_recovers() -> Result<()> {
    let program = Program::start_with_descriptors(40)?;
    let (mut client, mut session) = program.open().await?;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(program.connect().await?);
    }
    let failed = |log: &str| log.matches("cannot accept connections").count();
    let waiting = || program.process.log().is_ok_and(|log| failed(&log) > 0);
    eventually("accept to fail", waiting).await?;

    let (start, before) = (Instant::now(), program.processor_time()?);
    while start.elapsed() < millis(1500) {
        assert_served(&mut client, &mut session).await?;
        tokio::time::sleep(millis(50)).await;
    }
    let used = program.processor_time()? - before;
    ensure!(used < millis(500), "{used:?} of processor time while accept fails");

    drop(idle);
    let (mut client, mut session) = program.open().await?;
    assert_served(&mut client, &mut session).await?;
    let log = program.process.log()?;
    ensure!(failed(&log) <= 2, "the log is flooded:\n{log}");
    ensure!(log.contains("accepting connections again"), "{log}");
    Ok(())
}

#[tokio::test]
async fn f11_sigterm_and_sigint_drain_and_end_with_success() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut program = Program::start()?;
        let (mut client, mut session) = program.open().await?;
        program.process.signal(signal)?;
        program.process.wait_for_log("the signal", PATIENCE, |log| log.find("stopping"))?;
        assert_served(&mut client, &mut session).await?;
        client.finish().await?;
        ensure!(session.wire.rest().await? == (vec![], End::Fin));
        session.wire.finish().await?;
        ensure!(client.rest().await? == (vec![], End::Fin));
        let status = program.process.wait_for_end(PATIENCE)?;
        ensure!(status.success(), "{signal}: {status}");
    }
    Ok(())
}

#[tokio::test]
async fn f10_killed_it_leaves_resets_and_refusals() -> Result<()> {
    let mut program = Program::start()?;
    let (mut client, mut session) = program.open().await?;
    // Bytes under way make the kernel answer for the dead with a reset.
    program.process.signal(Signal::SIGSTOP)?;
    let stopped = || program.status("State").is_ok_and(|state| state.starts_with('T'));
    eventually("the daemon to stop", stopped).await?;
    client.write(&message("ping", b"8 bytes!")).await?;
    session.send_message("ping", b"8 bytes!").await?;
    program.process.signal(Signal::SIGKILL)?;
    ensure!(client.rest().await? == (vec![], End::Reset));
    ensure!(session.wire.rest().await? == (vec![], End::Reset));
    program.process.wait_for_end(PATIENCE)?;
    ensure!(TcpStream::connect(program.address).await.is_err(), "somebody still listens");
    Ok(())
}

#[tokio::test]
async fn i5_the_log_names_no_address_and_no_session() -> Result<()> {
    let mut program = Program::start()?;
    let (client, session) = program.open().await?;
    let (mut refused, mut hostile) = program.meet().await?;
    let _ = hostile.wire.write(&[0; KEY_LEN + 4111]).await;
    assert_refused(&mut refused).await?;
    let mut secrets = vec![session.id.to_string(), "light".to_owned()];
    for wire in [&client, &session.wire, &refused, &hostile.wire] {
        secrets.push(format!(":{}", wire.stream.local_addr()?.port()));
    }
    program.process.wait_for_log("the refusal", PATIENCE, |log| log.find("refused"))?;
    let log = program.process.log()?;
    for secret in secrets {
        ensure!(!log.contains(&secret), "{secret} is in the log:\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn f17_a_flood_of_connections_is_no_flood_of_log_lines() -> Result<()> {
    let program = Program::start()?;
    for _ in 0..300 {
        let mut client = program.connect().await?;
        client.write(&message("verack", &[])).await?;
        assert_refused(&mut client).await?;
    }
    let log = program.process.log()?;
    let lines = log.matches("refused").count();
    ensure!((1..=10).contains(&lines), "{lines} lines:\n{log}");
    Ok(())
}

#[tokio::test]
async fn i6_no_thread_holds_or_can_gain_a_privilege() -> Result<()> {
    let program = Program::start()?;
    program.warm_up().await?;
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", program.id))?.collect();
    ensure!(threads.len() > 1, "the runtime has not started yet");
    for thread in threads {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            ensure!(field(&status, set)? == "0000000000000000", "{set}");
        }
        ensure!(field(&status, "NoNewPrivs")? == "1");
    }
    Ok(())
}

#[tokio::test]
async fn exit_codes_are_those_of_sysexits() -> Result<()> {
    let program = Program::start()?;
    let taken = program.address.to_string();
    for (arguments, code, text) in [
        (&["--listen", taken.as_str()][..], 69, "cannot listen on"),
        (&["--group", "no-such-group"], 78, "there is no group no-such-group"),
        (&["--port", "0"], 64, "--port"),
        (&["--version"], 0, "bip324-proxy"),
    ] {
        let mut command = Command::new(program.folder.0.join("bip324-proxy"));
        command.args(arguments);
        let output = unprivileged(command).output()?;
        let said = String::from_utf8([output.stdout, output.stderr].concat())?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}: {said}", output.status);
        ensure!(said.contains(text), "{arguments:?}: {said}");
    }
    Ok(())
}

/// uid and gid that own nothing.
const NOBODY: u32 = 65534;
