//! What is done to rules, guard and daemon while clients run.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::protection::Protection;
use super::tally::Tally;
use super::{Hammer, SetOnDrop, attempted, clients, served};
use crate::lab::Lab;
use crate::node::PORT;
use crate::process::output;
use crate::rules::{self, nft};
use crate::wait::{PATIENCE, wait_for};

/// What is done to rules, guard and daemon while clients run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// `nft flush ruleset`.
    Flush,
    /// What `systemctl reload nftables` does: a file that begins with `flush ruleset`.
    NftablesReload,
    /// A flush while the daemon's side of loopback is deaf to data, so that everything that was
    /// written, by sockets that are closed by now too, is still to be sent.
    DeafFlush,
    /// The guard is stopped and its socket closed at such a moment, and the data sent again.
    DeafStop,
    /// A flush while the daemon is stopped, and the buffers are full.
    FrozenFlush,
    /// The guard is stopped and started, its socket kept.
    GuardRestart,
    /// The guard is killed with -9, the ruleset flushed, the guard started.
    GuardKillFlush,
    /// The guard is stopped and its socket closed: a blocking table is left.
    GuardStop,
    /// The guard is killed with -9 and nobody has kept its socket: the table is an orphan.
    GuardOrphan,
    /// A port is added, used, and dropped again.
    Ports,
    /// The daemon is asked to stop, and started.
    DaemonRestart,
    /// The daemon is killed with -9, and started.
    DaemonKill,
    /// Daemon and guard both stop, and start.
    BothStop,
    /// Flushes and reloads without a pause, while guard and daemon are killed and started.
    Storm,
}

impl Disturbance {
    /// All that rules meet which a supervised guard holds.
    pub const GUARDED: [Self; 13] = [
        Self::Flush,
        Self::NftablesReload,
        Self::DeafFlush,
        Self::DeafStop,
        Self::FrozenFlush,
        Self::GuardRestart,
        Self::GuardKillFlush,
        Self::GuardStop,
        Self::Ports,
        Self::DaemonRestart,
        Self::DaemonKill,
        Self::BothStop,
        Self::Storm,
    ];

    /// What a guard's own death and end put to the test.
    pub const GUARD_ENDS: [Self; 5] =
        [Self::GuardRestart, Self::GuardKillFlush, Self::GuardStop, Self::DeafStop, Self::Storm];

    /// What one-shot rules do not withstand.
    pub const FLUSHES: [Self; 3] = [Self::Flush, Self::NftablesReload, Self::DeafFlush];

    /// A few words for a table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flush => "nft flush ruleset",
            Self::NftablesReload => "nftables.service reloads",
            Self::DeafFlush => "unsent data, then flush",
            Self::DeafStop => "unsent data, then guard stops",
            Self::FrozenFlush => "daemon frozen, then flush",
            Self::GuardRestart => "guard restarts",
            Self::GuardKillFlush => "guard kill -9, flush, start",
            Self::GuardStop => "guard stops, socket closed",
            Self::GuardOrphan => "guard alone, kill -9",
            Self::Ports => "port added and dropped",
            Self::DaemonRestart => "daemon restarts",
            Self::DaemonKill => "daemon kill -9",
            Self::BothStop => "guard and daemon stop",
            Self::Storm => "all of it at once",
        }
    }
}

