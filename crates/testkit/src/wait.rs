//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Time that a program has to start, or a session to come about, on a loaded two-core machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` until it has an answer, at most for `limit`. `what` completes "waited for ...".
///
/// # Errors
///
/// The probe's own error, at once; or that the limit passed without an answer.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe().with_context(|| format!("waiting for {what}"))? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(INTERVAL);
    }
}

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(25);
