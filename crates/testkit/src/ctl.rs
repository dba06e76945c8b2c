//! `bip324ctl` in the host's namespace.

use std::fs;
use std::process::Output;

use anyhow::Result;
use serde_json::Value;

use crate::control::Control;
use crate::identity::Identity;
use crate::lab::Lab;
use crate::process::{finish, output};
use crate::tmux::Tmux;

/// Runs it as `identity` to its end; exit status and text are the answer.
///
/// # Errors
///
/// Where it cannot be run.
pub fn ctl(lab: &Lab, control: &Control, identity: Identity, arguments: &[&str]) -> Result<Output> {
    finish(lab.command(&lab.host, identity, &words(lab, control, arguments)?)?)
}

/// Runs it as root with `--json`, and hands back what it printed.
///
/// # Errors
///
/// Where it fails, or prints something else.
pub fn json(lab: &Lab, control: &Control, arguments: &[&str]) -> Result<Value> {
    let words = words(lab, control, &[arguments, &["--json"]].concat())?;
    let printed = output(lab.command(&lab.host, Identity::Root, &words)?)?;
    Ok(serde_json::from_slice(&printed.stdout)?)
}

/// Starts `bip324ctl top` as root in a terminal.
///
/// # Errors
///
/// Where it does not come up.
pub fn top(lab: &Lab, control: &Control, terminal: &Tmux) -> Result<()> {
    let command = lab.command(&lab.host, Identity::Root, &words(lab, control, &["top"])?)?;
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")));
    let script = lab.folder().join("top.sh");
    fs::write(&script, format!("exec {}\n", quoted.collect::<Vec<_>>().join(" ")))?;
    terminal.enter(&format!("sh {}", script.display()))?;
    terminal.wait_for("the dashboard", |screen| screen.contains(" by number")).map(drop)
}

fn words(lab: &Lab, control: &Control, arguments: &[&str]) -> Result<Vec<String>> {
    let mut words = vec![lab.built("bip324ctl")?, "--socket".to_owned()];
    words.push(control.socket());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    Ok(words)
}
