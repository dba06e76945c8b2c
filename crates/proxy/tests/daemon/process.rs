//! What only a process of its own can show: descriptors, signals, privileges, logs, exit codes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use bip324_proxy::Timeouts;
use bip324_testkit::peer::{End, PATIENCE};
use bip324_transport::v2::KEY_LEN;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::*;
use crate::program::{Program, field};

#[tokio::test]
async fn f12_without_descriptors_it_waits_and_recovers() -> Result<()> {
    let program = Program::start_with_descriptors(40)?;
    let (mut client, mut session) = program.open().await?;
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(program.connect().await?);
    }
    let lines = |text| program.process.log().map_or(0, |log| log.matches(text).count());
    eventually("accept to fail", || lines("cannot accept connections") > 0).await?;

    let (start, before) = (Instant::now(), program.processor_time()?);
    while start.elapsed() < millis(1500) {
        // Accept succeeds once whenever somebody leaves.
        idle.remove(0);
        idle.push(program.connect().await?);
        assert_served(&mut client, &mut session).await?;
        tokio::time::sleep(millis(50)).await;
    }
    let used = program.processor_time()? - before;
    ensure!(used < millis(500), "{used:?} of processor time while accept fails");

    ensure!(lines("accepting connections again") == 0, "{}", program.process.log()?);

    drop(idle);
    let (mut client, mut session) = program.open().await?;
    assert_served(&mut client, &mut session).await?;
    let start = Instant::now();
    while lines("accepting connections again") == 0 {
        ensure!(start.elapsed() < 2 * PATIENCE, "no recovery:\n{}", program.process.log()?);
        program.connect().await?;
        tokio::time::sleep(millis(50)).await;
    }
    ensure!(lines("cannot accept connections") == 1, "{}", program.process.log()?);
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
async fn f11_a_second_signal_ends_the_drain() -> Result<()> {
    for signals in [[Signal::SIGTERM, Signal::SIGTERM], [Signal::SIGINT, Signal::SIGTERM]] {
        let mut program = Program::start()?;
        let (mut client, mut session) = program.open().await?;
        let [first, second] = signals;
        program.process.signal(first)?;
        program.process.wait_for_log("the signal", PATIENCE, |log| log.find("stopping"))?;
        assert_served(&mut client, &mut session).await?;
        let start = Instant::now();
        program.process.signal(second)?;
        let status = program.process.wait_for_end(PATIENCE)?;
        ensure!(status.success(), "{signals:?}: {status}");
        ensure!(start.elapsed() < Timeouts::default().drain / 4, "{:?}", start.elapsed());
        client.rest().await?;
        session.wire.rest().await?;
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

/// One that the daemon takes with it as it ends is no exception.
#[tokio::test]
async fn the_debug_log_has_one_line_for_each_end_of_a_session() -> Result<()> {
    let mut program = Program::start_with(&["--log", "debug"])?;
    drop(program.open().await?);
    let process = &mut program.process;
    process.wait_for_log("an end", PATIENCE, |log| log.find("session ended: "))?;
    let _open = program.open().await?;
    for told in ["stopping", "stopped"] {
        program.process.signal(Signal::SIGTERM)?;
        program.process.wait_for_log(told, PATIENCE, |log| log.find(told))?;
    }
    program.process.wait_for_end(PATIENCE)?;
    let log = program.process.log()?;
    let ids = |what: &str| -> Vec<_> {
        let lines = log.lines().filter(|line| line.contains(what));
        lines.filter_map(|line| Some(line.split_once(" id=")?.1)).collect()
    };
    for what in ["session established", "session ended: "] {
        ensure!(ids(what) == ["1", "2"], "{log}");
    }
    ensure!(log.contains("session ended: the daemon ended it"), "{log}");
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
    assert_unprivileged(&program, &["CapInh", "CapPrm", "CapEff", "CapAmb"]).await
}

#[tokio::test]
async fn i6_what_may_clear_the_bounding_set_does() -> Result<()> {
    let program = Program::start_with_setpcap()?;
    assert_unprivileged(&program, &["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"]).await
}

/// These capability sets are empty in every thread.
async fn assert_unprivileged(program: &Program, sets: &[&str]) -> Result<()> {
    program.warm_up().await?;
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", program.id))?.collect();
    ensure!(threads.len() > 1, "the runtime has not started yet");
    for thread in threads {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        for set in sets {
            ensure!(field(&status, set)? == "0000000000000000", "{set}");
        }
        ensure!(field(&status, "NoNewPrivs")? == "1");
        ensure!(field(&status, "Seccomp")? == "2", "a thread without the filter");
    }
    Ok(())
}

/// Another process of the same user would need to own these files to read the daemon's memory.
#[tokio::test]
async fn i6_its_memory_is_out_of_reach_of_its_own_user() -> Result<()> {
    let program = Program::start()?;
    let ours = fs::metadata("/proc/self/mem")?.uid();
    ensure!(ours == geteuid().as_raw(), "owners in /proc do not tell what they should");
    for file in ["mem", "environ"] {
        let owner = fs::metadata(format!("/proc/{}/{file}", program.id))?.uid();
        ensure!(owner == 0, "{file} belongs to {owner}");
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
        let output = program.command().args(arguments).output()?;
        let said = String::from_utf8([output.stdout, output.stderr].concat())?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {}: {said}", output.status);
        ensure!(said.contains(text), "{arguments:?}: {said}");
    }
    Ok(())
}
