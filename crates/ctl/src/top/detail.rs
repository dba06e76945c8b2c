//! The selected session in full, with its id for reading aloud.

use bip324_control::{Kind, Session};
use ratatui::text::{Line, Span};

use super::look::Look;
use super::state::{Row, State};
use crate::id::grouped;
use crate::process::{Process, user};
use crate::saved::Saved;
use crate::sessions::{last, or_dash};
use crate::units;
use crate::words::meaning;

/// How many lines.
pub(super) const LINES: u16 = 8;

/// The lines; none where no session is selected.
#[must_use]
pub(super) fn lines(state: &State, look: Look, width: usize) -> Vec<Line<'static>> {
    let Some(selected) = state.selected.and_then(|id| state.rows.get(&id)) else {
        return Vec::new();
    };
    let session = &selected.session;
    let title = format!(" Session {}: {}", session.id, meaning(session.kind));
    let room = width.saturating_sub(LABEL + 1);
    let row = |label: &str, text: &str| {
        let label = Span::styled(format!(" {label:<LABEL$}"), look.bold());
        Line::from(vec![label, Span::raw(look.cut(text, room))])
    };
    let mut lines = vec![
        Line::styled(title, look.kind(session.kind).patch(look.reversed())),
        row("Client", &client(selected)),
        row("Peer", &peer(session)),
        row("Carried", &carried(session)),
        row("Saved", &saved(session)),
        row("Last", &lasts(state, selected)),
    ];
    for (label, half) in ["Id", ""].into_iter().zip(id(session)) {
        lines.push(row(label, &half));
    }
    lines
}

fn client(row: &Row) -> String {
    let session = &row.session;
    let process = match &row.process {
        Some(Process { pid, name }) => format!("process {pid} {name}, "),
        None => String::new(),
    };
    let user = session.uid.map_or_else(String::new, |uid| format!("user {}, ", user(uid)));
    format!("{process}{user}{}, {}", session.client, or_dash(session.client_agent.as_deref()))
}

fn peer(session: &Session) -> String {
    let network = or_dash(session.network.as_deref());
    format!("{}, {network}, {}", session.destination, or_dash(session.peer_agent.as_deref()))
}

fn carried(session: &Session) -> String {
    let Session { to_peer, to_client, .. } = session;
    let [up1, up2, down2, down1] =
        [to_peer.client_bytes, to_peer.peer_bytes, to_client.peer_bytes, to_client.client_bytes]
            .map(units::bytes);
    format!("up v1 {up1}, v2 {up2}; down v2 {down2}, v1 {down1}")
}

fn saved(session: &Session) -> String {
    match session.kind {
        Kind::V2 => Saved::of_flows(&session.to_peer, &session.to_client).to_string(),
        Kind::Passthrough | Kind::Fallback => "-".to_owned(),
    }
}

fn lasts(state: &State, row: &Row) -> String {
    let Session { to_peer, to_client, handshake, .. } = &row.session;
    let [sent, received] = [to_peer.messages, to_client.messages].map(units::count);
    format!(
        "{} of {sent}/{received} messages, age {}, handshake {}",
        last(to_peer, to_client),
        units::age(state.age(row)),
        units::micros(*handshake)
    )
}

/// In two halves where there is one.
fn id(session: &Session) -> Vec<String> {
    match (session.session_id.as_deref(), session.kind) {
        (Some(id), _) => grouped(id, 8),
        (None, Kind::V2) => vec!["unknown".to_owned()],
        (None, Kind::Passthrough) => vec!["known to the client and the peer alone".to_owned()],
        (None, Kind::Fallback) => vec!["none".to_owned()],
    }
}

/// Columns of a label, behind the space in front.
const LABEL: usize = 9;
