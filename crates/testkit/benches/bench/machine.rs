//! What the figures were measured on.

use std::fs;
use std::num::NonZero;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use serde::Serialize;

/// The machine, and how busy it was before the run.
#[derive(Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    load: String,
}

impl Machine {
    pub(crate) fn text(&self) -> String {
        let Self { cpu, cpus, kernel, load } = self;
        format!("{cpu}, {cpus} CPUs, Linux {kernel}, load average {load} before the run")
    }
}

pub(crate) fn describe() -> Result<Machine> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    // Some architectures tell no name.
    let name = info.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": ")).map(|(_, name)| name);
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(Machine {
        cpu: name.unwrap_or(std::env::consts::ARCH).to_owned(),
        cpus: available_parallelism().map_or(1, NonZero::get),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        load: load.split(' ').next().context("no load average")?.to_owned(),
    })
}
