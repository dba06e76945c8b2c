//! `bip324ctl status`: the daemon, the rules, and what v2 saved.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bip324_control::{ByKind, Flow, Handshakes, Status};
use serde::Serialize;

use crate::cli::Output;
use crate::client::Client;
use crate::exit::{Error, Exit, Outcome};
use crate::printable::{json, printable};
use crate::rules::Rules;
use crate::saved::Saved;
use crate::terminal::Terminal;
use crate::units;
use crate::words::{breaks_off, reason, wrapped};

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the daemon says.
    pub daemon: Status,
    /// The rules.
    pub rules: Rules,
    /// What v2 saved.
    pub saved: Saved,
}

/// Runs the command.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn run(socket: &Path, output: Output) -> Outcome {
    let daemon = Client::connect(socket).await?.status().await?;
    let rules = prove_rules(Some(&daemon)).await?;
    let report = Report { saved: Saved::of(&daemon.traffic), daemon, rules };
    let exit = match report.rules {
        Rules::Broken { .. } => Exit::Config,
        Rules::Alive { .. } | Rules::Unknown { .. } => Exit::Ok,
    };
    let width = Terminal::stdout().width.unwrap_or(WIDTH);
    Ok((if output.json { json(&report) } else { report.text(width) }, exit))
}

/// [`Rules::prove`], on a thread that may block.
///
/// # Errors
/// When there is no thread.
pub async fn prove_rules(daemon: Option<&Status>) -> Result<Rules, Error> {
    let port = daemon.and_then(|daemon| daemon.listeners.first()).map(SocketAddr::port);
    let proof = tokio::task::spawn_blocking(move || Rules::prove(port)).await;
    proof.map_err(|error| Error::System("cannot check the rules", std::io::Error::other(error)))
}

impl Report {
    /// A line for each fact, of this width if it can be.
    #[must_use]
    pub fn text(&self, width: usize) -> String {
        let daemon = &self.daemon;
        let mut lines = Lines { text: String::new(), width };
        lines.fact("Daemon", &daemon_line(daemon));
        lines.fact("Listeners", &listeners(daemon));
        lines.fact("Rules", &rules(&self.rules));
        lines.fact("Fallback", fallback(daemon));
        lines.fact("Sessions", &sessions(daemon));
        lines.fact("", &format!("since the start {}", kinds(&daemon.served)));
        lines.fact("Bandwidth", &bandwidth(daemon, self.saved));
        for (what, flow) in
            [("to peers", &daemon.traffic.v2_to_peer), ("from peers", &daemon.traffic.v2_to_client)]
        {
            lines.fact("", &format!("{what}: {}", sides(flow)));
        }
        lines.fact("Handshakes", &handshakes(&daemon.handshakes));
        let Ends { refused, broken_off } = Ends::of(daemon);
        lines.fact("Refused", &refused_of(daemon, &refused));
        lines.reasons(&refused);
        if !broken_off.is_empty() {
            let sessions = units::counted(total(&broken_off), "session", "sessions");
            lines.fact("Broken off", &sessions);
            lines.reasons(&broken_off);
        }
        if daemon.panics > 0 {
            let what = units::counted(daemon.panics, "session", "sessions");
            lines.fact("BUG", &format!("{what} ended in a panic: please report it, with the log"));
        }
        lines.text
    }
}

/// Facts under their labels.
struct Lines {
    text: String,
    width: usize,
}

impl Lines {
    fn fact(&mut self, label: &str, fact: &str) {
        let room = self.width.saturating_sub(LABEL).max(LABEL);
        let mut label = label;
        for line in wrapped(fact, room) {
            let filled = format!("{label:<LABEL$}{line}");
            self.text.push_str(filled.trim_end());
            self.text.push('\n');
            label = "";
        }
    }

    fn reasons(&mut self, reasons: &[(&str, u64)]) {
        for (name, count) in reasons {
            self.fact("", &format!("{} {}", units::count(*count), reason(name)));
        }
    }
}

fn daemon_line(daemon: &Status) -> String {
    let Status { version, pid, uptime, .. } = daemon;
    let uptime = units::time(Duration::from_millis(*uptime));
    format!("bip324-proxy {}, process {pid}, up {uptime}", printable(version))
}

fn listeners(daemon: &Status) -> String {
    let listeners: Vec<_> = daemon.listeners.iter().map(ToString::to_string).collect();
    if listeners.is_empty() { "none".to_owned() } else { listeners.join(", ") }
}

