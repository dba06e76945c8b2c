//! How long the rules are missing, as the kernel's notifications tell.

use std::io::{BufRead, BufReader};
use std::mem;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::rules::nft;
use crate::wait::{PATIENCE, wait_for};

/// A running `nft monitor`.
#[derive(Debug)]
pub(super) struct Gaps {
    monitor: Child,
    events: Arc<Mutex<Vec<Event>>>,
    /// Events before this one belong to gaps that have been looked at.
    seen: usize,
    found: Vec<Duration>,
}

#[derive(Debug)]
struct Event {
    at: Instant,
    line: String,
}

impl Gaps {
    /// Starts to watch.
    pub(super) fn watch(lab: &Lab) -> Result<Self> {
        let mut command = lab.host.command("nft");
        command.args(["monitor", "tables"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut monitor = command.spawn()?;
        let output = monitor.stdout.take().context("no output")?;
        let events = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let events = Arc::clone(&events);
            move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let event = Event { at: Instant::now(), line };
                    events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
        });
        let gaps = Self { monitor, events, seen: 0, found: Vec::new() };
        wait_for("the first notification of nftables", PATIENCE, || {
            nft(lab, "add table inet hammer_begins")?;
            nft(lab, "delete table inet hammer_begins")?;
            Ok((gaps.count() > 0).then_some(()))
        })?;
        Ok(gaps)
    }

    /// From now on, the next gap is looked for.
    pub(super) fn expect(&mut self) {
        self.seen = self.count();
    }

    /// Waits until the expected gap is over, and notes how long it was.
    pub(super) fn measure(&mut self) -> Result<()> {
        let gap = wait_for("the rules to come back", PATIENCE, || {
            let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            let mut new = events.iter().skip(self.seen);
            let start = new.find(|event| event.line.trim() == "delete table inet bip324");
            let end = new.find(|event| event.line.trim() == "add table inet bip324");
            Ok(start.zip(end).map(|(start, end)| end.at - start.at))
        })?;
        self.found.push(gap);
        Ok(())
    }

    /// All since the last call, the shortest first.
    pub(super) fn take_sorted(&mut self) -> Vec<Duration> {
        let mut found = mem::take(&mut self.found);
        found.sort_unstable();
        found
    }

    fn count(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for Gaps {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}
