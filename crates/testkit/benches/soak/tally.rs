//! What the lanes tried, what came of it, and what grew meanwhile.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Result;

/// How the sessions went. The first few surprises are printed.
#[derive(Default)]
pub(crate) struct Tally {
    opened: AtomicU64,
    failed: AtomicU64,
    growth: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts a session, and says so if it was a surprise.
    pub(crate) fn count(&self, result: &Result<()>) {
        self.opened.fetch_add(1, Relaxed);
        if let Err(error) = result {
            if self.failed.fetch_add(1, Relaxed) < 20 {
                println!("otherwise than meant: {error:#}");
            }
        }
    }

    /// Notes something that has grown.
    pub(crate) fn grew(&self, what: &str) {
        println!("GREW {what}");
        if let Ok(mut growth) = self.growth.lock() {
            growth.push(what.to_owned());
        }
    }

    /// Sessions tried.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// Those that went otherwise than meant.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Whether nothing grew, and at most one session in a thousand was a surprise: a busy machine may
    /// miss a deadline, and the guard refuses a client whose port the kernel still remembers from a
    /// connection of the daemon to the same peer.
    pub(crate) fn is_sound(&self) -> bool {
        let grew = self.growth.lock().map_or(true, |growth| !growth.is_empty());
        !grew && self.failed() * 1000 <= self.opened()
    }
}
