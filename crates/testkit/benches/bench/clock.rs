//! Processor time, to the nanosecond: wall time would count what else runs on the machine.

use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// Of a process so far, the threads that have ended included.
pub(crate) fn of_process(id: Pid) -> Result<Duration> {
    Ok(clock_gettime(clock_getcpuclockid(id)?)?.into())
}

/// Of this thread so far.
pub(crate) fn of_thread() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// What `work` takes of this thread, in nanoseconds.
pub(crate) fn nanoseconds(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = of_thread()?;
    work()?;
    Ok((of_thread()? - before).as_nanos() as f64)
}
