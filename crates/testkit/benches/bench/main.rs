//! What the daemon costs, each figure beside what it is held against, measured in the same run. Run by
//! `scripts/bench`.

mod bytes;
mod clock;
mod duplex;
mod ends;
mod floor;
mod machine;
mod options;
mod proxy;
mod stream;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result};
use bip324_testkit::figures::{Row, heading, json, line};
use serde_json::json;

use crate::options::Options;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench: {error:#}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all went well: nothing failed, and under `--strict` nothing is short.
fn run(options: &Options) -> Result<bool> {
    let machine = machine::describe()?;
    println!("{}\n{}\n\n{}", machine.text(), options.text(), heading());
    let mut rows = Vec::new();
    for (name, measure) in FIGURES.into_iter().filter(|(name, _)| options.wants(name)) {
        let why = |error| vec![Row::Failed { name, why: format!("{error:#}") }];
        for row in measure(options).unwrap_or_else(why) {
            println!("{}", line(&row));
            rows.push(row);
        }
    }
    let report = json!({
        "machine": machine,
        "proxy": options.against.as_deref().unwrap_or("bip324-proxy"),
        "quick": options.quick,
        "figures": rows.iter().map(json).collect::<Vec<_>>(),
    });
    let path = &options.json;
    let text = serde_json::to_string_pretty(&report)?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    println!("\n{}; as JSON in {}", tally(&rows), path.display());
    let verdicts = |word| rows.iter().any(|row| row.verdict() == word);
    let short = options.strict && verdicts("short");
    Ok(!short && !verdicts("failed"))
}

/// How many rows there are of each kind.
fn tally(rows: &[Row]) -> String {
    let kinds = ["ok", "short", "left out", "failed"];
    let counts = kinds.map(|kind| (rows.iter().filter(|row| row.verdict() == kind).count(), kind));
    let told = counts.iter().filter(|(count, _)| *count > 0);
    told.map(|(count, kind)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}

/// Measures one kind of figure.
type Measure = fn(&Options) -> Result<Vec<Row>>;

/// In the order of the table.
const FIGURES: [(&str, Measure); 2] = [("bytes", bytes::measure), ("duplex", duplex::measure)];
