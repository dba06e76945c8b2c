//! What the daemon used, in a table, and whether that grew.

use std::time::{Duration, Instant};

use anyhow::Result;
use bip324_testkit::daemon::Daemon;
use bip324_testkit::vitals::Vitals;

use crate::black_hole;
use crate::tally::Tally;

/// The table so far.
pub(crate) struct Report<'soak> {
    daemon: &'soak Daemon<'soak>,
    tally: &'soak Tally,
    began: Instant,
    before: Vitals,
    start: Option<Vitals>,
    last: Vitals,
    hole: Option<Duration>,
}

impl<'soak> Report<'soak> {
    /// Begins with the daemon as it is now, without a session.
    pub(crate) fn new(daemon: &'soak Daemon<'soak>, tally: &'soak Tally) -> Result<Self> {
        let before = daemon.vitals()?;
        println!(
            "{:<8}{:>8}{:>14}{:>10}{:>10}{:>10}{:>10}{:>12}{:>8}",
            "",
            "minute",
            "descriptors",
            "sockets",
            "sessions",
            "tasks",
            "threads",
            "RSS KiB",
            "CPU %"
        );
        let began = Instant::now();
        Ok(Self { daemon, tally, began, before, start: None, last: before, hole: None })
    }

    /// Writes one line about now. A session has two sockets and three tasks: its own, and one for
    /// each direction.
    pub(crate) fn line(&mut self, name: &str) -> Result<()> {
        let now = self.daemon.vitals()?;
        let passed = self.began.elapsed();
        let busy = now.processor.as_secs_f64() / passed.as_secs_f64().max(1.0) * 100.0;
        let sessions = now.sockets.saturating_sub(self.before.sockets) / 2;
        println!(
            "{name:<8}{:>8.1}{:>14}{:>10}{sessions:>10}{:>10}{:>10}{:>12}{busy:>8.1}",
            passed.as_secs_f64() / 60.0,
            now.descriptors,
            now.sockets,
            sessions * 3,
            now.threads,
            now.memory
        );
        if name == "start" {
            self.start = Some(now);
        }
        if name == "end" || name == "after" {
            self.judge(name, &now);
        }
        self.last = now;
        Ok(())
    }

    /// Whether the daemon has lost its last session.
    pub(crate) fn is_idle(&self) -> Result<bool> {
        Ok(self.daemon.vitals()?.sockets <= self.before.sockets)
    }

    /// How long the session into the black hole lasted.
    pub(crate) fn black_hole(&mut self, lasted: Duration) {
        self.hole = Some(lasted);
    }

    /// Sums up.
    pub(crate) fn verdict(&self) -> Result<bool> {
        let log = self.daemon.log()?;
        let panics = log.matches("panicked").count();
        let (opened, failed) = (self.tally.opened(), self.tally.failed());
        println!("log      {} lines, {panics} about panics", log.lines().count());
        println!(
            "sessions {opened} tried by the lanes, {failed} of which went otherwise than meant"
        );
        Ok(self.tally.is_sound() && panics == 0)
    }

    fn judge(&self, name: &str, now: &Vitals) {
        let then = if name == "after" { self.before } else { self.start.unwrap_or(self.before) };
        for (what, now, limit) in [
            ("descriptors", now.descriptors, then.descriptors + spare(name)),
            ("threads", now.threads, then.threads.max(self.start.map_or(0, |v| v.threads))),
        ] {
            if now > limit {
                self.tally.grew(&format!("{name}: {now} {what}, at most {limit} expected"));
            }
        }
        let limit = self.start.unwrap_or(self.before).memory + MEMORY_MARGIN;
        if now.memory > limit {
            self.tally.grew(&format!("{name}: {} KiB, at most {limit} expected", now.memory));
        }
        if let Some(lasted) = self.hole {
            if !black_hole::EXPECTED.contains(&lasted) {
                self.tally.grew(&format!("the black hole's session lasted {lasted:?}"));
            }
        }
    }
}

/// Descriptors more or less, as sessions come and go; none when all are gone.
fn spare(name: &str) -> usize {
    if name == "end" { 40 } else { 0 }
}

/// What the allocator may keep beyond the start, KiB.
const MEMORY_MARGIN: u64 = 8 * 1024;
