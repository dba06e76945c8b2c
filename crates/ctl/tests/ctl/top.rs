//! `bip324ctl top` in a real terminal: what it shows, and how it leaves the terminal behind.

use std::env;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use bip324_control::{Event, Kind, Request, Session};
use bip324_ctl::top::screen::Screen;
use bip324_testkit::tmux::Tmux;
use bip324_testkit::wait::{PATIENCE, wait_for};

use crate::daemon::Daemon;
use crate::sample::{session, status};
use crate::server::Place;

/// A dashboard of three sessions.
struct Stage {
    terminal: Tmux,
    daemon: Option<Daemon>,
    place: Place,
}

impl Stage {
    fn new() -> Result<Self> {
        let place = Place::new();
        let daemon = Daemon::start(&place, sessions());
        let terminal = Tmux::start(place.socket().parent().unwrap(), 80, 24)?;
        let stage = Self { terminal, daemon: Some(daemon), place };
        stage.start("")?;
        Ok(stage)
    }

    fn start(&self, environment: &str) -> Result<()> {
        let (program, socket) = (env!("CARGO_BIN_EXE_bip324ctl"), self.place.socket());
        let line = format!("{environment} {program} --socket {} top", socket.display());
        self.terminal.enter(&line)?;
        self.terminal.wait_for("the dashboard", |screen| screen.contains("user's 3 by")).map(drop)
    }

    /// Presses a key, and waits until the screen has this on it.
    fn press(&self, key: &str, expected: &str) -> Result<String> {
        self.terminal.press(&[key])?;
        self.terminal.wait_for(&format!("{expected:?} after {key}"), |s| s.contains(expected))
    }

    fn tell(&self, event: Event) {
        self.daemon.as_ref().unwrap().tell(event);
    }
}

fn sessions() -> Vec<Session> {
    [Kind::V2, Kind::Passthrough, Kind::Fallback]
        .into_iter()
        .zip(1..)
        .map(|(k, n)| session(n, k))
        .collect()
}

#[test]
fn top_shows_moves_filters_and_closes() -> Result<()> {
    let stage = Stage::new()?;
    let screen = stage.terminal.screen()?;
    ensure!(screen.contains("v2 saved 480.0 kB (4.0 %): v1 12.0 MB, v2 11.5 MB"), "{screen}");
    stage.press("Enter", "Session 1: encrypted: v1 from the client")?;
    stage.press("Down", "Session 2: encrypted by the client itself")?;
    stage.press("Up", "0000 0000 0000 0000 0000 0bad cafe 0001")?;
    stage.press("Escape", "Enter detail")?;
    stage.press("s", "3 by rate")?;
    stage.press("r", "by rate, reversed")?;
    stage.press("/", "Filter: _")?;
    stage.terminal.enter("plain")?;
    stage.terminal.wait_for("one row", |screen| screen.contains("1 of this user's 3"))?;
    stage.press("x", "Close session 3 to 203.0.113.2:8333? y closes it")?;
    stage.press("n", "session 3 stays")?;
    stage.press("x", "Close session 3")?;
    stage.terminal.press(&["y"])?;
    let daemon = stage.daemon.as_ref().unwrap();
    wait_for("the request", PATIENCE, || {
        Ok(daemon.requests().contains(&Request::Close { id: 3 }).then_some(()))
    })?;
    stage.tell(Event::Closed { session: session(3, Kind::Fallback), reason: "closed".to_owned() });
    stage.terminal.wait_for("the end", |screen| {
        screen.contains("session 3 has ended: closed") && screen.contains("no session matches")
    })?;
    stage.press("?", "back to the shell; fg goes on")?;
    stage.press("q", "no session matches")?;
    stage.terminal.press(&["q"])?;
    stage.terminal.require_shell()
}

#[test]
fn top_follows_the_events_and_the_size_of_the_terminal() -> Result<()> {
    let stage = Stage::new()?;
    stage.tell(Event::Opened { session: session(44, Kind::V2) });
    let mut now = status();
    now.uptime += 1000;
    let mut busy = session(1, Kind::V2);
    busy.to_client.peer_bytes += 123_400;
    stage.tell(Event::Traffic { status: Box::new(now), sessions: vec![busy] });
    stage.terminal.wait_for("the traffic", |screen| {
        screen.contains("123.4 kB") && screen.contains("\n    44 ") && screen.contains("\u{2588}")
    })?;
    for (columns, rows, expected) in [(160, 50, "PEER'S AGENT"), (30, 8, "1 v2"), (80, 24, "TREND")]
    {
        stage.terminal.resize(columns, rows)?;
        let screen = stage.terminal.wait_for("the new size", |s| s.contains(expected))?;
        ensure!(screen.lines().all(|line| line.chars().count() <= columns.into()), "{screen}");
    }
    Ok(())
}

