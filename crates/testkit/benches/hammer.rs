//! The hammer in full: at least so many connections that were accepted, while guard, ruleset and daemon
//! are disturbed in every way. Run by `scripts/hammer`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use bip324_testkit::hammer::{Disturbance, Hammer, Protection, Round, Until};
use bip324_testkit::lab::Lab;

fn main() -> ExitCode {
    let connections: Option<u64> = std::env::args().skip(1).find_map(|word| word.parse().ok());
    let Some(connections) = connections else {
        eprintln!("hammer: run it by ./scripts/hammer");
        return ExitCode::from(64);
    };
    match hammer(connections) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hammer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all is as it should be.
fn hammer(connections: u64) -> Result<bool> {
    let guarded = Disturbance::GUARDED;
    let each = connections.div_ceil(guarded.len() as u64);
    let until = Until { connections: each, times: 5, limit: Duration::from_secs(600) };

    println!("A guard, its socket kept by a supervisor:\n");
    let mut rounds = strike(Protection::Guard, &guarded, until)?;
    println!("The same where a table goes with the socket of its owner:\n");
    rounds.extend(strike(Protection::OwningGuard, &Disturbance::GUARD_ENDS, until)?);
    println!("A guard on its own, and the same where its table goes with it:\n");
    rounds.extend(strike(Protection::LoneGuard, &[Disturbance::GuardOrphan], until)?);
    rounds.extend(strike(Protection::LoneOwningGuard, &[Disturbance::GuardOrphan], until)?);
    println!("A guard that cannot own its table, and restores what is flushed:\n");
    strike(Protection::WatchingGuard, &[Disturbance::Flush], until)?;
    println!("One-shot rules, installed again after each flush, for comparison:\n");
    let control = strike(Protection::OneShot, &Disturbance::FLUSHES, until)?;

    let sum: Round = rounds.iter().sum();
    println!(
        "guard     {} connections, {} packets on the wire: {} with plaintext, {} of a client's own",
        sum.counts.connected, sum.wire.packets, sum.wire.plaintext, sum.wire.escaped
    );
    let tight = !sum.leaked();
    let hard = control.iter().all(Round::leaked);
    println!("{}", if tight { "nothing leaked" } else { "PLAINTEXT LEFT THE HOST" });
    if !hard {
        println!("THE CONTROL DID NOT LEAK: this proves nothing");
    }
    Ok(tight && hard && sum.counts.connected >= connections)
}

fn strike(
    protection: Protection,
    disturbances: &[Disturbance],
    until: Until,
) -> Result<Vec<Round>> {
    let mut rounds = Vec::new();
    Lab::run(|lab| {
        let mut hammer = Hammer::new(lab, protection)?;
        rounds = hammer.strike(disturbances, until)?;
        if protection == Protection::WatchingGuard {
            hammer.usual_gap()?;
        }
        Ok(())
    })?;
    Ok(rounds)
}
