//! `bip324ctl check`: control socket, daemon and rules, in this order, and how to mend what is wrong.

use std::path::Path;
use std::time::Duration;

use bip324_control::Status;
use serde::Serialize;

use crate::cli::Output;
use crate::client::Client;
use crate::exit::{Error, Exit, Outcome};
use crate::printable::{json, printable};
use crate::rules::Rules;
use crate::status::{kinds, prove_rules};
use crate::units;
use crate::words::reason;

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether all is as it should be, and known to be.
    pub ok: bool,
    /// In the order in which they were looked at.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// The same in words, and how to mend it.
    pub said: String,
}

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth a look.
    Note,
    /// This user cannot tell.
    Unknown,
    /// Wrong.
    Failed,
}

/// Runs the command. What is wrong is no error here, but its exit code is the program's.
///
/// # Errors
/// When there is no thread to check the rules on.
pub async fn run(socket: &Path, output: Output) -> Outcome {
    let (mut findings, mut exit) = (Vec::new(), Exit::Ok);
    let daemon = match ask(socket).await {
        Ok(daemon) => {
            findings.push(finding("socket", Verdict::Ok, socket.display().to_string()));
            findings.extend(of_daemon(&daemon));
            Some(daemon)
        }
        Err(error) => {
            exit = error.exit();
            findings.push(finding("socket", Verdict::Failed, error.line()));
            None
        }
    };
    let rules = prove_rules(daemon.as_ref()).await?;
    if exit == Exit::Ok {
        exit = match rules {
            Rules::Alive { .. } => Exit::Ok,
            Rules::Broken { .. } => Exit::Config,
            Rules::Unknown { .. } => Exit::NoPerm,
        };
    }
    findings.push(of_rules(rules));
    let report = Report { ok: exit == Exit::Ok, findings };
    Ok((if output.json { json(&report) } else { report.text() }, exit))
}

async fn ask(socket: &Path) -> Result<Status, Error> {
    Ok(Client::connect(socket).await?.status().await?)
}

fn of_daemon(daemon: &Status) -> Vec<Finding> {
    let up = units::time(Duration::from_millis(daemon.uptime));
    let said = format!(
        "bip324-proxy {}, up {up}, sessions now: {}",
        printable(&daemon.version),
        kinds(&daemon.sessions)
    );
    let mut findings = vec![finding("daemon", Verdict::Ok, said)];
    let mut note = |what, said| findings.push(finding(what, Verdict::Note, said));
    if daemon.fallback != "reject" {
        let said = "peers without v2 are spoken to in PLAINTEXT: set fallback = \"reject\" unless \
                    that is meant";
        note("fallback", said.to_owned());
    }
    for name in ["full", "user_full", "memory", "untracked", "downgrade"] {
        if let Some(count) = daemon.refused.get(name) {
            let times = units::counted(*count, "time", "times");
            note("refused", format!("{times} since the start: {}", reason(name)));
        }
    }
    if daemon.panics > 0 {
        let sessions = units::counted(daemon.panics, "session", "sessions");
        note("bug", format!("{sessions} ended in a panic: please report it, with the log"));
    }
    findings
}

fn of_rules(rules: Rules) -> Finding {
    let (verdict, said) = match rules {
        Rules::Alive { said } => (Verdict::Ok, said),
        Rules::Broken { said, .. } => (Verdict::Failed, said),
        Rules::Unknown { said } => {
            (Verdict::Unknown, format!("cannot tell from this user, root can: {said}"))
        }
    };
    finding("rules", verdict, said)
}

const fn finding(what: &'static str, verdict: Verdict, said: String) -> Finding {
    Finding { what, verdict, said }
}

impl Report {
    /// A line for each.
    #[must_use]
    pub fn text(&self) -> String {
        self.findings.iter().map(Finding::line).collect()
    }
}

impl Finding {
    fn line(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Note => "note",
            Verdict::Unknown => "?",
            Verdict::Failed => "FAILED",
        };
        format!("{verdict:<8}{:<10}{}\n", self.what, self.said)
    }
}
