//! A line a session: as many columns as there is room for, the page that the cursor is on.

use bip324_control::Kind;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::look::Look;
use super::state::{Row, State};
use crate::process::user;
use crate::sessions::{last, or_dash};
use crate::units;

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Id,
    Client,
    Peer,
    Agent,
    Via,
    Age,
    Up,
    Down,
    Sum,
    Last,
    Trend,
    SessionId,
}

/// The headings and a page of rows, or why there are none.
#[must_use]
pub(super) fn lines(state: &State, look: Look, width: usize) -> Vec<Line<'static>> {
    let columns = fitting(width);
    let mut lines = vec![headings(&columns, look)];
    let shown = state.shown();
    if shown.is_empty() {
        lines.push(Line::from(nothing(state)));
        return lines;
    }
    let first = state.cursor - state.cursor % state.page;
    for row in shown.into_iter().skip(first).take(state.page) {
        if state.selected == Some(row.session.id) {
            // Reversed as a whole: colours in it would be patches.
            let plain = Look { color: false, ..look };
            lines.push(line(state, row, &columns, plain).style(look.reversed()));
        } else {
            lines.push(line(state, row, &columns, look));
        }
    }
    lines
}

fn nothing(state: &State) -> String {
    let why = if !state.order.filter.is_empty() {
        format!("no session matches {:?}; Esc ends the filter", state.order.filter)
    } else if state.status.is_none() {
        String::new()
    } else {
        match state.scope {
            bip324_control::Scope::All => {
                "no sessions; start a client: bip324-run CLIENT".to_owned()
            }
            bip324_control::Scope::Own => {
                "no sessions of this user; start a client: bip324-run CLIENT".to_owned()
            }
        }
    };
    format!(" {why}")
}

/// Which columns this width has room for, in the order in which they stand, and how wide they are.
fn fitting(width: usize) -> Vec<(Column, usize)> {
    let mut chosen: Vec<Column> = Vec::new();
    for column in BY_IMPORTANCE {
        let with = chosen.iter().chain([&column]).map(|column| column.least() + 1).sum::<usize>();
        if with <= width {
            chosen.push(column);
        }
    }
    let taken: usize = chosen.iter().map(|column| column.least() + 1).sum();
    let mut room = width.saturating_sub(taken);
    let mut widths = Vec::new();
    for column in IN_ORDER.into_iter().filter(|column| chosen.contains(column)) {
        widths.push((column, column.least()));
    }
    for wanting in [Column::Client, Column::Peer, Column::SessionId, Column::Trend] {
        for (_, width) in widths.iter_mut().filter(|(column, _)| *column == wanting) {
            let more = (wanting.most() - wanting.least()).min(room);
            *width += more;
            room -= more;
        }
    }
    widths
}

fn headings(columns: &[(Column, usize)], look: Look) -> Line<'static> {
    let titles = columns.iter().map(|(column, width)| column.aligned(column.title(), *width));
    Line::styled(titles.collect::<String>(), look.bold())
}

fn line(state: &State, row: &Row, columns: &[(Column, usize)], look: Look) -> Line<'static> {
    let spans = columns.iter().map(|(column, width)| {
        let text = column.text(state, row, look, *width);
        let style = match column {
            Column::Via => look.kind(row.session.kind),
            Column::Trend => look.chart(),
            _ => Style::new(),
        };
        Span::styled(column.aligned(&look.keep(*column, &text, *width), *width), style)
    });
    Line::from(spans.collect::<Vec<_>>())
}

impl Look {
    /// What was drawn here stays; what came from elsewhere is made printable.
    fn keep(self, column: Column, text: &str, width: usize) -> String {
        if column == Column::Trend { text.to_owned() } else { self.cut(text, width) }
    }
}

impl Column {
    fn text(self, state: &State, row: &Row, look: Look, width: usize) -> String {
        let session = &row.session;
        match self {
            Self::Id => session.id.to_string(),
            Self::Client => client(row),
            Self::Peer => session.destination.to_string(),
            Self::Agent => or_dash(session.peer_agent.as_deref()),
            Self::Via => match session.kind {
                Kind::V2 => "v2".to_owned(),
                Kind::Passthrough => "pass".to_owned(),
                Kind::Fallback => "PLAIN".to_owned(),
            },
            Self::Age => units::age(state.age(row)),
            Self::Up => units::bytes(row.pace.up),
            Self::Down => units::bytes(row.pace.down),
            Self::Sum => units::bytes(row.bytes()),
            Self::Last => last(&session.to_peer, &session.to_client),
            Self::Trend => look.spark(row.pace.history.iter().copied(), width),
            Self::SessionId => or_dash(session.session_id.as_deref()),
        }
    }

    /// With the space in front of it.
    fn aligned(self, text: &str, width: usize) -> String {
        match self {
            Self::Id | Self::Age | Self::Up | Self::Down | Self::Sum => format!(" {text:>width$}"),
            _ => format!(" {text:<width$}"),
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Id => "ID",
            Self::Client => "CLIENT",
            Self::Peer => "PEER",
            Self::Agent => "PEER'S AGENT",
            Self::Via => "VIA",
            Self::Age => "AGE",
            Self::Up => "UP/s",
            Self::Down => "DOWN/s",
            Self::Sum => "BYTES",
            Self::Last => "LAST UP/DOWN",
            Self::Trend => "TREND",
            Self::SessionId => "SESSION ID",
        }
    }

    const fn least(self) -> usize {
        match self {
            Self::Id | Self::Via => 5,
            Self::Age => 6,
            Self::Up | Self::Down | Self::Sum => 8,
            Self::Client => 14,
            Self::Peer => 21,
            Self::Agent => 18,
            Self::Last => 20,
            Self::Trend => 10,
            Self::SessionId => 17,
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Client => 20,
            Self::Peer => 26,
            Self::Trend => super::state::HISTORY,
            Self::SessionId => crate::id::DIGITS,
            _ => self.least(),
        }
    }
}

/// The process, or the user.
fn client(row: &Row) -> String {
    match (&row.process, row.session.uid) {
        (Some(process), _) => format!("{} {}", process.pid, process.name),
        (None, Some(uid)) => format!("user {}", user(uid)),
        (None, None) => "-".to_owned(),
    }
}

const BY_IMPORTANCE: [Column; 12] = [
    Column::Id,
    Column::Peer,
    Column::Via,
    Column::Down,
    Column::Up,
    Column::Client,
    Column::Trend,
    Column::Age,
    Column::Sum,
    Column::Agent,
    Column::Last,
    Column::SessionId,
];

const IN_ORDER: [Column; 12] = [
    Column::Id,
    Column::Client,
    Column::Peer,
    Column::Via,
    Column::Agent,
    Column::Age,
    Column::Sum,
    Column::Last,
    Column::SessionId,
    Column::Up,
    Column::Down,
    Column::Trend,
];
