//! Keeps a flood of connections from becoming a flood of log lines.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::stats::Reason;

/// Lets the first [`BURST`] lines of every [`INTERVAL`] through, for each reason apart: a flood of
/// one, which any local user can cause, must not hide another.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<BTreeMap<Reason, Window>>);

/// How many lines of this reason were not written since the last that was. Displays as the end of
/// that next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suppressed(u64);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    passed: u32,
    suppressed: u64,
}

impl Throttle {
    /// Whether a line about `reason` may be written at `now`; if so, with what came to nothing
    /// before it.
    pub(crate) fn pass(&self, reason: Reason, now: Instant) -> Option<Suppressed> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(reason).or_default();
        let over = |began| now.saturating_duration_since(began) >= INTERVAL;
        if window.began.is_none_or(over) {
            window.began = Some(now);
            window.passed = 0;
        }
        if window.passed >= BURST {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(Suppressed(std::mem::take(&mut window.suppressed)))
    }
}

impl fmt::Display for Suppressed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            lines => write!(formatter, " ({lines} lines like this were left out)"),
        }
    }
}

const BURST: u32 = 5;
const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for _ in 0..BURST {
            assert_eq!(throttle.pass(Reason::Full, now), Some(Suppressed(0)));
        }
        for _ in 0..100 {
            assert_eq!(throttle.pass(Reason::Full, now + INTERVAL / 2), None);
        }
        assert_eq!(throttle.pass(Reason::Full, now + INTERVAL), Some(Suppressed(100)));
        assert_eq!(throttle.pass(Reason::Full, now + INTERVAL), Some(Suppressed(0)));
        assert_eq!(Suppressed(0).to_string(), "");
        assert_eq!(Suppressed(2).to_string(), " (2 lines like this were left out)");
    }

    #[test]
    fn a_flood_of_one_reason_does_not_hide_another() {
        let throttle = Throttle::default();
        let now = Instant::now();
        while throttle.pass(Reason::Full, now).is_some() {}
        assert_eq!(throttle.pass(Reason::Downgrade, now), Some(Suppressed(0)));
    }
}
