//! `bip324ctl` in the host's namespace, and the control socket that it asks.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result};
use nix::unistd::User;
use serde_json::Value;

use crate::identity::Identity;
use crate::lab::Lab;
use crate::prerequisite::DAEMON_USER;
use crate::process::{finish, output};
use crate::tmux::Tmux;

/// Where the daemon of this test is to listen: `--control` of [`crate::daemon::Daemon::start`].
///
/// # Errors
///
/// Where the folder, which belongs to the daemon's user, cannot be made.
pub fn socket(lab: &Lab) -> Result<PathBuf> {
    let folder = lab.folder().join("control");
    if !folder.exists() {
        fs::create_dir(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
        let user = User::from_name(DAEMON_USER)?.context("no user for the daemon")?;
        chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(folder.join("control.sock"))
}

/// Runs it as `identity` to its end; exit status and text are the answer.
///
/// # Errors
///
/// Where it cannot be run.
pub fn ctl(lab: &Lab, identity: Identity, arguments: &[&str]) -> Result<Output> {
    finish(lab.command(&lab.host, identity, &words(lab, arguments)?)?)
}

/// Runs it as root with `--json`, and hands back what it printed.
///
/// # Errors
///
/// Where it fails, or prints something else.
pub fn json(lab: &Lab, arguments: &[&str]) -> Result<Value> {
    let words = words(lab, &[arguments, &["--json"]].concat())?;
    let printed = output(lab.command(&lab.host, Identity::Root, &words)?)?;
    Ok(serde_json::from_slice(&printed.stdout)?)
}

/// Starts `bip324ctl top` as root in a terminal.
///
/// # Errors
///
/// Where it does not come up.
pub fn top(lab: &Lab, terminal: &Tmux) -> Result<()> {
    let command = lab.command(&lab.host, Identity::Root, &words(lab, &["top"])?)?;
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''")));
    let script = lab.folder().join("top.sh");
    fs::write(&script, format!("exec {}\n", quoted.collect::<Vec<_>>().join(" ")))?;
    terminal.enter(&format!("sh {}", script.display()))?;
    terminal.wait_for("the dashboard", |screen| screen.contains(" by number")).map(drop)
}

fn words(lab: &Lab, arguments: &[&str]) -> Result<Vec<String>> {
    let mut words = vec![lab.built("bip324ctl")?, "--socket".to_owned()];
    words.push(socket(lab)?.display().to_string());
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    Ok(words)
}
