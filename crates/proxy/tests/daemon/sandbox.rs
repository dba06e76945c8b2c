//! What is left to whoever takes the daemon over. The sandbox is for the thread that applies it and
//! those that it starts: each test gives it to a thread of its own, and so to a runtime.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use anyhow::{Context, Result, ensure};
use bip324_proxy::{listen, sandbox};
use bip324_sock_diag::SockDiag;
use bip324_testkit::peer::within;
use bip324_transport::v2::{KeyExchange, Role};
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, raise};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::forbidden::{CLONE3, FORBIDDEN};
use crate::harness::*;
use crate::program::{Folder, Program};

/// On a thread of its own, which the sandbox may keep.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(work).join().expect("no panic")
}

/// As the daemon's.
fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

#[test]
fn i6_forbidden_calls_fail_in_workers_and_blocking_threads() -> Result<()> {
    apart(|| {
        sandbox::apply(&[])?;
        let runtime = runtime()?;
        runtime.block_on(async {
            let here = thread::current().id();
            let worker = tokio::spawn(async { (thread::current().id(), assert_all_forbidden()) });
            let blocking = spawn_blocking(|| (thread::current().id(), assert_all_forbidden()));
            let (worker, blocking) = (worker.await?, blocking.await?);
            ensure!(worker.0 != here && blocking.0 != here && worker.0 != blocking.0);
            worker.1.context("a worker")?;
            blocking.1.context("a blocking thread")
        })
    })
}

fn assert_all_forbidden() -> Result<()> {
    for call in FORBIDDEN {
        ensure!(call.errno() == Some(Errno::EPERM), "{}: {:?}", call.name, call.run());
    }
    ensure!(CLONE3.errno() == Some(Errno::ENOSYS), "clone3: {:?}", CLONE3.run());
    Ok(())
}

#[test]
fn i6_without_the_sandbox_nobody_refuses_those_calls() -> Result<()> {
    for call in FORBIDDEN.iter().filter(|call| call.anybody) {
        ensure!(call.errno() != Some(Errno::EPERM), "{}", call.name);
    }
    ensure!(CLONE3.errno() == Some(Errno::EINVAL), "clone3: {:?}", CLONE3.errno());
    Ok(())
}

#[test]
fn i6_what_std_offers_is_refused_too() -> Result<()> {
    apart(|| {
        sandbox::apply(&[])?;
        let refused = |error: Option<io::Error>| {
            error.is_some_and(|error| error.raw_os_error() == Some(libc::EPERM))
        };
        ensure!(refused(File::open("/etc/passwd").err()));
        ensure!(refused(File::create("/dev/null").err()));
        ensure!(refused(std::fs::read_dir("/").err()));
        ensure!(refused(Command::new("/bin/true").status().err()));
        ensure!(refused(std::net::TcpListener::bind("127.0.0.1:0").err()));
        ensure!(refused(std::net::TcpListener::bind("[::1]:0").err()));
        Ok(())
    })
}

#[test]
fn i6_what_the_daemon_needs_works() -> Result<()> {
    let folder = Folder::new()?;
    let path = folder.0.join("notify");
    let manager = UnixDatagram::bind(&path)?;
    manager.set_nonblocking(true)?;
    let listener = listen::bind(&[(Ipv4Addr::LOCALHOST, 0).into()])?.remove(0);
    apart(move || {
        sandbox::apply(&[])?;
        let runtime = runtime()?;
        runtime.block_on(async {
            tokio::spawn(assert_serves(listener)).await??;
            spawn_blocking(move || assert_system_answers(&path)).await?
        })
    })?;
    let mut buffer = [0; 16];
    let length = manager.recv(&mut buffer)?;
    ensure!(buffer[..length] == *b"READY=1");
    Ok(())
}

/// Accepts, connects, and knows the time and signals.
async fn assert_serves(listener: std::net::TcpListener) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (mut near, (mut far, _)) = (near?, far?);
    near.set_nodelay(true)?;
    near.write_all(&[7]).await?;
    ensure!(far.read_u8().await? == 7);
    ensure!(SockDiag::open()?.listener(address)?.is_some(), "sock_diag does not know it");
    let mut urgent = signal(SignalKind::from_raw(Signal::SIGURG as i32))?;
    raise(Signal::SIGURG)?;
    within("the signal", urgent.recv()).await?.context("no signal")?;
    tokio::time::sleep(millis(1)).await;
    Ok(())
}

/// More threads, memory that comes and goes, interfaces, randomness, panics, the service manager.
fn assert_system_answers(manager: &Path) -> Result<()> {
    let busy: Vec<_> = (0..32)
        .map(|_| thread::Builder::new().name("busy".into()).spawn(|| vec![1_u8; 8 << 20].len()))
        .collect::<io::Result<_>>()?;
    for thread in busy {
        ensure!(thread.join().is_ok_and(|length| length == 8 << 20));
    }
    ensure!(nix::ifaddrs::getifaddrs()?.count() > 0);
    let keys =
        [(); 2].map(|()| KeyExchange::new(Role::Initiator, MAGIC).map(|keys| keys.first_flight()));
    ensure!(keys[0].as_ref().ok() != keys[1].as_ref().ok());
    ensure!(!std::backtrace::Backtrace::force_capture().to_string().is_empty());
    ensure!(std::panic::catch_unwind(|| panic!("as meant")).is_err());
    UnixDatagram::unbound()?.send_to(b"READY=1", manager)?;
    Ok(())
}

