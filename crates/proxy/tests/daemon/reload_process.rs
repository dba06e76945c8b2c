//! The configuration files of the real program: read at the start, at SIGHUP, and to be printed.

use std::fs;
use std::io::{self, ErrorKind};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use bip324_testkit::activation::Notifications;
use bip324_testkit::peer::PATIENCE;
use nix::sys::signal::Signal;

use crate::harness::*;
use crate::program::Program;

/// Has it read its configuration again; returns the line that it logs.
fn reload(program: &mut Program) -> Result<String> {
    let before = program.process.log()?.len();
    program.process.signal(Signal::SIGHUP)?;
    program.process.wait_for_log("the reload", PATIENCE, |log| {
        let new = log.get(before..)?;
        new.lines().find(|line| line.contains("reloaded") && new.ends_with('\n')).map(str::to_owned)
    })
}

/// A new connection is reset: so early, perhaps, that connect(2) tells of it.
async fn assert_turned_away(program: &Program) -> Result<()> {
    match program.connect().await {
        Ok(mut client) => assert_refused(&mut client).await,
        Err(error) => {
            ensure!(error.downcast::<io::Error>()?.kind() == ErrorKind::ConnectionReset);
            Ok(())
        }
    }
}

/// What it tells of a reload: the beginning with its time, the end with what came of it.
fn told(manager: &Notifications) -> Result<String> {
    let begun = manager.next(PATIENCE)?.context("it does not say that it reloads")?;
    let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").context("no time")?;
    ensure!(time.parse::<u64>()? > 0, "{begun}");
    let done = manager.next(PATIENCE)?.context("it does not say that it has reloaded")?;
    Ok(done.strip_prefix("READY=1\nSTATUS=").context("no status")?.to_owned())
}

#[tokio::test]
async fn a_reload_changes_what_it_can_and_says_what() -> Result<()> {
    let (mut program, manager) = Program::start_configured("direct = 'any'\n")?;
    let (mut client, mut session) = program.open().await?;

    program.configure("direct = 'any'\nlog = 'debug'\nmax_sessions = 1\n")?;
    let line = reload(&mut program)?;
    let changed = "reloaded: max_sessions from 512 to 1, max_memory from 256 to 64, \
                   log from \"info\" to \"debug\"";
    ensure!(line.ends_with(changed), "{line}");
    ensure!(told(&manager)? == changed);
    assert_turned_away(&program).await?;
    let full = |log: &str| log.find("all 1 sessions of --max-sessions are taken");
    program.process.wait_for_log("the refusal", PATIENCE, full)?;
    ensure!(!program.process.log()?.contains("session established"));
    assert_served(&mut client, &mut session).await?;

    program.configure("direct = 'any'\nlog = 'debug'\n")?;
    reload(&mut program)?;
    let _other = program.open().await?;
    program.process.wait_for_log("debug", PATIENCE, |log| log.find("session established"))?;

    program.configure("direct = 'off'\n")?;
    let line = reload(&mut program)?;
    ensure!(
        line.ends_with("direct from \"any\" to \"off\", log from \"debug\" to \"info\""),
        "{line}"
    );
    assert_turned_away(&program).await?;
    assert_served(&mut client, &mut session).await?;

    let line = reload(&mut program)?;
    ensure!(line.ends_with("reloaded, and nothing changed"), "{line}");
    Ok(())
}