/// How the rules stand, as a sentence.
#[must_use]
pub fn rules(rules: &Rules) -> String {
    match rules {
        Rules::Alive { said } => format!("alive: {said}"),
        Rules::Broken { said, .. } => format!("BROKEN: {said}"),
        Rules::Unknown { said } => format!("cannot tell from this user: {said}"),
    }
}

fn fallback(daemon: &Status) -> &'static str {
    match daemon.fallback.as_str() {
        "reject" => "reject: a peer that does not speak v2 is refused",
        "v1" => "v1: a peer that does not speak v2 is spoken to in PLAINTEXT",
        _ => "of a kind that this program does not know",
    }
}

fn sessions(daemon: &Status) -> String {
    let ByKind { v2, passthrough, fallback } = daemon.sessions;
    let now = v2.saturating_add(passthrough).saturating_add(fallback);
    let [now, max] = [now, daemon.limits.max_sessions].map(units::count);
    format!("{now} of {max} now: {}", kinds(&daemon.sessions))
}

/// `12 v2, 1 passthrough, 0 plaintext`.
#[must_use]
pub fn kinds(kinds: &ByKind) -> String {
    let ByKind { v2, passthrough, fallback } = kinds;
    let plaintext = if *fallback > 0 { "PLAINTEXT" } else { "plaintext" };
    let [v2, passthrough, fallback] = [v2, passthrough, fallback].map(|n| units::count(*n));
    format!("{v2} v2, {passthrough} passthrough, {fallback} {plaintext}")
}

fn bandwidth(daemon: &Status, saved: Saved) -> String {
    if saved.v1 == 0 {
        return "nothing was translated yet".to_owned();
    }
    let (to_peer, to_client) = (&daemon.traffic.v2_to_peer, &daemon.traffic.v2_to_client);
    let both = Flow {
        client_bytes: saved.v1,
        peer_bytes: saved.v2,
        messages: to_peer.messages.saturating_add(to_client.messages),
        ..Flow::default()
    };
    format!("{saved}: {}", sides(&both))
}

fn sides(flow: &Flow) -> String {
    let Flow { client_bytes, peer_bytes, messages, .. } = *flow;
    let messages = units::counted(messages, "message", "messages");
    format!("v1 {}, v2 {}, {messages}", units::bytes(client_bytes), units::bytes(peer_bytes))
}

fn handshakes(handshakes: &Handshakes) -> String {
    let Handshakes { count, sum, p50, p99, .. } = handshakes;
    let (Some(p50), Some(p99), Some(mean)) = (p50, p99, sum.checked_div(*count)) else {
        return "none yet".to_owned();
    };
    let [mean, p50, p99] = [mean, *p50, *p99].map(units::micros);
    let count = units::count(*count);
    format!("{count}: {mean} on average, half within {p50}, 99 of 100 within {p99}")
}

fn refused_of(daemon: &Status, refused: &[(&str, u64)]) -> String {
    let refused = total(refused);
    let accepted = units::counted(daemon.accepted, "connection", "connections");
    let canaries = units::counted(daemon.canaries, "canary", "canaries");
    format!("{} of {accepted} ({canaries} among them)", units::count(refused))
}

/// Why connections were refused or broken off, the most frequent first.
#[must_use]
pub fn by_count(daemon: &Status) -> Vec<(&str, u64)> {
    let mut reasons: Vec<_> = daemon.refused.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons
}

/// The same, told apart.
#[derive(Debug)]
pub struct Ends<'a> {
    /// Connections that came to nothing.
    pub refused: Vec<(&'a str, u64)>,
    /// Established sessions that did not end by themselves.
    pub broken_off: Vec<(&'a str, u64)>,
}

impl<'a> Ends<'a> {
    /// What the daemon counts as one.
    #[must_use]
    pub fn of(daemon: &'a Status) -> Self {
        let all = by_count(daemon).into_iter();
        let (broken_off, refused) = all.partition(|(name, _)| breaks_off(name));
        Self { refused, broken_off }
    }
}

/// How often altogether.
#[must_use]
pub fn total(reasons: &[(&str, u64)]) -> u64 {
    reasons.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// Columns of a label.
const LABEL: usize = 12;

/// Columns where there is no terminal.
const WIDTH: usize = 100;
