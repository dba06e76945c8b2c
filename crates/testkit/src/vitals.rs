//! What a running program uses of the system, as `/proc` tells it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Open file descriptors.
    pub descriptors: usize,
    /// Those of them that are sockets.
    pub sockets: usize,
    /// Threads.
    pub threads: usize,
    /// Resident memory, KiB.
    pub memory: u64,
    /// Processor time so far, of all threads.
    pub processor: Duration,
}

impl Vitals {
    /// Those of the process `id`.
    ///
    /// # Errors
    ///
    /// Where it has ended, or belongs to somebody else.
    pub fn of(id: u32) -> Result<Self> {
        let (mut descriptors, mut sockets) = (0, 0);
        for entry in fs::read_dir(format!("/proc/{id}/fd"))? {
            descriptors += 1;
            // One that has been closed since it was listed leads nowhere.
            let target = fs::read_link(entry?.path()).unwrap_or_default();
            sockets += usize::from(target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        }
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        Ok(Self {
            descriptors,
            sockets,
            threads: field(&status, "Threads:")?.parse()?,
            memory: field(&status, "VmRSS:")?.trim_end_matches(" kB").parse()?,
            processor: processor_time(id)?,
        })
    }
}

/// Most resident memory of the process `id` so far, KiB. Writing 5 to its `clear_refs` begins anew.
///
/// # Errors
///
/// Where it has ended.
pub fn peak(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    Ok(field(&status, "VmHWM:")?.trim_end_matches(" kB").parse()?)
}

/// The value behind `name` in /proc/ID/status.
fn field<'status>(status: &'status str, name: &str) -> Result<&'status str> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("no {name} in /proc"))?.trim())
}

/// User and system time.
fn processor_time(id: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // Fields 14 and 15, counted behind the name in brackets.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok(Duration::from_millis(ticks.sum::<Result<u64, _>>()? * 1000 / per_second.unsigned_abs()))
}
