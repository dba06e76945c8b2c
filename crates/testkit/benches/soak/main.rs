//! The daemon under a steady mix of good, bad and broken sessions, for as long as one likes: what it
//! uses of the system must not grow, and no plaintext may leave the host. Run by `scripts/soak`.

mod black_hole;
mod lanes;
mod report;
mod tally;
mod wiretap;

use std::cell::Cell;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bip324_testkit::daemon::Daemon;
use bip324_testkit::lab::Lab;
use bip324_testkit::node::{Network, Node};
use bip324_testkit::peer::{Peer, Session, Wire};
use bip324_testkit::rules;
use bip324_testkit::wait::wait_for;
use bip324_transport::v1::Magic;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use crate::lanes::Lanes;
use crate::report::Report;
use crate::tally::Tally;
use crate::wiretap::Wiretap;

fn main() -> ExitCode {
    let minutes: Option<u64> = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let Some(minutes) = minutes else {
        eprintln!("soak: run it by ./scripts/soak MINUTES");
        return ExitCode::from(64);
    };
    let mut sound = false;
    let result = Lab::run(|lab| {
        sound = soak(lab, Duration::from_secs(60 * minutes))?;
        Ok(())
    });
    if let Err(error) = result {
        eprintln!("soak: {error:#}");
        return ExitCode::FAILURE;
    }
    println!("\n{}", if sound { "sound" } else { "NOT SOUND" });
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns whether all is as it should be; an error is one of the surroundings.
fn soak(lab: &Lab, length: Duration) -> Result<bool> {
    let node = Node::start(lab, NETWORK, &["-debug=0"])?;
    rules::up(lab)?;
    let daemon = Daemon::start_quietly(lab, &[])?;
    let wiretap = Wiretap::start(lab)?;
    let end = std::time::Instant::now() + length;
    let tally = Tally::default();
    let mut report = Report::new(&daemon, &tally)?;
    report.line("before")?;

    thread::scope(|scope| {
        let visits = scope.spawn(|| lanes::visit_node(lab, end, &tally));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(run(lab, end, length, &tally, &mut report))?;
        visits.join().ok().context("the visits to the node ended in a panic")
    })?;

    // All that is left to end ends with its last deadline, the two minutes of a half-open session.
    wait_for("the sessions to end", GRACE, || report.is_idle().map(|idle| idle.then_some(())))?;
    report.line("after")?;
    drop(node);
    let heard = wiretap.stop()?;
    println!(
        "\nwire     {} TCP packets of {} MB left the host, {} of them with plaintext",
        heard.packets,
        heard.bytes / 1_000_000,
        heard.plaintext
    );
    ensure!(heard.packets > 0, "nothing was heard on the wire: that proves nothing");
    Ok(report.verdict()? & (heard.plaintext == 0))
}

async fn run(
    lab: &Lab,
    end: std::time::Instant,
    length: Duration,
    tally: &Tally,
    report: &mut Report<'_>,
) -> Result<()> {
    let end = Instant::from_std(end);
    let lanes = Lanes::new(lab, end, tally)?;
    let idle = idle_sessions(lab).await?;
    let hole = Cell::new(None);
    let ordinary = async {
        sleep(WARM_UP.min(length / 4)).await;
        report.line("start")?;
        let pause = (length / 12).max(Duration::from_secs(10));
        while Instant::now() + pause < end {
            sleep(pause).await;
            report.line("")?;
        }
        sleep_until(end).await;
        report.line("end")
    };
    let swallowed = async {
        if length >= black_hole::NEEDS {
            let lasted = black_hole::watch(lab).await?;
            println!("black hole: closed after {:.1} s", lasted.as_secs_f64());
            hole.set(Some(lasted));
        }
        Ok(())
    };
    let ((), (), ()) = tokio::try_join!(lanes.run(), ordinary, swallowed)?;
    match hole.take() {
        Some(lasted) => report.black_hole(lasted),
        None => println!("no black hole: that takes {} minutes", black_hole::NEEDS.as_secs() / 60),
    }
    drop(idle);
    Ok(())
}

/// Sessions that say nothing all along.
async fn idle_sessions(lab: &Lab) -> Result<Vec<(Wire, Session)>> {
    let ip = lanes::address(lab, lanes::IDLE)?;
    let peer = Peer::in_lab(lab, ip)?;
    let mut sessions = Vec::new();
    for _ in 0..IDLE_SESSIONS {
        sessions.push(peer.open(lab, MAGIC).await?);
    }
    Ok(sessions)
}

const NETWORK: Network = Network::Regtest;
const MAGIC: Magic = Magic::REGTEST;

const IDLE_SESSIONS: usize = 100;

/// Before "start" is written: every buffer and thread that the mix needs has been there once.
const WARM_UP: Duration = Duration::from_secs(90);

/// Longer than the longest deadline of the daemon.
const GRACE: Duration = Duration::from_secs(180);