impl Hammer<'_> {
    /// Does it once, and waits until clients are served again.
    pub(super) fn disturb(&mut self, disturbance: Disturbance, tally: &Tally) -> Result<()> {
        match disturbance {
            Disturbance::Flush => {
                self.flush()?;
                self.after_flush(tally)?;
            }
            Disturbance::NftablesReload => {
                reload_nftables(self.lab)?;
                self.after_flush(tally)?;
            }
            Disturbance::DeafFlush => {
                self.orphan_data()?;
                self.flush()?;
                self.after_flush(tally)?;
            }
            Disturbance::DeafStop => {
                self.orphan_data()?;
                self.rules.guard()?.stop()?;
                nft(self.lab, "delete table inet deaf")?;
                let gone = || Ok((orphans(self.lab)? == 0).then_some(()));
                wait_for("the blocking table to reset what is sent again", PATIENCE, gone)?;
                self.rules.guard()?.start_again()?;
            }
            Disturbance::FrozenFlush => {
                self.signal_daemon(Signal::SIGSTOP)?;
                attempted(tally)?;
                self.flush()?;
                self.signal_daemon(Signal::SIGCONT)?;
            }
            Disturbance::GuardRestart => self.rules.guard()?.restart()?,
            Disturbance::GuardKillFlush => {
                self.rules.guard()?.kill()?;
                flush(self.lab)?;
                attempted(tally)?;
                self.rules.guard()?.start_again()?;
            }
            Disturbance::GuardStop => {
                self.rules.guard()?.stop()?;
                attempted(tally)?;
                self.rules.guard()?.start_again()?;
            }
            Disturbance::GuardOrphan => {
                self.rules.guard()?.kill()?;
                attempted(tally)?;
                self.rules.guard()?.start_again()?;
            }
            Disturbance::Ports => self.change_ports(tally)?,
            Disturbance::DaemonRestart => self.cycle_daemon(Signal::SIGTERM, tally)?,
            Disturbance::DaemonKill => self.cycle_daemon(Signal::SIGKILL, tally)?,
            Disturbance::BothStop => {
                // Without waiting for its sessions: they are to meet the blocking table.
                self.signal_daemon(Signal::SIGTERM)?;
                self.rules.guard()?.stop()?;
                attempted(tally)?;
                self.end_daemon(Signal::SIGKILL)?;
                self.rules.guard()?.start_again()?;
                self.start_daemon()?;
            }
            Disturbance::Storm => self.storm(tally)?,
        }
        served(tally)?;
        self.rules.require_alive()
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(gaps) = &mut self.gaps {
            gaps.expect();
        }
        flush(self.lab)?;
        if let Some(gaps) = &mut self.gaps {
            gaps.measure()?;
        }
        Ok(())
    }

    /// Has the daemon's side of loopback take connections and no data, until clients have closed such
    /// connections.
    fn orphan_data(&self) -> Result<()> {
        nft(self.lab, "add table inet deaf")?;
        nft(self.lab, "add chain inet deaf input { type filter hook input priority 0 ; }")?;
        // The longest packet without data is a SYN over IPv6, of 80 bytes; the shortest with data a
        // PING over IPv4, of 84.
        nft(self.lab, "add rule inet deaf input iif lo tcp dport 1324 meta length > 82 drop")?;
        let some = || Ok((orphans(self.lab)? > 0).then_some(()));
        wait_for("a closed socket with data to send", PATIENCE, some)
    }

    /// Where nobody holds the rules, somebody has to come and install them again.
    fn after_flush(&self, tally: &Tally) -> Result<()> {
        if self.rules.protection == Protection::OneShot {
            attempted(tally)?;
            rules::up(self.lab)?;
        }
        Ok(())
    }

    fn cycle_daemon(&mut self, signal: Signal, tally: &Tally) -> Result<()> {
        self.end_daemon(signal)?;
        attempted(tally)?;
        self.start_daemon()
    }

    /// The clients of the second port end before it is dropped: from then on it is plaintext on
    /// purpose.
    fn change_ports(&mut self, tally: &Tally) -> Result<()> {
        self.rules.reload(&[PORT, SECOND_PORT])?;
        let (second, over) = (Tally::default(), AtomicBool::new(false));
        let lab = self.lab;
        thread::scope(|scope| {
            let _end = SetOnDrop(&over);
            clients::start(scope, lab, (self.group, SECOND_PORT), &second, &over);
            served(&second)
        })?;
        tally.add(&second);
        self.rules.reload(&[PORT])
    }

    fn storm(&mut self, tally: &Tally) -> Result<()> {
        let (lab, over) = (self.lab, AtomicBool::new(false));
        thread::scope(|scope| {
            let _end = SetOnDrop(&over);
            let flushes = scope.spawn(|| {
                while !over.load(Relaxed) {
                    flush(lab)?;
                    reload_nftables(lab)?;
                }
                anyhow::Ok(())
            });
            self.rules.guard()?.kill()?;
            attempted(tally)?;
            self.rules.guard()?.start_again()?;
            self.cycle_daemon(Signal::SIGKILL, tally)?;
            self.rules.guard()?.restart()?;
            served(tally)?;
            over.store(true, Relaxed);
            flushes.join().ok().context("the flushes panicked")?
        })
    }
}

fn flush(lab: &Lab) -> Result<()> {
    nft(lab, "flush ruleset").map(drop)
}

fn reload_nftables(lab: &Lab) -> Result<()> {
    let file = lab.folder().join("nftables.conf");
    if !file.exists() {
        fs::write(&file, NFTABLES_CONF)?;
    }
    nft(lab, &format!("-f {}", file.display())).map(drop)
}

/// Closed sockets of clients that still have data to send.
fn orphans(lab: &Lab) -> Result<usize> {
    let mut command = lab.host.command("ss");
    command.args(["-Htn", "state", "fin-wait-1", &format!("dport = :{PORT}")]);
    let listed = String::from_utf8(output(command)?.stdout)?;
    let unsent = |line: &&str| {
        let queue = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        // The FIN counts as one.
        queue.is_some_and(|bytes| bytes > 1)
    };
    Ok(listed.lines().filter(unsent).count())
}

/// A port that is redirected for a while.
pub(super) const SECOND_PORT: u16 = 18444;

/// As Debian ships it.
const NFTABLES_CONF: &str = "\
flush ruleset

table inet filter {
	chain input {
		type filter hook input priority filter;
	}
	chain forward {
		type filter hook forward priority filter;
	}
	chain output {
		type filter hook output priority filter;
	}
}
";