/// systemd would ignore a longer one, and with it that the reload is over.
#[tokio::test]
async fn a_change_too_long_to_tell_is_cut() -> Result<()> {
    let (mut program, manager) = Program::start_configured("")?;
    let ports: Vec<u16> = (10_000..13_000).collect();
    program.configure(&format!("direct_ports = {ports:?}\n"))?;
    let line = reload(&mut program)?;
    ensure!(line.contains("direct_ports from [8333, ") && line.ends_with(" ..."), "{line}");
    let status = told(&manager)?;
    ensure!(status.len() < 2100 && line.ends_with(&status), "{} bytes", status.len());
    Ok(())
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_said_in_one_line() -> Result<()> {
    let (mut program, manager) = Program::start_configured("direct = 'any'\n")?;
    let (mut client, mut session) = program.open().await?;
    let path = program.folder().join("config.toml").display().to_string();
    for (text, reason) in [
        (
            Some("direct = 'off'\nmax_session = 1\n"),
            ":2: unknown key `max_session`: did you mean `max_sessions`?",
        ),
        (
            Some("direct = 'off'\nmax_sessions = 0\n"),
            ":2: `max_sessions`: 0 is not a number from 1 to 250000",
        ),
        (Some("direct = off\n"), ":1: "),
        (None, ": No such file or directory (os error 2)"),
    ] {
        match text {
            Some(text) => drop(program.configure(text)?),
            None => fs::remove_file(&path)?,
        }
        let before = program.process.log()?.len();
        let line = reload(&mut program)?;
        ensure!(line.contains(" ERROR not reloaded, everything stays as it was: "), "{line}");
        ensure!(line.contains(&format!("{path}{reason}")), "{line}");
        ensure!(program.process.log()?[before..].lines().count() == 1);
        let status = told(&manager)?;
        ensure!(line.ends_with(&status), "{status}");
        assert_served(&mut client, &mut session).await?;
        program.open().await?;
    }
    program.configure("direct = 'any'\n")?;
    let line = reload(&mut program)?;
    ensure!(line.ends_with("reloaded, and nothing changed"), "{line}");
    Ok(())
}

#[tokio::test]
async fn what_waits_for_a_restart_is_named_until_then() -> Result<()> {
    let (mut program, _manager) = Program::start_configured("direct = 'any'\n")?;
    program.configure("direct = 'any'\ngroup = 'root'\nports = [1]\non_exit = 'open'\n")?;
    let waits =
        "reloaded, and nothing changed; only at the next start: group from not given to \"root\"";
    for _ in 0..2 {
        let line = reload(&mut program)?;
        ensure!(line.contains(" WARN ") && line.ends_with(waits), "{line}");
    }
    program.configure("direct = 'any'\nlisten = ['127.0.0.1:9']\nlog = 'warn'\n")?;
    let line = reload(&mut program)?;
    // The command line says where to listen.
    ensure!(line.ends_with("reloaded: log from \"info\" to \"warn\""), "{line}");
    let (mut client, mut session) = program.open().await?;
    assert_served(&mut client, &mut session).await
}

#[tokio::test]
async fn the_default_files_are_read_again_from_within_the_sandbox() -> Result<()> {
    let mut program = Program::start_in_etc(Some("direct = 'off'\n"))?;
    assert_turned_away(&program).await?;
    program.write_etc("config.d/50-site.toml", "direct = 'any'\n")?;
    let line = reload(&mut program)?;
    ensure!(line.ends_with("direct from \"off\" to \"any\""), "{line}");
    let (mut client, mut session) = program.open().await?;
    program.write_etc("config.toml", "max_sessions = 7\n")?;
    let line = reload(&mut program)?;
    ensure!(line.contains("max_sessions from 512 to 7"), "{line}");
    assert_served(&mut client, &mut session).await?;

    let etc = program.folder().join("etc/bip324-proxy");
    std::os::unix::fs::symlink("/etc/passwd", etc.join("config.d/60-link.toml"))?;
    let line = reload(&mut program)?;
    let refused = "cannot read /etc/bip324-proxy/config.d/60-link.toml: Permission denied";
    ensure!(line.contains(refused), "{line}");
    fs::remove_file(etc.join("config.d/60-link.toml"))?;
    fs::remove_file(etc.join("config.toml"))?;
    let line = reload(&mut program)?;
    ensure!(line.contains("max_sessions from 7 to 512"), "{line}");
    std::os::unix::fs::symlink("/none", etc.join("config.toml"))?;
    let line = reload(&mut program)?;
    let nowhere = "cannot read /etc/bip324-proxy/config.toml: No such file or directory";
    ensure!(line.contains("not reloaded") && line.contains(nowhere), "{line}");
    Ok(())
}

/// The sandbox leaves that file open, and not the rest of /etc.
#[tokio::test]
async fn a_file_in_etc_itself_is_read_again_as_long_as_it_is_the_same() -> Result<()> {
    let mut program = Program::start_by_file_in_etc("ours.toml", "max_sessions = 7\n")?;
    let path = program.folder().join("etc/ours.toml");
    fs::write(&path, "max_sessions = 8\n")?;
    let line = reload(&mut program)?;
    ensure!(line.contains("max_sessions from 7 to 8"), "{line}");
    let other = path.with_file_name("other.toml");
    fs::write(&other, "max_sessions = 9\n")?;
    fs::rename(&other, &path)?;
    let line = reload(&mut program)?;
    let refused = "cannot read /etc/ours.toml: Permission denied (os error 13): \
                   if it is another file by now, restart the daemon";
    ensure!(line.contains("not reloaded") && line.ends_with(refused), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_weaker_policy_is_a_warning() -> Result<()> {
    let (mut program, manager) = Program::start_configured("passthrough = false\n")?;
    for (text, end) in [
        (
            "passthrough = false\nmax_sessions = 9\n",
            " INFO reloaded: max_sessions from 512 to 9, max_memory from 256 to 64",
        ),
        (
            "direct = 'any'\nfallback = 'v1'\nmax_sessions = 9\n",
            " WARN reloaded, and weaker by direct, fallback, passthrough: direct from \"public\" to \
             \"any\", fallback from \"reject\" to \"v1\", passthrough from false to true",
        ),
        (
            "direct = 'off'\nfallback = 'v1'\nmax_sessions = 9\n",
            " INFO reloaded: direct from \"any\" to \"off\"",
        ),
    ] {
        program.configure(text)?;
        let line = reload(&mut program)?;
        ensure!(line.ends_with(end), "{line}");
        ensure!(line.ends_with(&told(&manager)?));
    }
    Ok(())
}

#[tokio::test]
async fn without_the_folder_at_the_start_a_reload_says_to_restart() -> Result<()> {
    let mut program = Program::start_in_etc(None)?;
    fs::create_dir(program.folder().join("etc/bip324-proxy"))?;
    program.write_etc("config.toml", "direct = 'off'\n")?;
    let line = reload(&mut program)?;
    ensure!(line.contains("not reloaded, everything stays as it was: "), "{line}");
    ensure!(line.contains("/etc/bip324-proxy was not there") && line.contains("restart"), "{line}");
    Ok(())
}

#[test]
fn what_cannot_be_printed_is_said() -> Result<()> {
    for arguments in ["--check-config", "--print-config"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bip324-proxy"));
        command.args([arguments, "--config", "/dev/null"]);
        let full = fs::File::options().write(true).open("/dev/full")?;
        let Output { status, stderr, .. } = command.stdout(full).output()?;
        let said = String::from_utf8(stderr)?;
        ensure!(said.starts_with("bip324-proxy: cannot write the output: "), "{said}");
        ensure!(status.code() == Some(71), "{status}");
    }
    Ok(())
}

/// Runs it to its end with these arguments.
fn finish(program: &Program, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut said = Vec::new();
    for mut command in [program.command(), program.command_as_we_are()] {
        let Output { status, stdout, stderr } = command.args(arguments).output()?;
        said.push((status.code(), String::from_utf8([stdout, stderr].concat())?));
    }
    ensure!(said.windows(2).all(|two| two[0] == two[1]), "{said:?}");
    said.pop().context("nothing ran")
}

#[tokio::test]
async fn check_config_says_whether_the_files_can_be_used() -> Result<()> {
    let program = Program::start_with(&[])?;
    let path = program.configure("max_sessions = 7\n")?.display().to_string();
    let good = finish(&program, &["--check-config"])?;
    ensure!(good == (Some(0), format!("the configuration can be used: {path}\n")), "{good:?}");

    program.configure("\nmax_session = 7\n")?;
    let reason = "unknown key `max_session`: did you mean `max_sessions`?";
    let bad = format!("bip324-proxy: {path}:2: {reason}\n");
    for arguments in [&["--check-config"][..], &["--print-config"], &["--sandbox-status"], &[]] {
        let said = finish(&program, arguments)?;
        ensure!(said == (Some(78), bad.clone()), "{arguments:?}: {said:?}");
    }
    fs::remove_file(&path)?;
    let said = finish(&program, &["--check-config"])?;
    ensure!(said.0 == Some(66) && said.1.contains("cannot read "), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn print_config_prints_what_is_in_effect_and_reads_back() -> Result<()> {
    let program = Program::start_with(&[])?;
    let path = program.configure("\nmax_sessions = 7\nlog = 'warn'\n")?.display().to_string();
    let arguments = ["--print-config", "--log", "debug", "--port", "1", "--port", "2"];
    let (code, printed) = finish(&program, &arguments)?;
    ensure!(code == Some(0), "{printed}");
    for lines in [
        &format!("# From {path}:2.\nmax_sessions = 7\n"),
        "# From the command line.\nlog = \"debug\"\n",
        "# From the command line.\ndirect_ports = [1, 2]\n",
        "# From the default.\nmax_memory = 64\n",
        "# From the default.\ndirect = \"public\"\n",
    ] {
        ensure!(printed.contains(lines), "{lines}? {printed}");
    }
    program.configure(&printed)?;
    let (_, again) = finish(&program, &["--print-config"])?;
    let said = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("# "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    ensure!(said(&printed) == said(&again), "{again}");
    Ok(())
}
