//! The dashboard where there is no terminal that can be drawn on: a line a second.

use std::io::{self, Write};

use bip324_control::{Event, Status};

use super::state::{Message, State};
use crate::printable::printable;
use crate::saved::Saved;
use crate::status::kinds;
use crate::units;

/// Takes in a message; the line that it makes, if any.
pub(super) fn line(message: Message, state: &mut State) -> Option<String> {
    let (mut is_status, mut is_end) = (false, false);
    match &message {
        Message::Event(event) => match **event {
            Event::Traffic { .. } => is_status = true,
            Event::Closed { .. } => is_end = true,
            Event::Opened { .. } | Event::Lost { .. } => {}
        },
        Message::Subscribed(_) => is_status = true,
        _ => {}
    }
    state.take(message);
    if let Some(why) = &state.gone {
        return Some(format!("not connected, trying again: {}", printable(why)));
    }
    if is_end {
        return Some(printable(&state.note));
    }
    state.status.as_ref().filter(|_| is_status).map(|status| of_status(status, state))
}

fn of_status(status: &Status, state: &State) -> String {
    let [up, down] = [state.total.up, state.total.down].map(units::bytes);
    let refused: u64 = status.refused.values().sum();
    let saved = Saved::of(&status.traffic);
    format!(
        "{}; up {up}/s, down {down}/s; {saved}; {} refused",
        kinds(&status.sessions),
        units::count(refused)
    )
}

/// Prints a line at once.
///
/// # Errors
/// When nobody reads any more.
pub(super) fn print(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
