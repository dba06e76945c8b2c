//! What became of the clients' connections.

use std::io::{Error, ErrorKind};
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts that all clients of a round share.
#[derive(Debug, Default)]
pub struct Tally {
    attempted: AtomicU64,
    connected: AtomicU64,
    answered: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    failed: AtomicU64,
}

/// The same at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Connections that a client began.
    pub attempted: u64,
    /// Those that somebody accepted, and that VERSION was written to.
    pub connected: u64,
    /// Those that the peer's echo came through.
    pub answered: u64,
    /// Those that were refused.
    pub refused: u64,
    /// Those that were reset later.
    pub reset: u64,
    /// Those that timed out, or ended otherwise.
    pub failed: u64,
}

impl Tally {
    /// The counts of now.
    pub fn counts(&self) -> Counts {
        Counts {
            attempted: self.attempted.load(Relaxed),
            connected: self.connected.load(Relaxed),
            answered: self.answered.load(Relaxed),
            refused: self.refused.load(Relaxed),
            reset: self.reset.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }

    /// Takes over the counts of clients that have ended.
    pub(super) fn add(&self, other: &Self) {
        let other = other.counts();
        self.attempted.fetch_add(other.attempted, Relaxed);
        self.connected.fetch_add(other.connected, Relaxed);
        self.answered.fetch_add(other.answered, Relaxed);
        self.refused.fetch_add(other.refused, Relaxed);
        self.reset.fetch_add(other.reset, Relaxed);
        self.failed.fetch_add(other.failed, Relaxed);
    }

    pub(super) fn attempt(&self) {
        self.attempted.fetch_add(1, Relaxed);
    }

    pub(super) fn connect(&self) {
        self.connected.fetch_add(1, Relaxed);
    }

    pub(super) fn answer(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    pub(super) fn fail(&self, error: &Error) {
        let counter = match error.kind() {
            ErrorKind::ConnectionRefused => &self.refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => &self.reset,
            _ => &self.failed,
        };
        counter.fetch_add(1, Relaxed);
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            attempted: self.attempted + other.attempted,
            connected: self.connected + other.connected,
            answered: self.answered + other.answered,
            refused: self.refused + other.refused,
            reset: self.reset + other.reset,
            failed: self.failed + other.failed,
        }
    }
}
