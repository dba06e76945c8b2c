//! What `bip324ctl top` costs: the processor time that it takes in a terminal while each of some
//! hundred sessions carries something every second.
//!
//!     cargo bench -p bip324-ctl [-- --sessions N] [-- --seconds N]
//!
//! The daemon is a scripted one, in this process; the terminal is tmux. Counted is drawing, once all is as
//! it stays, and what the program starts: with the default of 60 seconds one proof of the rules, which
//! comes each minute and is `bip324-setup check` where that is installed. Fails above 1 % of a core.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "of the scripted daemon, which is the tests'"
)]

#[path = "../tests/ctl/daemon.rs"]
#[expect(dead_code, reason = "of what the tests use, this takes a part")]
mod daemon;
#[path = "../src/sample.rs"]
mod sample;
#[path = "../tests/ctl/server.rs"]
#[expect(dead_code, reason = "as above")]
mod server;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bip324_control::{Event, Kind};
use bip324_testkit::tmux::Tmux;
use nix::unistd::{SysconfVar, sysconf};

use crate::daemon::Daemon;
use crate::server::Place;

fn main() -> Result<()> {
    let sessions = option("--sessions", 500)?;
    let seconds = option("--seconds", 60)?;
    let place = Place::new();
    let all = (1..=sessions).map(|id| sample::session(id, Kind::V2)).collect();
    let daemon = Daemon::start(&place, all);
    let terminal = Tmux::start(place.socket().parent().context("no folder")?, COLUMNS, ROWS)?;
    let (program, socket) = (env!("CARGO_BIN_EXE_bip324ctl"), place.socket());
    terminal.enter(&format!("{program} --socket {} top", socket.display()))?;
    let listed = format!("user's {sessions} by");
    terminal.wait_for("the dashboard", |screen| screen.contains(&listed))?;
    terminal.press(&["s"])?;
    terminal.wait_for("the order by rate", |screen| screen.contains("by rate"))?;

    let program = terminal.program()?;
    let mut start = (Instant::now(), cpu(program)?);
    for second in 1..=WARM_UP + seconds {
        daemon.tell(traffic(sessions, second));
        std::thread::sleep(Duration::from_secs(1));
        if second == WARM_UP {
            start = (Instant::now(), cpu(program)?);
        }
    }
    let (elapsed, used) = (start.0.elapsed(), cpu(program)?.saturating_sub(start.1));
    let screen = terminal.screen()?;
    ensure!(screen.contains(" kB/s") && screen.contains(&listed), "it was not drawn:\n{screen}");
    let percent = used.as_secs_f64() * 100.0 / elapsed.as_secs_f64();
    println!(
        "bip324ctl top, {sessions} sessions, all busy, {COLUMNS}x{ROWS}: {percent:.2} % of a core \
         ({used:.2?} in {elapsed:.1?}; at most {TARGET} %)"
    );
    ensure!(percent <= TARGET, "above the target");
    Ok(())
}

/// Each session has received some kilobytes more than the second before.
fn traffic(sessions: u64, second: u64) -> Event {
    let mut status = sample::status();
    status.uptime += second * 1000;
    let busy = |id| {
        let mut session = sample::session(id, Kind::V2);
        session.age += second * 1000;
        session.to_client.peer_bytes += (1000 + id) * second;
        session.to_client.client_bytes += (1100 + id) * second;
        session
    };
    status.traffic.v2_to_client.peer_bytes += sessions * 1200 * second;
    Event::Traffic { status: Box::new(status), sessions: (1..=sessions).map(busy).collect() }
}

/// What a process and its children that have ended have used (proc_pid_stat(5)).
fn cpu(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(4);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>()).sum::<Result<_, _>>()?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock")?;
    Ok(Duration::from_secs_f64(ticks as f64 / a_second as f64))
}

fn option(name: &str, default: u64) -> Result<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    Ok(arguments.next().map_or(Ok(default), |value| value.parse())?)
}

const COLUMNS: u16 = 160;
const ROWS: u16 = 50;

/// Seconds until all is as it stays.
const WARM_UP: u64 = 5;

/// Percent of a core.
const TARGET: f64 = 1.0;
