//! The dashboard where there is no terminal that can be drawn on: a line a second.

use std::io::{self, Write};

use bip324_control::{Event, Status};

use super::state::{Message, State};
use crate::printable::printable;
use crate::saved::Saved;
use crate::status::{Ends, kinds, total};
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
    let known = state.gone.clone();
    state.take(message);
    if let Some(why) = &state.gone {
        // Each attempt to reach it tells, most of them the same.
        return (known.as_ref() != Some(why))
            .then(|| format!("not connected, trying again: {}", printable(why)));
    }
    if is_end {
        return Some(printable(&state.note));
    }
    state.status.as_ref().filter(|_| is_status).map(|status| of_status(status, state))
}

fn of_status(status: &Status, state: &State) -> String {
    let [up, down] = [state.total.up, state.total.down].map(units::bytes);
    let Ends { refused, broken_off } = Ends::of(status);
    let [refused, broken_off] = [refused, broken_off].map(|why| units::count(total(&why)));
    let saved = Saved::of(&status.traffic);
    format!(
        "{}; up {up}/s, down {down}/s; {saved}; {refused} refused, {broken_off} broken off",
        kinds(&status.sessions)
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

#[cfg(test)]
mod tests {
    use bip324_control::Scope;

    use super::*;
    use crate::client::Subscription;
    use crate::sample;

    fn subscribed(status: Status) -> Message {
        let scope = Scope::Own;
        Message::Subscribed(Box::new(Subscription { scope, status, sessions: vec![] }))
    }

    #[test]
    fn a_daemon_that_is_gone_is_told_once_for_each_reason() {
        let mut state = State::new();
        let mut of = |message| line(message, &mut state);
        let mut gone = |why: &str| of(Message::Gone(why.to_owned())).is_some();
        assert_eq!(["a", "a", "b", "b", "a"].map(&mut gone), [true, false, true, false, true]);
        assert!(of(subscribed(sample::status())).is_some());
        assert!(of(Message::Gone("a".to_owned())).is_some());
    }

    #[test]
    fn what_was_broken_off_is_not_refused_and_no_number_is_too_large() {
        let mut status = sample::status();
        let reasons = [("full", 1), ("not_v2", u64::MAX), ("broken", 2), ("closed", 3)];
        status.refused = reasons.map(|(name, count)| (name.to_owned(), count)).into();
        let line = line(subscribed(status), &mut State::new()).unwrap();
        let all = units::count(u64::MAX);
        assert!(line.ends_with(&format!("; {all} refused, 5 broken off")), "{line}");
    }
}
