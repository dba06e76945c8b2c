//! H6 and the service manager: listeners that are passed, and what it is told.

use std::env::temp_dir;
use std::fs::remove_file;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::Output;

use anyhow::{Context, Result, ensure};
use bip324_testkit::peer::{PATIENCE, Wire, within};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use crate::harness::*;
use crate::program::Program;

#[tokio::test]
async fn h6_passed_listeners_are_served_and_outlive_the_daemon() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut program = Program::start_passed(&[listener.as_fd()], Some("transparent"))?;
    ensure!(program.address == listener.local_addr()?);
    let (mut client, mut session) = program.open().await?;
    assert_served(&mut client, &mut session).await?;

    program.process.signal(Signal::SIGKILL)?;
    program.process.wait_for_end(PATIENCE)?;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(program.connect().await?);
    }
    let program = Program::start_passed(&[listener.as_fd()], Some("transparent"))?;
    for client in waiting {
        let (mut client, mut session) = program.open_on(client).await?;
        assert_served(&mut client, &mut session).await?;
    }
    Ok(())
}

#[tokio::test]
async fn h6_every_passed_listener_is_served_whatever_its_family() -> Result<()> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("[::]:0")?];
    let sockets = [listeners[0].as_fd(), listeners[1].as_fd()];
    let program = Program::start_passed(&sockets, None)?;
    let [v4, v6] = [listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()];
    // The last one takes IPv4 connections, too.
    for (ip, port) in [("127.0.0.1", v4), ("::1", v6), ("127.0.0.1", v6)] {
        let client = within("a connection", TcpStream::connect((ip, port))).await??;
        let (mut client, mut session) = program.open_on(Wire::new(client)?).await?;
        assert_served(&mut client, &mut session).await?;
    }
    Ok(())
}

#[tokio::test]
async fn h6_a_passed_listener_is_never_dialled() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut program = Program::start_passed(&[listener.as_fd()], Some("transparent"))?;
    let mut client = program.connect().await?;
    client.write(&message("version", &version_to(program.address, "/loop:1/"))).await?;
    assert_refused(&mut client).await?;
    program.process.wait_for_log("the refusal", PATIENCE, |log| {
        log.find("the destination is this proxy itself")
    })?;
    Ok(())
}

#[tokio::test]
async fn h6_what_is_passed_by_mistake_is_named_with_the_key_to_mend() -> Result<()> {
    let program = Program::start()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let path = temp_dir().join(format!("bip324-activation-{}", program.id));
    let local = UnixListener::bind(&path)?;
    remove_file(path)?;
    let connection = std::net::TcpStream::connect(listener.local_addr()?)?;
    let listen = ["--listen", "127.0.0.1:0"];
    for (socket, name, arguments, text) in [
        (listener.as_fd(), "other", &[][..], "FileDescriptorName=transparent"),
        (listener.as_fd(), "control", &[], "ListenStream= to an absolute path"),
        (local.as_fd(), "transparent", &[], "ListenStream="),
        (connection.as_fd(), "transparent", &[], "Accept=no"),
        (listener.as_fd(), "transparent", &listen, "leave --listen out"),
        (listener.as_fd(), "transparent:transparent", &[], "LISTEN_FDNAMES"),
    ] {
        let mut command = program.command_passed(&[socket], name)?;
        let Output { status, stderr, .. } = command.args(arguments).output()?;
        let said = String::from_utf8(stderr)?;
        ensure!(status.code() == Some(78), "{name}: {status}: {said}");
        ensure!(said.contains(text) && said.lines().count() == 1, "{name}: {said}");
    }
    Ok(())
}

/// What is meant for another process, as for the shell that started this one.
#[tokio::test]
async fn h6_listeners_for_another_process_are_left_alone() -> Result<()> {
    let program = Program::start_with(&[])?;
    let output = program
        .command()
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "control")
        .args(["--listen", &program.address.to_string()])
        .output()?;
    ensure!(output.status.code() == Some(69), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn the_service_manager_is_told_of_start_stop_and_every_turn() -> Result<()> {
    let (mut program, told) = Program::start_notifying(&[("WATCHDOG_USEC", "300000")])?;
    ensure!(told.next(PATIENCE)?.as_deref() == Some("READY=1"));
    for _ in 0..5 {
        ensure!(told.next(PATIENCE)?.as_deref() == Some("WATCHDOG=1"));
    }
    program.process.signal(Signal::SIGSTOP)?;
    while told.next(millis(1000))?.is_some() {}
    program.process.signal(Signal::SIGCONT)?;
    ensure!(told.next(PATIENCE)?.as_deref() == Some("WATCHDOG=1"));

    program.process.signal(Signal::SIGTERM)?;
    // A last ping or two may come before.
    while told.next(PATIENCE)?.context("it does not say that it stops")? != "STOPPING=1" {}
    ensure!(program.process.wait_for_end(PATIENCE)?.success());
    Ok(())
}

#[tokio::test]
async fn without_a_watchdog_the_service_manager_is_left_in_peace() -> Result<()> {
    let (_program, told) = Program::start_notifying(&[])?;
    ensure!(told.next(PATIENCE)?.as_deref() == Some("READY=1"));
    ensure!(told.next(millis(500))?.is_none());
    Ok(())
}
