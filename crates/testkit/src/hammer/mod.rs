//! Clients that connect and speak v1 as fast as they can, while everything that holds the rules up is
//! disturbed. Counts what escapes.

mod clients;
mod disturbance;
mod gaps;
mod protection;
mod report;
mod tally;
mod traffic;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bip324_transport::v1::Magic;
use nix::sys::signal::Signal;
use nix::unistd::Gid;

use crate::capture::Capture;
use crate::daemon::Daemon;
use crate::echo::Echo;
use crate::lab::Lab;
use crate::node::PORT;
use crate::prerequisite::client_gid;
use crate::process::output;
use crate::wait::{PATIENCE, wait_for};

pub use clients::{CLASS, PLAINTEXT, Pace};
pub use disturbance::Disturbance;
pub use protection::Protection;
pub use report::{Round, Wire, header};
pub use tally::{Counts, Tally};
pub use traffic::call_for_ever;

use gaps::Gaps;
use protection::Rules;

/// A host with rules and a daemon, a peer that echoes, and clients while a round lasts.
#[derive(Debug)]
pub struct Hammer<'lab> {
    lab: &'lab Lab,
    group: Gid,
    rules: Rules<'lab>,
    daemon: Option<Daemon<'lab>>,
    /// Where a guard restores what is flushed.
    gaps: Option<Gaps>,
    _echo: Echo,
}

/// When a round is over: when both are reached, or the time is up.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// Connections that somebody accepted.
    pub connections: u64,
    /// Disturbances.
    pub times: u32,
    /// Time.
    pub limit: Duration,
}

impl<'lab> Hammer<'lab> {
    /// Starts peer, rules and daemon.
    ///
    /// # Errors
    ///
    /// Where one of them does not start.
    pub fn new(lab: &'lab Lab, protection: Protection) -> Result<Self> {
        // Data in the SYN without a cookie of an earlier connection.
        sysctl(lab, "net.ipv4.tcp_fastopen=5")?;
        let _echo = Echo::start(lab, Magic::REGTEST, &[PORT, disturbance::SECOND_PORT])?;
        let rules = Rules::install(lab, protection)?;
        let daemon = Some(Daemon::start_quietly(lab, &[])?);
        let restores = protection == Protection::WatchingGuard;
        let gaps = restores.then(|| Gaps::watch(lab)).transpose()?;
        Ok(Self { lab, group: client_gid()?, rules, daemon, gaps, _echo })
    }

    /// Runs a round of each disturbance, and prints them as they end, and their sum.
    ///
    /// # Errors
    ///
    /// As [`Self::round`].
    pub fn strike(&mut self, disturbances: &[Disturbance], until: Until) -> Result<Vec<Round>> {
        let mut rounds = Vec::new();
        println!("{}", header());
        for disturbance in disturbances {
            let round = self.round(*disturbance, until)?;
            println!("{round}");
            rounds.push(round);
        }
        println!("{}\n", rounds.iter().sum::<Round>());
        Ok(rounds)
    }

    /// Runs clients on the redirected port and disturbs them until it is enough.
    ///
    /// # Errors
    ///
    /// Where something does not start or end, or the capture is not complete. What escapes is no
    /// error here.
    pub fn round(&mut self, disturbance: Disturbance, until: Until) -> Result<Round> {
        let capture = Capture::start_of_heads(self.lab)?;
        let (tally, over) = (Tally::default(), AtomicBool::new(false));
        let lab = self.lab;
        let times = thread::scope(|scope| {
            let _end = SetOnDrop(&over);
            clients::start(scope, lab, (self.group, PORT), &tally, &over);
            self.disturb_until(disturbance, until, &tally)
        });
        let times = times.with_context(|| format!("while: {}", disturbance.name()))?;
        let traffic = capture.stop()?;
        Ok(Round {
            name: disturbance.name(),
            times,
            counts: tally.counts(),
            wire: Wire {
                packets: traffic.packets(),
                plaintext: traffic.holding(&PLAINTEXT),
                escaped: traffic.of_class(CLASS).packets(),
            },
        })
    }

    /// Flushes the ruleset of a host without clients, where a guard restores it.
    ///
    /// # Errors
    ///
    /// Where nobody restores it.
    pub fn flush_at_rest(&mut self, times: u32) -> Result<()> {
        (0..times).try_for_each(|_| self.flush())
    }

    /// Prints how long flushes have left the host without rules since the last call, where a guard
    /// restores them, and returns the median: on a busy machine a guard may have to wait for the
    /// processor now and then.
    ///
    /// # Errors
    ///
    /// Where there was no flush.
    pub fn usual_gap(&mut self) -> Result<Duration> {
        let gaps = self.gaps.as_mut().map(Gaps::take_sorted).unwrap_or_default();
        let median = *gaps.get(gaps.len() / 2).context("no gap was measured")?;
        println!("without rules, after each flush: {gaps:?}, median {median:?}\n");
        Ok(median)
    }

    fn disturb_until(
        &mut self,
        disturbance: Disturbance,
        until: Until,
        tally: &Tally,
    ) -> Result<u32> {
        let start = Instant::now();
        let mut times = 0;
        served(tally)?;
        // Once at least, however slow the machine: a round without any would show nothing.
        while times == 0
            || start.elapsed() < until.limit
                && (times < until.times || tally.counts().connected < until.connections)
        {
            self.disturb(disturbance, tally)?;
            times += 1;
        }
        Ok(times)
    }

    fn end_daemon(&mut self, signal: Signal) -> Result<()> {
        self.daemon.take().context("no daemon runs")?.end(signal)
    }

    fn start_daemon(&mut self) -> Result<()> {
        self.daemon = Some(Daemon::start_quietly(self.lab, &[])?);
        Ok(())
    }

    fn signal_daemon(&self, signal: Signal) -> Result<()> {
        self.daemon.as_ref().context("no daemon runs")?.signal(signal)
    }
}

/// Waits until the clients have begun this many more connections, whatever became of them.
fn attempted(tally: &Tally) -> Result<()> {
    grows("clients to connect", || tally.counts().attempted)
}

/// Waits until this many more connections have come through to the peer and back.
fn served(tally: &Tally) -> Result<()> {
    grows("clients to be served", || tally.counts().answered)
}

fn grows(what: &str, count: impl Fn() -> u64) -> Result<()> {
    let goal = count() + PROGRESS;
    wait_for(what, PATIENCE, || Ok((count() >= goal).then_some(())))
}

fn sysctl(lab: &Lab, assignment: &str) -> Result<()> {
    let mut command = lab.host.command("sysctl");
    command.args(["-qw", assignment]);
    output(command).map(drop)
}

/// Ends the clients however a round ends.
struct SetOnDrop<'flag>(&'flag AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Connections that make two states of the host overlap with the load: more than there are clients.
const PROGRESS: u64 = 24;
