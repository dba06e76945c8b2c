//! The hammer: no plaintext leaves the host whatever happens to guard, ruleset and daemon, and the same
//! hammer finds the leaks of rules that nobody guards.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use bip324_testkit::hammer::{Disturbance, Hammer, Protection, Round, Until};
use bip324_testkit::lab::Lab;

#[test]
fn nothing_leaks_under_the_hammer() -> Result<()> {
    alone(|lab| {
        let rounds = Hammer::new(lab, Protection::Guard)?.strike(&Disturbance::GUARDED, SHORT)?;
        let connected: u64 = rounds.iter().map(|round| round.counts.connected).sum();
        ensure!(connected > 2_000, "only {connected} connections: too few to prove anything");
        require_silence(&rounds)
    })
}

/// As on kernels before 6.9, whose tables go with the socket of their owner.
#[test]
fn nothing_leaks_where_tables_do_not_persist() -> Result<()> {
    alone(|lab| {
        let rounds =
            Hammer::new(lab, Protection::OwningGuard)?.strike(&Disturbance::GUARD_ENDS, BRIEF)?;
        require_silence(&rounds)
    })?;
    alone(|lab| {
        let rounds = Hammer::new(lab, Protection::LoneOwningGuard)?
            .strike(&[Disturbance::GuardOrphan], BRIEF)?;
        require_silence(&rounds)
    })
}

/// As outside systemd: what keeps the rules between two guards is the table's flag `persist`.
#[test]
fn nothing_leaks_when_a_guard_without_supervisor_dies() -> Result<()> {
    alone(|lab| {
        let rounds =
            Hammer::new(lab, Protection::LoneGuard)?.strike(&[Disturbance::GuardOrphan], BRIEF)?;
        require_silence(&rounds)
    })
}

/// The flush comes between death and start, or the tests above would show nothing.
#[test]
fn a_flush_meets_the_table_of_a_dead_guard_whose_socket_nobody_kept() -> Result<()> {
    alone(|lab| {
        let rounds = Hammer::new(lab, Protection::LoneGuard)?
            .strike(&[Disturbance::GuardKillFlush], BRIEF)?;
        ensure!(rounds.iter().all(Round::leaked), "a dead guard's table was not flushed");
        Ok(())
    })
}

/// As on a kernel whose tables have no owner. A flush opens a gap there: this is how long it is.
#[test]
fn a_watching_guard_restores_the_rules_within_100_ms() -> Result<()> {
    alone(|lab| {
        let mut hammer = Hammer::new(lab, Protection::WatchingGuard)?;
        hammer.flush_at_rest(9)?;
        let gap = hammer.usual_gap()?;
        ensure!(gap < Duration::from_millis(100), "the rules came back after {gap:?}");
        // What clients lose meanwhile is for the eye: they compete with the guard for the processor.
        hammer.strike(&[Disturbance::Flush], BRIEF)?;
        hammer.usual_gap().map(drop)
    })
}

#[test]
fn one_shot_rules_leak_under_the_hammer() -> Result<()> {
    alone(|lab| {
        let rounds = Hammer::new(lab, Protection::OneShot)?.strike(&Disturbance::FLUSHES, BRIEF)?;
        ensure!(rounds.iter().all(Round::leaked), "a round without a leak: the hammer is too soft");
        Ok(())
    })
}

fn require_silence(rounds: &[Round]) -> Result<()> {
    let leaks: Vec<_> = rounds.iter().filter(|round| round.leaked()).collect();
    ensure!(leaks.is_empty(), "plaintext left the host: {leaks:?}");
    Ok(())
}

/// Two hammers at once would only halve the speed of either.
fn alone(test: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    Lab::run(test)
}

/// A round of the hammer's short form; all thirteen come to ten thousand connections, on a machine that
/// has the time.
const SHORT: Until = Until { connections: 900, times: 2, limit: Duration::from_secs(4) };

/// A round that shows one thing.
const BRIEF: Until = Until { connections: 300, times: 2, limit: Duration::from_secs(2) };
