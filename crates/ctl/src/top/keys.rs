//! What a key does to the state, and what it asks for besides.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Mode, State};

/// What a key asks for that the state alone cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    None,
    /// Leave.
    Quit,
    /// Stop until the shell says to go on.
    Suspend,
    /// Draw all of it anew.
    Redraw,
    /// Close this session.
    Close(u64),
}

/// The keys, and what they do, as the help has them.
pub(super) const KEYS: [(&str, &str); 11] = [
    ("Up Down PgUp PgDn Home End", "move (j and k, too)"),
    ("Enter", "show the session in full, with its id, or no more"),
    ("s", "sort by number, rate, bytes, peer, client"),
    ("r", "the other way round"),
    ("/", "filter by anything that is shown; Esc ends it"),
    ("x", "close the session, after a question; for root"),
    ("Esc", "leave whatever is open"),
    ("?", "this help"),
    ("Ctrl-L", "draw all of it anew"),
    ("Ctrl-Z", "back to the shell; fg goes on"),
    ("q", "quit"),
];

/// Takes in a key.
pub(super) fn press(state: &mut State, key: KeyEvent) -> Action {
    if key.kind == KeyEventKind::Release {
        return Action::None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Action::Quit,
            KeyCode::Char('z') => Action::Suspend,
            KeyCode::Char('l') => Action::Redraw,
            KeyCode::Char('u') if state.mode == Mode::Filter => {
                state.order.filter.clear();
                Action::None
            }
            _ => Action::None,
        };
    }
    match state.mode {
        Mode::Browse => return browse(state, key.code),
        Mode::Filter => filter(state, key.code),
        Mode::Ask(id) => return answer(state, key.code, id),
        Mode::Help => state.mode = Mode::Browse,
    }
    Action::None
}

fn browse(state: &mut State, key: KeyCode) -> Action {
    let page = isize::try_from(state.page).unwrap_or(1).max(1);
    match key {
        KeyCode::Char('q') => return Action::Quit,
        KeyCode::Up | KeyCode::Char('k') => state.step(-1),
        KeyCode::Down | KeyCode::Char('j') => state.step(1),
        KeyCode::PageUp => state.step(-page),
        KeyCode::PageDown | KeyCode::Char(' ') => state.step(page),
        KeyCode::Home | KeyCode::Char('g') => state.step(isize::MIN),
        KeyCode::End | KeyCode::Char('G') => state.step(isize::MAX),
        KeyCode::Enter => state.detail = !state.detail,
        KeyCode::Char('s') => state.order.key = state.order.key.next(),
        KeyCode::Char('r') => state.order.reverse = !state.order.reverse,
        KeyCode::Char('/') => state.mode = Mode::Filter,
        KeyCode::Char('?' | 'h') => state.mode = Mode::Help,
        KeyCode::Char('x') | KeyCode::Delete => ask(state),
        KeyCode::Esc => leave(state),
        _ => {}
    }
    Action::None
}

/// Of what may be open, the first.
fn leave(state: &mut State) {
    if state.detail {
        state.detail = false;
    } else {
        state.order.filter.clear();
    }
}

fn ask(state: &mut State) {
    state.settle();
    if let Some(id) = state.selected {
        state.mode = Mode::Ask(id);
    }
}

fn answer(state: &mut State, key: KeyCode, id: u64) -> Action {
    state.mode = Mode::Browse;
    if key == KeyCode::Char('y') {
        return Action::Close(id);
    }
    state.note = format!("session {id} stays");
    Action::None
}

fn filter(state: &mut State, key: KeyCode) {
    match key {
        KeyCode::Enter => state.mode = Mode::Browse,
        KeyCode::Esc => {
            state.order.filter.clear();
            state.mode = Mode::Browse;
        }
        KeyCode::Backspace => drop(state.order.filter.pop()),
        KeyCode::Up => state.step(-1),
        KeyCode::Down => state.step(1),
        KeyCode::Char(c) if c == ' ' || c.is_ascii_graphic() => state.order.filter.push(c),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use bip324_control::{Kind, Scope};

    use super::super::order::Key;
    use super::super::state::Message;
    use super::*;
    use crate::client::Subscription;
    use crate::sample;

    fn state() -> State {
        let mut state = State::new();
        let sessions = (1..=30).map(|id| sample::session(id, Kind::V2)).collect();
        let subscription = Subscription { scope: Scope::All, status: sample::status(), sessions };
        state.take(Message::Subscribed(Box::new(subscription)));
        state.page = 10;
        state
    }

    fn press(state: &mut State, code: KeyCode) -> Action {
        super::press(state, KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn types(state: &mut State, text: &str) {
        for c in text.chars() {
            assert_eq!(press(state, KeyCode::Char(c)), Action::None);
        }
    }

    #[test]
    fn the_cursor_moves_and_stays_within() {
        let mut state = state();
        for (key, id) in [
            (KeyCode::Down, 2),
            (KeyCode::PageDown, 12),
            (KeyCode::End, 30),
            (KeyCode::Down, 30),
            (KeyCode::PageUp, 20),
            (KeyCode::Home, 1),
            (KeyCode::Up, 1),
        ] {
            press(&mut state, key);
            assert_eq!(state.selected, Some(id), "{key:?}");
        }
    }

    #[test]
    fn a_session_is_closed_after_a_yes_and_after_nothing_else() {
        for (key, action) in [
            (KeyCode::Char('y'), Action::Close(1)),
            (KeyCode::Char('n'), Action::None),
            (KeyCode::Enter, Action::None),
            (KeyCode::Esc, Action::None),
            (KeyCode::Char('q'), Action::None),
        ] {
            let mut state = state();
            assert_eq!(press(&mut state, KeyCode::Char('x')), Action::None);
            assert_eq!(state.mode, Mode::Ask(1));
            assert_eq!(press(&mut state, key), action, "{key:?}");
            assert_eq!(state.mode, Mode::Browse);
        }
        let mut empty = State::new();
        press(&mut empty, KeyCode::Char('x'));
        assert_eq!(empty.mode, Mode::Browse);
    }

    #[test]
    fn a_filter_is_typed_kept_and_left() {
        let mut state = state();
        types(&mut state, "/cafe000q");
        assert!(state.shown().is_empty());
        press(&mut state, KeyCode::Backspace);
        assert_eq!(state.shown().len(), 15);
        press(&mut state, KeyCode::Enter);
        assert_eq!((state.mode, state.order.filter.as_str()), (Mode::Browse, "cafe000"));
        press(&mut state, KeyCode::Esc);
        assert_eq!(state.shown().len(), 30);
        types(&mut state, "/x");
        press(&mut state, KeyCode::Esc);
        assert_eq!((state.mode, state.order.filter.as_str()), (Mode::Browse, ""));
    }

    #[test]
    fn sorting_detail_help_and_leaving() {
        let mut state = state();
        types(&mut state, "sr");
        assert_eq!((state.order.key, state.order.reverse), (Key::Rate, true));
        press(&mut state, KeyCode::Enter);
        assert!(state.detail);
        press(&mut state, KeyCode::Esc);
        assert!(!state.detail);
        types(&mut state, "?q");
        assert_eq!(state.mode, Mode::Browse);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Action::Quit);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        for mode in [Mode::Browse, Mode::Filter, Mode::Ask(1), Mode::Help] {
            state.mode = mode;
            assert_eq!(super::press(&mut state, control('c')), Action::Quit);
            assert_eq!(super::press(&mut state, control('z')), Action::Suspend);
        }
    }
}
