//! `bip324ctl session N`: one session, with its messages by type and its id for reading aloud.

use std::path::Path;
use std::time::Duration;

use bip324_control::{Detail, Kind, Session, TypeCount};
use serde::Serialize;

use crate::cli;
use crate::client::Client;
use crate::exit::{Exit, Outcome};
use crate::id::grouped;
use crate::printable::{json, printable};
use crate::process;
use crate::saved::Saved;
use crate::sessions::{Entry, client, last, listeners, or_dash};
use crate::table::{Column, table};
use crate::terminal::Terminal;
use crate::units;
use crate::words::meaning;

/// What is printed.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The session and its client.
    #[serde(flatten)]
    pub entry: Entry,
    /// What v2 saved, where it is translated.
    pub saved: Option<Saved>,
    /// Messages by type to the peer, and from it.
    pub types: Types,
}

/// Messages by type, the most bytes first.
#[derive(Debug, Serialize)]
pub struct Types {
    /// From the client to the peer.
    pub to_peer: Vec<TypeCount>,
    /// From the peer to the client.
    pub to_client: Vec<TypeCount>,
}

/// Runs the command.
///
/// # Errors
/// When the daemon cannot be asked, or there is no such session.
pub async fn run(socket: &Path, arguments: &cli::Session) -> Outcome {
    let mut daemon = Client::connect(socket).await?;
    let Detail { session, to_peer, to_client } = daemon.session(arguments.id).await?;
    let one = std::slice::from_ref(&session);
    let listeners = listeners(&mut daemon, one).await?;
    let process = process::clients(one, &listeners).remove(&session.id);
    let saved = matches!(session.kind, Kind::V2)
        .then(|| Saved::of_flows(&session.to_peer, &session.to_client));
    let entry = Entry { session, process };
    let report = Report { entry, saved, types: Types { to_peer, to_client } };
    Ok((if arguments.output.json { json(&report) } else { report.text() }, Exit::Ok))
}

impl Report {
    /// The facts, the id, and a table for each direction.
    #[must_use]
    pub fn text(&self) -> String {
        let Session { id, kind, destination, network, to_peer, to_client, .. } =
            &self.entry.session;
        let session = &self.entry.session;
        let age = units::time(Duration::from_millis(session.age));
        let way = if session.redirected { "redirected" } else { "connected to the daemon itself" };
        let mut text = format!("Session {id}: {}\n\n", meaning(*kind));
        let mut fact = |label: &str, fact: &str| text += &format!("{label:<LABEL$}{fact}\n");
        fact("Client", &format!("{}, {}, {way}", client(&self.entry), session.client));
        fact("Peer", &format!("{destination}, network {}", or_dash(network.as_deref())));
        fact("Agents", &agents(session));
        fact("Age", &format!("{age}, established after {}", units::micros(session.handshake)));
        fact("Last", &format!("{} (to the peer/from the peer)", last(to_peer, to_client)));
        if let Some(saved) = self.saved {
            let Saved { v1, v2, .. } = saved;
            let [v1, v2] = [v1, v2].map(units::bytes);
            fact("Bandwidth", &format!("{saved}: v1 {v1}, v2 {v2}"));
        }
        text += &id_text(session);
        text += &types("To the peer", &self.types.to_peer);
        text += &types("From the peer", &self.types.to_client);
        text
    }
}

fn agents(session: &Session) -> String {
    let [client, peer] = [&session.client_agent, &session.peer_agent];
    format!("client {}, peer {}", or_dash(client.as_deref()), or_dash(peer.as_deref()))
}

fn id_text(session: &Session) -> String {
    let Some(id) = session.session_id.as_deref() else {
        let why = match session.kind {
            Kind::V2 => "unknown",
            Kind::Passthrough => "known to the client and the peer alone",
            Kind::Fallback => "none: this is plaintext, which anybody on the path reads and alters",
        };
        return format!("{:<LABEL$}{why}\n", "Session id");
    };
    let id = printable(id);
    let lines: Vec<_> = grouped(&id, 8).iter().map(|line| format!("    {line}\n")).collect();
    let lines = lines.concat();
    format!(
        "\nSession id, to compare with what the peer's owner reads out (`bitcoin-cli getpeerinfo`);\n\
         equal ids mean that nobody sits in between (`bip324ctl verify`):\n\n{lines}\n    {id}\n"
    )
}

fn types(title: &str, counts: &[TypeCount]) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = counts.iter().map(row).collect();
    let plain = Terminal { width: None, unicode: false };
    format!("\n{title}:\n\n{}", table(&COLUMNS, &rows, plain).text)
}

fn row(count: &TypeCount) -> Vec<String> {
    let TypeCount { name, messages, client_bytes, peer_bytes } = count;
    let figures = [*messages, *client_bytes, *peer_bytes].map(units::count);
    [printable(name)].into_iter().chain(figures).collect()
}

const COLUMNS: [Column; 4] = [
    Column { title: "TYPE", figures: false, least: 4, leaves: 0 },
    Column { title: "MESSAGES", figures: true, least: 0, leaves: 0 },
    Column { title: "v1 BYTES", figures: true, least: 0, leaves: 0 },
    Column { title: "v2 BYTES", figures: true, least: 0, leaves: 0 },
];

/// Columns of a label.
const LABEL: usize = 12;
