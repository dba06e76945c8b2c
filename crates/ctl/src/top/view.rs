//! Draws the state: what holds above, a line a session below, and at the end what keys mean now.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::detail;
use super::keys::KEYS;
use super::list;
use super::look::Look;
use super::state::{Mode, State};
use super::summary;
use crate::printable::printable;

/// Draws all of it. How many rows there is room for goes back into the state.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, look: Look) {
    state.settle();
    let area = frame.area();
    let [head, body, foot] = split(area, summary::LINES);
    put_lines(frame, head, summary::lines(state, look, usize::from(area.width)));
    if state.mode == Mode::Help {
        put_lines(frame, body, help(look));
    } else {
        let open = state.detail && state.selected.is_some() && body.height > detail::LINES + 3;
        let below = if open { detail::LINES } else { 0 };
        let [list, detail] = cut_off(body, below);
        state.page = usize::from(list.height.saturating_sub(1)).max(1);
        put_lines(frame, list, list::lines(state, look, usize::from(list.width)));
        if open {
            put_lines(frame, detail, detail::lines(state, look, usize::from(detail.width)));
        }
    }
    put_lines(frame, foot, vec![footer(state, look)]);
}

/// The first lines, the last one, and what is between.
fn split(area: Rect, first: u16) -> [Rect; 3] {
    let [rest, foot] = cut_off(area, 1);
    let first = first.min(rest.height);
    let head = Rect { height: first, ..rest };
    let body = Rect { y: rest.y + first, height: rest.height - first, ..rest };
    [head, body, foot]
}

/// All but the last lines, and these.
fn cut_off(area: Rect, last: u16) -> [Rect; 2] {
    let last = last.min(area.height);
    let height = area.height - last;
    [Rect { height, ..area }, Rect { y: area.y + height, height: last, ..area }]
}

fn put_lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    let buffer = frame.buffer_mut();
    for (y, line) in (area.y..area.y.saturating_add(area.height)).zip(lines) {
        buffer.set_line(area.x, y, &line, area.width);
        // Of a whole line in one style, the rest as well.
        buffer.set_style(Rect { y, height: 1, ..area }, line.style);
    }
}

fn help(look: Look) -> Vec<Line<'static>> {
    let title = Line::from(Span::styled(" Keys", look.bold()));
    let key = |(key, does): &(&'static str, &'static str)| {
        Line::from(vec![Span::styled(format!(" {key:<28}"), look.bold()), Span::raw(*does)])
    };
    [title].into_iter().chain(KEYS.iter().map(key)).collect()
}

fn footer(state: &State, look: Look) -> Line<'static> {
    let (text, style): (String, Style) = match state.mode {
        Mode::Browse if !state.note.is_empty() => {
            (format!(" {}   ? help  q quit", printable(&state.note)), look.reversed())
        }
        Mode::Browse => (BROWSE.to_owned(), look.reversed()),
        Mode::Filter => {
            let filter = &state.order.filter;
            (format!(" Filter: {filter}_   Enter keeps it, Esc ends it"), look.reversed())
        }
        Mode::Ask(id) => {
            let peer = state
                .rows
                .get(&id)
                .map_or_else(String::new, |row| format!(" to {}", row.session.destination));
            let question =
                format!(" Close session {id}{peer}? y closes it, any other key does not");
            (question, look.bad().patch(look.reversed()))
        }
        Mode::Help => (" any key goes back".to_owned(), look.reversed()),
    };
    Line::styled(text, style)
}

const BROWSE: &str = " Enter detail  s sort  r reverse  / filter  x close  ? help  q quit";

#[cfg(test)]
mod tests {
    use bip324_control::{Event, Kind, Scope};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;
    use ratatui::style::Color;

    use super::super::state::Message;
    use super::*;
    use crate::client::Subscription;
    use crate::process::Process;
    use crate::rules::Rules;
    use crate::sample;

    const PLAIN: Look = Look { color: false, unicode: true };

