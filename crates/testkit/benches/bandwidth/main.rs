//! How many bytes v2 takes less than v1, or more, as the daemon itself counts them. Run by
//! `scripts/bandwidth`.

#[path = "../bench/chain.rs"]
mod chain;
mod coins;
mod counted;
mod download;
mod relay;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};

fn main() -> ExitCode {
    if let Err(error) = run() {
        eprintln!("bandwidth: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run() -> Result<()> {
    let minutes = std::env::args().nth(1).context("for how many minutes?")?.parse()?;
    let downloaded = download::measure()?;
    println!("## An initial download of {} blocks, 310 MB\n", chain::HEIGHT);
    println!("{}", table::text(&downloaded));
    let relayed = relay::measure(minutes)?;
    println!("## {minutes} minutes of relay\n\n{}", relayed.mix);
    println!("{}", table::text(&relayed.traffic));
    Ok(())
}
