//! What the daemon costs, each figure beside what it is held against, measured in the same run. Run by
//! `scripts/bench`.

mod bytes;
mod chain;
mod clock;
mod connect;
mod cycles;
mod download;
mod duplex;
mod ends;
mod floor;
mod handshake;
mod idle;
mod large;
mod machine;
mod options;
mod payload;
mod ping;
mod proxy;
mod relay;
mod stream;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use bip324_testkit::figures::{Row, heading, json, line};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;

use crate::machine::Machine;
use crate::options::Options;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let result = match words.as_slice() {
        [word, node] if word == relay::RELAY => relay::run(node),
        words => Options::parse(words.iter().cloned()).and_then(|options| run(&options)),
    };
    if let Err(error) = &result {
        eprintln!("bench: {error:#}");
    }
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Fails where something could not be measured, and under `--strict` where a figure is short.
fn run(options: &Options) -> Result<()> {
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, descriptors, descriptors)?;
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
    write(options, &machine, &rows)?;
    println!("\n{}; as JSON in {}", tally(&rows), options.json.display());
    let count = |verdict| rows.iter().filter(|row| row.verdict() == verdict).count();
    ensure!(count("failed") == 0, "not everything could be measured");
    ensure!(!options.strict || count("short") == 0, "not every target is met");
    Ok(())
}

fn write(options: &Options, machine: &Machine, rows: &[Row]) -> Result<()> {
    let report = json!({
        "machine": machine,
        "proxy": options.proxy(),
        "quick": options.quick,
        "figures": rows.iter().map(json).collect::<Vec<_>>(),
    });
    let text = serde_json::to_string_pretty(&report)?;
    fs::write(&options.json, text + "\n").with_context(|| options.json.display().to_string())
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
const FIGURES: [(&str, Measure); 9] = [
    ("bytes", bytes::measure),
    ("duplex", duplex::measure),
    ("download", download::measure),
    ("connect", connect::measure),
    ("ping", ping::measure),
    ("handshake", handshake::measure),
    ("idle", idle::measure),
    ("large", large::measure),
    ("cycles", cycles::measure),
];