#[test]
fn top_waits_for_a_daemon_that_is_gone() -> Result<()> {
    let mut stage = Stage::new()?;
    drop(stage.daemon.take());
    let gone = |screen: &str| screen.contains("NOT CONNECTED, trying again: there is no /tmp/");
    let screen = stage.terminal.wait_for("the end of the daemon", gone)?;
    ensure!(screen.contains("203.0.113.2:8333"), "what was known is still there:\n{screen}");
    stage.daemon = Some(Daemon::start(&stage.place, vec![session(7, Kind::V2)]));
    stage.terminal.wait_for("the daemon", |screen| {
        screen.contains("the daemon is back") && screen.contains("user's 1 by")
    })?;
    Ok(())
}

#[test]
fn top_gives_the_terminal_back_however_it_ends() -> Result<()> {
    let stage = Stage::new()?;
    for key in ["C-c", "q"] {
        stage.terminal.press(&[key])?;
        stage.terminal.require_shell()?;
        stage.start("")?;
    }
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let program = stage.terminal.program()?.to_string();
        ensure!(Command::new("kill").args(["-s", signal, &program]).status()?.success());
        stage.terminal.require_shell()?;
        stage.start("NO_COLOR=1")?;
    }
    for stop in ["key", "signal"] {
        if stop == "key" {
            stage.terminal.press(&["C-z"])?;
        } else {
            let program = stage.terminal.program()?.to_string();
            ensure!(Command::new("kill").args(["-s", "TSTP", &program]).status()?.success());
        }
        stage.terminal.require_shell()?;
        stage.terminal.enter("fg")?;
        stage.terminal.wait_for("the dashboard", |screen| screen.contains("user's 3 by"))?;
    }
    Ok(())
}

/// Started as itself in a terminal, this test takes the screen and panics.
#[test]
fn top_gives_the_terminal_back_when_it_panics() -> Result<()> {
    const NAME: &str = "top::top_gives_the_terminal_back_when_it_panics";
    if env::var_os("BIP324_TEST_PANIC").is_some() {
        let _screen = Screen::enter()?;
        panic!("as it was asked to");
    }
    let place = Place::new();
    let terminal = Tmux::start(place.socket().parent().unwrap(), 80, 24)?;
    let program = env::current_exe()?;
    terminal.enter(&format!(
        "RUST_BACKTRACE=0 BIP324_TEST_PANIC=1 {} --exact {NAME} --nocapture",
        program.display()
    ))?;
    terminal.wait_for("the panic", |screen| screen.contains("as it was asked to"))?;
    terminal.require_shell()
}

#[test]
fn top_prints_lines_where_it_cannot_draw() -> Result<()> {
    let stage = Stage::new()?;
    stage.terminal.press(&["q"])?;
    stage.terminal.require_shell()?;
    let (program, socket) = (env!("CARGO_BIN_EXE_bip324ctl"), stage.place.socket());
    let dumb = format!("TERM=dumb {program} --socket {} top", socket.display());
    stage.terminal.enter(&dumb)?;
    let line = "1 v2, 1 passthrough, 1 PLAINTEXT; up 0 B/s, down 0 B/s; v2 saved 480.0 kB";
    stage.terminal.wait_for("a line", |screen| screen.contains(line))?;
    stage.terminal.press(&["C-c"])?;
    stage.terminal.require_shell()?;

    let mut piped = stage.place.command(&["top"]).stdout(Stdio::piped()).spawn()?;
    let mut said = String::new();
    let out = piped.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said)?;
    ensure!(said.starts_with(line), "{said}");
    // Its reader is gone: the next line ends it, without a word.
    stage.tell(Event::Closed { session: session(2, Kind::Passthrough), reason: "x".to_owned() });
    let status = wait_for("its end", PATIENCE, || Ok(piped.try_wait()?))?;
    ensure!(status.code() == Some(74), "{status}");
    Ok(())
}
