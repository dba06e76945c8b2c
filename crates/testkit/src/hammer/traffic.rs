//! Clients as a program of their own, which keeps count in a file.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::tally::{Counts, Tally};
use super::{Pace, SetOnDrop, clients};

/// Connects to `peers` again and again, as the caller's own group, until the process ends. Every
/// 50 ms `file` gets a line of six counts, in the order of [`Counts`], on top of those that it held
/// at the start: after a reboot the count goes on.
///
/// # Errors
///
/// Where the file cannot be read or written.
pub fn call_for_ever(peers: &[SocketAddr], pace: Pace, file: &Path) -> Result<()> {
    let before = if file.exists() { read(file)? } else { Counts::default() };
    let (tally, over) = (Tally::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let _end = SetOnDrop(&over);
        clients::start_here(scope, peers, pace, &tally, &over);
        loop {
            write(file, before + tally.counts())?;
            thread::sleep(INTERVAL);
        }
    })
}

/// Replaces the file in one step: a reader finds the old counts or the new ones.
fn write(file: &Path, counts: Counts) -> Result<()> {
    let Counts { attempted, connected, answered, refused, reset, failed } = counts;
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{attempted} {connected} {answered} {refused} {reset} {failed}\n"))?;
    fs::rename(&fresh, file).with_context(|| file.display().to_string())
}

fn read(file: &Path) -> Result<Counts> {
    let text = fs::read_to_string(file)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut next = || numbers.next().context("fewer than six counts")?.context("no count");
    Ok(Counts {
        attempted: next()?,
        connected: next()?,
        answered: next()?,
        refused: next()?,
        reset: next()?,
        failed: next()?,
    })
}

const INTERVAL: Duration = Duration::from_millis(50);
