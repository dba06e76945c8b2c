//! `bip324ctl sessions`: a line for each session.

use std::net::SocketAddr;
use std::path::Path;

use bip324_control::{Flow, Scope, Session};
use nix::unistd::geteuid;
use serde::Serialize;

use crate::cli::Output;
use crate::client::Client;
use crate::exit::{Error, Exit, Outcome};
use crate::printable::{json, printable};
use crate::process::{self, Process};
use crate::table::{Column, table};
use crate::terminal::Terminal;
use crate::units;
use crate::words::transport;

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whose sessions they are.
    pub scope: Scope,
    /// Oldest first.
    pub sessions: Vec<Entry>,
}

/// A session and its client.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// As the daemon tells it.
    #[serde(flatten)]
    pub session: Session,
    /// The client's process, where this user may see it.
    pub process: Option<Process>,
}

/// Runs the command.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn run(socket: &Path, output: Output) -> Outcome {
    let mut client = Client::connect(socket).await?;
    let (scope, sessions) = client.sessions().await?;
    let listeners = listeners(&mut client, &sessions).await?;
    let mut processes = process::clients(&sessions, &listeners);
    let entry = |session: Session| Entry { process: processes.remove(&session.id), session };
    let report = Report { scope, sessions: sessions.into_iter().map(entry).collect() };
    let text = || report.text(Terminal::stdout());
    Ok((if output.json { json(&report) } else { text() }, Exit::Ok))
}

/// The daemon's listeners, where a session's client is connected to one of them.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn listeners(
    client: &mut Client,
    sessions: &[Session],
) -> Result<Vec<SocketAddr>, Error> {
    if sessions.iter().all(|session| session.redirected) {
        return Ok(Vec::new());
    }
    Ok(client.status().await?.listeners)
}

impl Report {
    /// A table, and on a terminal what is missing in it.
    #[must_use]
    pub fn text(&self, terminal: Terminal) -> String {
        if self.sessions.is_empty() {
            return nothing(self.scope).to_owned();
        }
        let rows: Vec<_> = self.sessions.iter().map(row).collect();
        let table = table(&COLUMNS, &rows, terminal);
        let mut text = table.text;
        if terminal.width.is_none() {
            return text;
        }
        if !table.left_out.is_empty() {
            let titles = table.left_out.join(", ");
            text += &format!("No room for: {titles}. `bip324ctl session ID` shows one session.\n");
        }
        if self.sessions.iter().any(|entry| entry.process.is_none()) {
            text += unseen();
        }
        text
    }
}

const fn nothing(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "No sessions. A client is started with `bip324-run CLIENT`.\n",
        Scope::Own => {
            "No sessions of this user; root sees everybody's. A client is started with \
             `bip324-run CLIENT`.\n"
        }
    }
}

/// Why a process is not shown.
#[must_use]
pub fn unseen() -> &'static str {
    if geteuid().is_root() {
        "A client without a process has closed its connection, or is in a container.\n"
    } else {
        "Processes under the clients' group are seen by root and by \
         `bip324-run bip324ctl sessions`.\n"
    }
}

fn row(entry: &Entry) -> Vec<String> {
    let Session { id, kind, destination, to_peer, to_client, .. } = &entry.session;
    vec![
        id.to_string(),
        client(entry),
        destination.to_string(),
        transport(*kind).to_owned(),
        or_dash(entry.session.network.as_deref()),
        or_dash(entry.session.peer_agent.as_deref()),
        units::age(entry.session.age),
        units::bytes(to_peer.client_bytes),
        units::bytes(to_peer.peer_bytes),
        units::bytes(to_client.peer_bytes),
        units::bytes(to_client.client_bytes),
        last(to_peer, to_client),
        or_dash(entry.session.session_id.as_deref()),
    ]
}

/// The process, or whose it is.
#[must_use]
pub fn client(entry: &Entry) -> String {
    match (&entry.process, entry.session.uid) {
        (Some(Process { pid, name }), _) => format!("{pid} {}", printable(name)),
        (None, Some(uid)) => format!("user {}", printable(&process::user(uid))),
        (None, None) => "-".to_owned(),
    }
}

/// The last message to the peer and the last one from it.
#[must_use]
pub fn last(to_peer: &Flow, to_client: &Flow) -> String {
    let [sent, received] = [to_peer, to_client].map(|flow| or_dash(flow.last.as_deref()));
    format!("{sent}/{received}")
}

/// Text of a peer's, or that there is none.
#[must_use]
pub fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map_or_else(|| "-".to_owned(), printable)
}

/// `UP` goes to the peer: v1 from the client, v2 to the peer; `DOWN` comes from it.
const COLUMNS: [Column; 13] = [
    figures("ID", 0),
    text("CLIENT", 10, 6),
    text("PEER", 18, 0),
    text("VIA", 9, 0),
    text("NETWORK", 7, 1),
    text("PEER'S AGENT", 12, 3),
    figures("AGE", 7),
    figures("UP v1", 4),
    figures("UP v2", 8),
    figures("DOWN v2", 9),
    figures("DOWN v1", 5),
    text("LAST UP/DOWN", 12, 2),
    text("SESSION ID", 10, 0),
];

const fn figures(title: &'static str, leaves: u8) -> Column {
    Column { title, figures: true, least: 0, leaves }
}

const fn text(title: &'static str, least: usize, leaves: u8) -> Column {
    Column { title, figures: false, least, leaves }
}