    /// Forty sessions, the first three one of each kind, after four seconds of traffic in the first.
    fn state() -> State {
        let kinds = [Kind::V2, Kind::Passthrough, Kind::Fallback];
        let kinds = kinds.into_iter().chain(std::iter::repeat(Kind::V2));
        let mut sessions: Vec<_> =
            (1..=40).zip(kinds).map(|(id, kind)| sample::session(id, kind)).collect();
        sessions[3].destination = "[2001:db8:1234:5678:9abc:def0:1234:5678]:8333".parse().unwrap();
        sessions[4].peer_agent = Some("\x1b[31m/hostile/".to_owned());
        let mut state = State::new();
        let mut session = sessions[0].clone();
        let mut status = sample::status();
        let first = Subscription { scope: Scope::All, status: status.clone(), sessions };
        state.take(Message::Subscribed(Box::new(first)));
        let process = Process { pid: 4242, name: "bcoin".to_owned() };
        state.take(Message::Processes([(1, process)].into()));
        state.take(Message::Rules(Rules::Alive { said: "group bip324 reaches it".to_owned() }));
        for bytes in [1000, 8000, 0, 34_000] {
            status.uptime += 1000;
            status.traffic.v2_to_client.peer_bytes += bytes;
            session.to_client.peer_bytes += bytes;
            let (status, sessions) = (Box::new(status.clone()), vec![session.clone()]);
            state.take(Message::Event(Box::new(Event::Traffic { status, sessions })));
        }
        state
    }

    fn drawn(state: &mut State, look: Look, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, look)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> String {
        let lines = buffer.content().chunks(usize::from(buffer.area.width));
        let line = |cells: &[ratatui::buffer::Cell]| {
            let line: String = cells.iter().map(|cell| cell.symbol()).collect();
            line.trim_end().to_owned() + "\n"
        };
        lines.map(line).collect()
    }

    fn expect(state: &mut State, look: Look, size: (u16, u16), golden: &str) {
        let text = text(&drawn(state, look, size.0, size.1));
        assert!(text == golden, "this was drawn:\n{text}");
    }

    #[test]
    fn at_80_by_24() {
        expect(&mut state(), PLAIN, (80, 24), include_str!("golden/80x24"));
    }

    #[test]
    fn at_160_by_30() {
        expect(&mut state(), PLAIN, (160, 30), include_str!("golden/160x30"));
    }

    #[test]
    fn a_session_in_full_in_ascii() {
        let mut state = state();
        state.detail = true;
        let ascii = Look { unicode: false, ..PLAIN };
        expect(&mut state, ascii, (80, 24), include_str!("golden/detail"));
        assert!(drawn(&mut state, ascii, 80, 24).content().iter().all(|c| c.symbol().is_ascii()));
    }

    #[test]
    fn the_help_has_every_key() {
        let mut state = state();
        state.mode = Mode::Help;
        expect(&mut state, PLAIN, (80, 24), include_str!("golden/help"));
    }

    #[test]
    fn questions_filters_and_troubles_are_told() {
        let mut state = state();
        let last = |state: &mut State| {
            text(&drawn(state, PLAIN, 80, 24)).lines().last().unwrap().to_owned()
        };
        state.mode = Mode::Ask(1);
        let question = " Close session 1 to 203.0.113.2:8333? y closes it, any other key does not";
        assert_eq!(last(&mut state), question);
        state.mode = Mode::Filter;
        state.order.filter = "no such".to_owned();
        assert!(last(&mut state).starts_with(" Filter: no such_ "));
        let all = text(&drawn(&mut state, PLAIN, 80, 24));
        assert!(all.contains(" no session matches \"no such\"; Esc ends the filter\n"), "{all}");
        state.take(Message::Gone("nothing listens\x1b[2J".to_owned()));
        let all = text(&drawn(&mut state, PLAIN, 80, 24));
        assert!(all.starts_with(" NOT CONNECTED, trying again: nothing listens?[2J"), "{all}");
    }

    #[test]
    fn the_page_follows_the_cursor() {
        let mut state = state();
        drawn(&mut state, PLAIN, 80, 24);
        assert_eq!(state.page, 16);
        state.step(isize::MAX);
        let all = text(&drawn(&mut state, PLAIN, 80, 24));
        assert!(all.contains("\n    40 ") && !all.contains("\n    32 "), "{all}");
    }

    /// What matters is told without colour, too; and with it, in colour.
    #[test]
    fn colours_are_used_where_there_are_any() {
        let colors = |look| {
            let buffer = drawn(&mut state(), look, 80, 24);
            buffer.content().iter().filter(|cell| cell.fg != Color::Reset).count()
        };
        assert_eq!(colors(PLAIN), 0);
        assert!(colors(Look { color: true, unicode: true }) > 20);
    }

    #[test]
    fn no_size_is_too_small() {
        for width in 0..90 {
            for height in 0..26 {
                for (detail, mode) in
                    [(false, Mode::Browse), (true, Mode::Help), (true, Mode::Filter)]
                {
                    let mut state = state();
                    (state.detail, state.mode) = (detail, mode);
                    drawn(&mut state, PLAIN, width, height);
                }
            }
        }
    }
}
