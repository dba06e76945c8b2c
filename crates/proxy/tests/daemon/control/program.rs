//! The real program, in its sandbox.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use bip324_control::{Answer, Request, SOCKET, Scope};
use bip324_testkit::peer::{End, PATIENCE};
use nix::sys::signal::Signal;
use nix::unistd::{chown, geteuid};

use super::Talker;
use crate::harness::*;
use crate::program::{Folder, NOBODY, Program};

/// Where the daemon's user may make a socket.
fn place() -> Result<(Folder, PathBuf)> {
    let folder = Folder::new()?;
    if geteuid().is_root() {
        chown(&folder.0, Some(NOBODY.into()), Some(NOBODY.into()))?;
    }
    let path = folder.0.join("control.sock");
    Ok((folder, path))
}

#[tokio::test]
async fn it_is_served_from_within_the_sandbox() -> Result<()> {
    let (_folder, path) = place()?;
    let mut program = Program::start_with(&["--control", &path.to_string_lossy()])?;
    ensure!(fs::metadata(&path)?.mode() & 0o7777 == 0o660);
    let (mut client, mut peer) = program.open().await?;
    let mut talker = Talker::to(&path).await?;
    let [session] = &talker.sessions().await?[..] else { anyhow::bail!("not one session") };
    ensure!(session.session_id == Some(peer.id.to_string()) && !session.redirected);
    ensure!(session.uid == Some(geteuid().as_raw()), "{:?}", session.uid);
    ensure!(talker.status().await?.pid == program.id);

    let set = Request::Log { level: Some("debug".to_owned()) };
    ensure!(talker.ask(&set).await? == Answer::Log { level: "debug".to_owned() });
    program.open().await?;
    program.process.wait_for_log("debug", PATIENCE, |log| log.find("session established"))?;
    talker.ask(&Request::Close { id: 1 }).await?;
    ensure!(client.rest().await? == (vec![], End::Reset));
    ensure!(peer.wire.rest().await? == (vec![], End::Reset));
    ensure!(!program.process.log()?.contains("WARN"), "{}", program.process.log()?);
    Ok(())
}

#[tokio::test]
async fn the_daemon_s_own_user_sees_all() -> Result<()> {
    let (_folder, path) = place()?;
    let program = Program::start_with(&["--control", &path.to_string_lossy()])?;
    let _session = program.open().await?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    for (uid, scope, count) in [(NOBODY, Scope::All, 1), (0, Scope::All, 1), (4711, Scope::Own, 0)]
    {
        let answer = Talker::to_as(&path, uid)?.ask(&Request::Sessions {}).await?;
        let Answer::Sessions { scope: told, sessions } = answer else {
            anyhow::bail!("{answer:?}")
        };
        ensure!(told == scope && sessions.len() == count, "{uid}: {told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_daemon_s_socket_is_replaced_and_a_living_one_s_never() -> Result<()> {
    let (_folder, path) = place()?;
    let arguments = ["--control", &path.to_string_lossy()];
    let mut program = Program::start_with(&arguments)?;
    let second = program.command().args(["--listen", "127.0.0.1:0"]).args(arguments).output()?;
    let said = String::from_utf8(second.stderr)?;
    ensure!(second.status.code() == Some(69) && said.contains("another program listens"), "{said}");
    ensure!(Talker::to(&path).await?.status().await?.pid == program.id);

    program.process.signal(Signal::SIGKILL)?;
    program.process.wait_for_end(PATIENCE)?;
    ensure!(path.exists() && Talker::to(&path).await.is_err());
    let program = Program::start_with(&arguments)?;
    ensure!(Talker::to(&path).await?.status().await?.pid == program.id);
    Ok(())
}

#[tokio::test]
async fn one_that_is_named_must_be_possible_and_the_default_need_not() -> Result<()> {
    let (folder, path) = place()?;
    let missing = folder.0.join("missing/control.sock");
    let program = Program::start_with(&[])?;
    let warned = program.process.log()?;
    ensure!(!std::path::Path::new(SOCKET).exists(), "a daemon runs here");
    ensure!(warned.matches("WARN").count() == 1, "{warned}");
    ensure!(
        warned.contains(&format!("WARN no control socket: cannot listen on {SOCKET}: ")),
        "{warned}"
    );
    let (mut client, mut peer) = program.open().await?;
    assert_served(&mut client, &mut peer).await?;

    let missing = missing.to_string_lossy().into_owned();
    let output =
        program.command().args(["--listen", "127.0.0.1:0", "--control", &missing]).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(69) && said.contains("its folder must be there"),
        "{said}"
    );
    program.configure(&format!("control = '{missing}'\n"))?;
    let output = program.command().args(["--listen", "127.0.0.1:0"]).output()?;
    ensure!(output.status.code() == Some(69), "{output:?}");
    ensure!(!path.exists());
    Ok(())
}

#[tokio::test]
async fn one_that_is_passed_is_served_and_stays() -> Result<()> {
    let (_folder, path) = place()?;
    let control = UnixListener::bind(&path)?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let sockets = [control.as_fd(), listener.as_fd()];
    for _ in 0..2 {
        let mut program = Program::start_passed(&sockets, Some("control:transparent"))?;
        let status = Talker::to(&path).await?.status().await?;
        ensure!(status.listeners == [listener.local_addr()?] && status.pid == program.id);
        ensure!(!program.process.log()?.contains("WARN"), "{}", program.process.log()?);
        program.process.signal(Signal::SIGTERM)?;
        program.process.wait_for_end(PATIENCE)?;
    }
    let program = Program::start_with(&[])?;
    let mut command = program.command_passed(&sockets, "control:transparent")?;
    let output = command.args(["--control", "/tmp/other.sock"]).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(78) && said.contains("leave that out"), "{said}");
    Ok(())
}
