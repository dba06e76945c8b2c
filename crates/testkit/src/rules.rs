//! `bip324-setup` in the host's namespace.

use std::process::Output;

use anyhow::{Context, Result, ensure};

use crate::identity::Identity;
use crate::lab::Lab;
use crate::process::{finish, output};

/// Installs the rules.
///
/// # Errors
///
/// Where `bip324-setup up` fails.
pub fn up(lab: &Lab) -> Result<()> {
    output(lab.command(&lab.host, Identity::Root, &setup(lab, "up")?)?)
        .context("bip324-setup up")
        .map(drop)
}

/// Runs `bip324-setup check` as `identity`; its exit status and text are the answer.
///
/// # Errors
///
/// Where it cannot be run.
pub fn check(lab: &Lab, identity: Identity) -> Result<Output> {
    finish(lab.command(&lab.host, identity, &setup(lab, "check")?)?)
}

/// Runs `nft` with `line` in the host's namespace and hands back what it printed.
///
/// # Errors
///
/// Where nft refuses.
pub fn nft(lab: &Lab, line: &str) -> Result<String> {
    let mut command = lab.host.command("nft");
    command.args(line.split(' '));
    Ok(String::from_utf8(output(command).with_context(|| format!("nft {line}"))?.stdout)?)
}

/// Packets counted by the rules of `chain` in the table `bip324`, all together.
///
/// # Errors
///
/// Where there is no such chain, or it counts nothing.
pub fn counted(lab: &Lab, chain: &str) -> Result<u64> {
    let text = nft(lab, &format!("list chain inet bip324 {chain}"))?;
    let words: Vec<_> = text.split_whitespace().collect();
    let counts = words.windows(2).filter_map(|pair| match pair {
        ["packets", count] => count.parse::<u64>().ok(),
        _ => None,
    });
    let counts: Vec<_> = counts.collect();
    ensure!(!counts.is_empty(), "{chain} has no counters:\n{text}");
    Ok(counts.iter().sum())
}

fn setup(lab: &Lab, command: &str) -> Result<Vec<String>> {
    Ok(vec![lab.built("bip324-setup")?, command.to_owned()])
}