#[test]
fn i6_a_configuration_is_readable_and_nothing_else() -> Result<()> {
    let (folder, other) = (Folder::new()?, Folder::new()?);
    let (ours, other) = (folder.0.join("ours.toml"), other.0.join("other"));
    std::fs::write(&ours, "ports = [8333]")?;
    std::fs::write(&other, "secret")?;
    let link = folder.0.join("link.toml");
    std::os::unix::fs::symlink(&other, &link)?;
    apart(move || {
        let readable = folder.0.clone();
        ensure!(sandbox::apply(&[readable])?.is_readable());
        ensure!(std::fs::read_to_string(&ours)? == "ports = [8333]");
        ensure!(std::fs::read_dir(&folder.0)?.count() == 2);
        let errno = |result: io::Result<File>| result.err().and_then(|error| error.raw_os_error());
        ensure!(errno(OpenOptions::new().write(true).open(&ours)) == Some(libc::EPERM));
        ensure!(errno(File::create(folder.0.join("new"))) == Some(libc::EPERM));
        for path in [other.as_path(), &link, Path::new("/etc/passwd"), Path::new("/")] {
            ensure!(errno(File::open(path)) == Some(libc::EACCES), "{path:?}");
        }
        // Nor can it be asked what lies elsewhere, which Landlock does not restrict.
        let asked = std::fs::metadata(&other).err().and_then(|error| error.raw_os_error());
        ensure!(asked == Some(libc::EPERM), "{asked:?}");
        Ok(())
    })
}

/// As where it lies in /etc.
#[test]
fn i6_a_file_is_readable_without_its_folder() -> Result<()> {
    let folder = Folder::new()?;
    let [ours, beside] = ["ours.toml", "beside"].map(|name| folder.0.join(name));
    std::fs::write(&ours, "ports = [8333]")?;
    std::fs::write(&beside, "secret")?;
    apart(move || {
        ensure!(sandbox::apply(std::slice::from_ref(&ours))?.is_readable());
        ensure!(std::fs::read_to_string(&ours)? == "ports = [8333]");
        let errno = |result: io::Result<File>| result.err().and_then(|error| error.raw_os_error());
        ensure!(errno(OpenOptions::new().write(true).open(&ours)) == Some(libc::EPERM));
        for path in [&beside, &folder.0] {
            ensure!(errno(File::open(path)) == Some(libc::EACCES), "{path:?}");
        }
        Ok(())
    })
}

/// seccomp alone cannot tell one file from another.
#[test]
fn i6_without_landlock_not_even_the_configuration_is_readable() -> Result<()> {
    let folder = Folder::new()?;
    let ours = folder.0.join("ours.toml");
    std::fs::write(&ours, "")?;
    apart(move || {
        refuse(&[libc::SYS_landlock_create_ruleset], libc::ENOSYS)?;
        ensure!(!sandbox::apply(std::slice::from_ref(&folder.0))?.is_readable());
        let refused = File::open(&ours).err().and_then(|error| error.raw_os_error());
        ensure!(refused == Some(libc::EPERM), "{refused:?}");
        Ok(())
    })
}

#[test]
fn i6_what_the_kernel_lacks_is_left_out_and_said() -> Result<()> {
    for (errno, remark) in [(libc::ENOSYS, "no Landlock"), (libc::EOPNOTSUPP, "not enabled")] {
        let missing = apart(move || {
            refuse(&[libc::SYS_landlock_create_ruleset], errno)?;
            anyhow::Ok(sandbox::apply(&[])?.missing())
        })?;
        let missing = missing.context("nothing is missing")?;
        ensure!(missing.contains(remark) && !missing.contains("seccomp"), "{missing}");
    }
    let missing = apart(|| {
        refuse(&[libc::SYS_seccomp], libc::ENOSYS)?;
        let missing = sandbox::apply(&[])?.missing();
        let refused = File::open("/etc/passwd").err().and_then(|error| error.raw_os_error());
        ensure!(refused == Some(libc::EACCES), "Landlock alone does not refuse files");
        Ok(missing)
    })?;
    ensure!(missing.is_some_and(|missing| missing.contains("no seccomp")));
    Ok(())
}

#[test]
fn i6_any_other_failure_is_an_error() {
    for (call, errno) in [
        (libc::SYS_seccomp, libc::EPERM),
        (libc::SYS_seccomp, libc::EINVAL),
        (libc::SYS_landlock_restrict_self, libc::EPERM),
        (libc::SYS_landlock_restrict_self, libc::ENOSYS),
    ] {
        let applied = apart(move || {
            refuse(&[call], errno).expect("a filter");
            sandbox::apply(&[]).is_ok()
        });
        assert!(!applied, "system call {call} failed with {errno}");
    }
}

/// As a kernel does that lacks these system calls, or a service manager that filters them.
fn refuse(calls: &[libc::c_long], errno: i32) -> Result<()> {
    let rules = calls.iter().map(|&call| (call, vec![])).collect();
    let refusal = SeccompAction::Errno(errno.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture)?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

#[tokio::test]
async fn i6_sandbox_status_says_what_is_in_force() -> Result<()> {
    let program = Program::start()?;
    for mut command in [program.command(), program.command_as_we_are()] {
        let Output { status, stdout, stderr } = command.arg("--sandbox-status").output()?;
        let (said, errors) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        ensure!(status.success(), "{status}: {said}{errors}");
        for line in [
            "no_new_privs: set",
            "capabilities: none",
            "seccomp: in force",
            "landlock: in force, ABI ",
            "readable, for a reload: /",
        ] {
            ensure!(said.lines().any(|said| said.starts_with(line)), "{line}? {said}");
        }
        ensure!(said.matches("\nrefused: ").count() == 7 && !said.contains("NOT"), "{said}");
    }
    Ok(())
}
