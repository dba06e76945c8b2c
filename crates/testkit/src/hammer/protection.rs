//! Who holds the rules.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

use super::PORT;
use crate::lab::Lab;
use crate::rules;
use crate::supervisor::Service;
use crate::wait::{PATIENCE, wait_for};

/// Who holds the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Nobody: `bip324-setup up` installed them and is gone.
    OneShot,
    /// `bip324-setup guard` with a supervisor that keeps its socket.
    Guard,
    /// The same with `--no-persist`, as on a kernel whose tables go with their owner's socket.
    OwningGuard,
    /// `bip324-setup guard` on its own.
    LoneGuard,
    /// The same with `--no-persist`.
    LoneOwningGuard,
    /// `bip324-setup guard --no-owner`, as on a kernel without table owners.
    WatchingGuard,
}

/// The rules, with the guard where there is one.
#[derive(Debug)]
pub(super) struct Rules<'lab> {
    lab: &'lab Lab,
    pub(super) protection: Protection,
    guard: Option<Service<'lab>>,
    config: PathBuf,
}

impl<'lab> Rules<'lab> {
    pub(super) fn install(lab: &'lab Lab, protection: Protection) -> Result<Self> {
        let config = lab.folder().join("guard.toml");
        let mut rules = Self { lab, protection, guard: None, config };
        rules.write_config(&[PORT])?;
        let config = rules.config.display().to_string();
        let mut words = vec![lab.built("bip324-setup")?, "guard".into(), "--config".into(), config];
        let (stored, option) = match protection {
            Protection::OneShot => {
                rules::up(lab)?;
                return Ok(rules);
            }
            Protection::Guard => (1, None),
            Protection::OwningGuard => (1, Some("--no-persist")),
            Protection::LoneGuard => (0, None),
            Protection::LoneOwningGuard => (0, Some("--no-persist")),
            Protection::WatchingGuard => (1, Some("--no-owner")),
        };
        words.extend(option.map(str::to_owned));
        let guard = Service::start(lab, "guard", words, stored)?;
        if matches!(protection, Protection::Guard | Protection::OwningGuard) {
            ensure!(guard.has_stored()?, "the guard has not stored its socket");
        }
        rules.guard = Some(guard);
        Ok(rules)
    }

    /// The guard, for what is done to it.
    pub(super) fn guard(&mut self) -> Result<&mut Service<'lab>> {
        match &mut self.guard {
            Some(guard) => Ok(guard),
            None => bail!("one-shot rules have no guard"),
        }
    }

    /// Fails where there should be a guard, and it has ended or fallen silent.
    pub(super) fn require_alive(&mut self) -> Result<()> {
        self.guard.as_mut().map_or(Ok(()), Service::require_alive)
    }

    /// Has the guard redirect exactly `ports`, and waits until it does.
    pub(super) fn reload(&mut self, ports: &[u16]) -> Result<()> {
        self.write_config(ports)?;
        self.guard()?.signal(Signal::SIGHUP)?;
        wait_for("the guard to take its new ports", PATIENCE, || {
            self.guard()?.require_alive()?;
            let listed = rules::nft(self.lab, "list set inet bip324 ports")?;
            let words: Vec<_> = listed.split([' ', ',', '\n']).collect();
            let there = |port: &u16| words.contains(&port.to_string().as_str());
            let count = words.iter().filter(|word| word.parse::<u16>().is_ok()).count();
            Ok((ports.iter().all(there) && count == ports.len()).then_some(()))
        })
    }

    fn write_config(&self, ports: &[u16]) -> Result<()> {
        Ok(fs::write(&self.config, format!("ports = {ports:?}\n"))?)
    }
}
