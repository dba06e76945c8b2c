//! What the dashboard knows: plain data, and what each message changes. It neither reads the clock nor
//! asks anybody: time is the daemon's uptime.

use std::collections::{BTreeMap, VecDeque};

use bip324_control::{Event, Flow, Scope, Session, Status};

use super::order::Order;
use crate::client::Subscription;
use crate::process::Process;
use crate::rules::Rules;

/// What comes in beside keys.
#[derive(Debug)]
pub(super) enum Message {
    /// A subscription begins, the first or another one.
    Subscribed(Box<Subscription>),
    /// The daemon tells.
    Event(Box<Event>),
    /// The daemon is gone, or does not take us; why.
    Gone(String),
    /// What was found for sessions that [`State::untried`] named.
    Processes(BTreeMap<u64, Process>),
    /// How the rules stand.
    Rules(Rules),
    /// What became of something that was asked for.
    Note(String),
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct State {
    /// The daemon's status, once there was one.
    pub(super) status: Option<Status>,
    /// Why the daemon cannot be seen at the moment.
    pub(super) gone: Option<String>,
    /// Whose sessions are told.
    pub(super) scope: Scope,
    /// The rules, once they were proved or not.
    pub(super) rules: Option<Rules>,
    /// Sessions by number.
    pub(super) rows: BTreeMap<u64, Row>,
    /// All sessions together.
    pub(super) total: Pace,
    /// Which rows are shown, and in which order.
    pub(super) order: Order,
    /// The session that keys are about.
    pub(super) selected: Option<u64>,
    /// Where it stands among the shown ones.
    pub(super) cursor: usize,
    /// Rows of a page, as last drawn.
    pub(super) page: usize,
    /// Whether the selected session is shown in full.
    pub(super) detail: bool,
    /// What keys mean.
    pub(super) mode: Mode,
    /// The last thing that happened.
    pub(super) note: String,
}

/// What keys mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Move and command.
    Browse,
    /// Type into the filter.
    Filter,
    /// Answer whether this session is to be closed.
    Ask(u64),
    /// Leave the help.
    Help,
}

/// A session, and how fast it is.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// As it was last told.
    pub(super) session: Session,
    /// The client's process, where it may be seen.
    pub(super) process: Option<Process>,
    /// Whether the process was looked for.
    pub(super) tried: bool,
    /// How fast.
    pub(super) pace: Pace,
    /// The daemon's uptime when it began.
    born: u64,
}

/// Bytes a second on the peers' side, now and before.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// To the peer.
    pub(super) up: u64,
    /// From the peer.
    pub(super) down: u64,
    /// Both together, the latest last.
    pub(super) history: VecDeque<u64>,
    last: [u64; 2],
}

impl State {
    /// Before anything is known.
    #[must_use]
    pub(super) fn new() -> Self {
        Self {
            status: None,
            gone: None,
            scope: Scope::Own,
            rules: None,
            rows: BTreeMap::new(),
            total: Pace::default(),
            order: Order::default(),
            selected: None,
            cursor: 0,
            page: 1,
            detail: false,
            mode: Mode::Browse,
            note: String::new(),
        }
    }

    /// Takes in a message.
    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Subscribed(subscription) => self.subscribed(*subscription),
            Message::Event(event) => self.event(*event),
            Message::Gone(why) => self.gone = Some(why),
            Message::Processes(found) => self.processes(found),
            Message::Rules(rules) => self.rules = Some(rules),
            Message::Note(note) => self.note = note,
        }
    }

    /// Milliseconds since a session was established.
    #[must_use]
    pub(super) fn age(&self, row: &Row) -> u64 {
        self.uptime().saturating_sub(row.born).max(row.session.age)
    }

    /// The rows to show, in order.
    #[must_use]
    pub(super) fn shown(&self) -> Vec<&Row> {
        self.order.apply(self.rows.values())
    }

    /// Has the cursor follow the selected session, or take the place that it left.
    pub(super) fn settle(&mut self) {
        let shown: Vec<u64> = self.shown().iter().map(|row| row.session.id).collect();
        let stands = self.selected.and_then(|id| shown.iter().position(|other| *other == id));
        self.cursor = stands.unwrap_or(self.cursor).min(shown.len().saturating_sub(1));
        self.selected = shown.get(self.cursor).copied();
    }

    /// Moves the cursor by so many rows.
    pub(super) fn step(&mut self, rows: isize) {
        self.settle();
        let last = self.shown().len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(rows).min(last);
        self.selected = self.shown().get(self.cursor).map(|row| row.session.id);
    }

    /// Sessions whose clients' processes were not looked for yet, which then counts as done.
    pub(super) fn untried(&mut self) -> Vec<Session> {
        let untried = self.rows.values_mut().filter(|row| !row.tried);
        let mark = |row: &mut Row| {
            row.tried = true;
            row.session.clone()
        };
        untried.map(mark).collect()
    }

    fn uptime(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.uptime)
    }

    fn subscribed(&mut self, subscription: Subscription) {
        let Subscription { scope, status, sessions } = subscription;
        // A daemon that was started anew counts from 1 again. In a container it has its old process id.
        let same = |old: &Status| old.pid == status.pid && old.uptime <= status.uptime;
        if !self.status.as_ref().is_some_and(same) {
            self.forget();
        }
        if self.gone.take().is_some() {
            self.note = "the daemon is back".to_owned();
        }
        self.total.begin(totals(&status));
        self.scope = scope;
        let mut old = std::mem::take(&mut self.rows);
        self.rows = sessions
            .into_iter()
            .map(|session| {
                let known = old.remove(&session.id);
                (session.id, Row::begin(session, known, status.uptime))
            })
            .collect();
        self.status = Some(status);
    }

    /// What numbers of sessions stood for, and what was about them.
    fn forget(&mut self) {
        self.rows.clear();
        self.total = Pace::default();
        self.selected = None;
        if matches!(self.mode, Mode::Ask(_)) {
            self.mode = Mode::Browse;
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened { session } => {
                let row = Row::begin(session, None, self.uptime());
                self.rows.insert(row.session.id, row);
            }
            Event::Closed { session, reason } => {
                self.rows.remove(&session.id);
                self.note = format!("session {} has ended: {reason}", session.id);
            }
            Event::Traffic { status, sessions } => self.traffic(*status, sessions),
            // The subscription that follows tells what holds.
            Event::Lost { .. } => {}
        }
    }

    fn traffic(&mut self, status: Status, sessions: Vec<Session>) {
        let elapsed = status.uptime.saturating_sub(self.uptime()).max(1);
        self.total.tick(totals(&status), elapsed);
        for session in sessions {
            // One that ended meanwhile is not listed any more; one that was missed is begun here.
            let id = session.id;
            match self.rows.get_mut(&id) {
                Some(row) => row.session = session,
                None => drop(self.rows.insert(id, Row::begin(session, None, status.uptime))),
            }
        }
        for row in self.rows.values_mut() {
            row.pace.tick(carried(&row.session), elapsed);
        }
        self.status = Some(status);
    }

    fn processes(&mut self, found: BTreeMap<u64, Process>) {
        for (id, process) in found {
            if let Some(row) = self.rows.get_mut(&id) {
                row.process = Some(process);
            }
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl Row {
    /// A session as it is first told, or told again after a pause.
    fn begin(session: Session, known: Option<Self>, uptime: u64) -> Self {
        let born = uptime.saturating_sub(session.age);
        let (process, tried, mut pace) = match known {
            Some(row) => (row.process, row.tried, row.pace),
            None => (None, false, Pace::default()),
        };
        pace.begin(carried(&session));
        Self { session, process, tried, pace, born }
    }

    /// Both directions together.
    #[must_use]
    pub(super) const fn rate(&self) -> u64 {
        self.pace.up.saturating_add(self.pace.down)
    }

    /// Bytes on the peer's side, both directions together.
    #[must_use]
    pub(super) const fn bytes(&self) -> u64 {
        let [up, down] = carried(&self.session);
        up.saturating_add(down)
    }
}

impl Pace {
    /// Counts from here.
    const fn begin(&mut self, bytes: [u64; 2]) {
        self.last = bytes;
    }

    /// What it is now, so many milliseconds after the last time.
    fn tick(&mut self, bytes: [u64; 2], elapsed: u64) {
        let [up, down] = bytes;
        let [last_up, last_down] = self.last;
        let rate = |now: u64, last: u64| now.saturating_sub(last).saturating_mul(1000) / elapsed;
        (self.up, self.down, self.last) = (rate(up, last_up), rate(down, last_down), bytes);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(self.up.saturating_add(self.down));
    }
}

const fn carried(session: &Session) -> [u64; 2] {
    [session.to_peer.peer_bytes, session.to_client.peer_bytes]
}

const fn totals(status: &Status) -> [u64; 2] {
    const fn sum(one: &Flow, other: &Flow) -> u64 {
        one.peer_bytes.saturating_add(other.peer_bytes)
    }
    let traffic = &status.traffic;
    [
        sum(&traffic.v2_to_peer, &traffic.spliced_to_peer),
        sum(&traffic.v2_to_client, &traffic.spliced_to_client),
    ]
}

/// Rates that are kept: a minute of them.
pub(super) const HISTORY: usize = 60;

#[cfg(test)]
mod tests {
    use bip324_control::Kind;

    use super::*;
    use crate::sample;

    fn subscribed(count: u64) -> State {
        let mut state = State::new();
        state.take(subscription(count));
        state
    }

    fn subscription(count: u64) -> Message {
        let sessions = (1..=count).map(|id| sample::session(id, Kind::V2)).collect();
        let status = sample::status();
        Message::Subscribed(Box::new(Subscription { scope: Scope::All, status, sessions }))
    }

    fn event(event: Event) -> Message {
        Message::Event(Box::new(event))
    }

    /// So many milliseconds after the subscription began, when session 1 has received this more.
    fn traffic(milliseconds: u64, bytes: u64) -> Message {
        let mut status = sample::status();
        status.uptime += milliseconds;
        status.traffic.v2_to_client.peer_bytes += bytes;
        let mut session = sample::session(1, Kind::V2);
        session.to_client.peer_bytes += bytes;
        event(Event::Traffic { status: Box::new(status), sessions: vec![session] })
    }

    #[test]
    fn rates_are_what_came_over_the_daemon_s_own_time() {
        let mut state = subscribed(2);
        state.take(traffic(500, 1000));
        assert_eq!((state.rows[&1].pace.down, state.total.down), (2000, 2000));
        assert_eq!((state.rows[&1].pace.up, state.rows[&2].rate()), (0, 0));
        state.take(traffic(1500, 1000));
        assert_eq!((state.rows[&1].rate(), state.total.down), (0, 0));
        assert_eq!(state.rows[&1].pace.history, [2000, 0]);
        for tick in 0..100 {
            state.take(traffic(2000 + tick * 1000, 1000));
        }
        assert_eq!(state.rows[&1].pace.history.len(), HISTORY);
    }

    #[test]
    fn a_session_ages_though_nothing_is_said_of_it() {
        let mut state = subscribed(2);
        state.take(traffic(5000, 1));
        let age = sample::session(2, Kind::V2).age;
        assert_eq!(state.age(&state.rows[&2]), age + 5000);
    }

    #[test]
    fn the_cursor_follows_its_session_and_stays_where_that_ends() {
        let mut state = subscribed(3);
        state.step(1);
        assert_eq!(state.selected, Some(2));
        let end = |id| Event::Closed { session: sample::session(id, Kind::V2), reason: "x".into() };
        state.take(event(end(1)));
        state.settle();
        assert_eq!((state.selected, state.cursor), (Some(2), 0));
        state.take(event(end(2)));
        state.settle();
        assert_eq!((state.selected, state.cursor), (Some(3), 0));
        state.take(event(end(3)));
        state.settle();
        assert_eq!((state.selected, state.cursor), (None, 0));
        state.step(1);
        assert_eq!(state.selected, None);
    }

    #[test]
    fn a_daemon_that_comes_back_is_another_one() {
        let mut state = subscribed(2);
        state.take(traffic(1000, 1000));
        state.take(Message::Gone("away".into()));
        assert_eq!(state.rows.len(), 2);
        // The same one: what is known of its sessions stays.
        let Message::Subscribed(mut same) = subscription(1) else { panic!() };
        same.status.uptime += 2000;
        state.take(Message::Subscribed(same));
        assert_eq!((state.rows.len(), state.rows[&1].pace.history.len()), (1, 1));
        assert!(state.gone.is_none());
        let another: [fn(&mut Status); 2] = [|status| status.pid += 1, |status| status.uptime -= 1];
        for another in another {
            let mut state = subscribed(2);
            state.take(traffic(0, 1000));
            state.take(Message::Processes([(1, Process { pid: 7, name: "node".into() })].into()));
            state.untried();
            state.step(0);
            state.mode = Mode::Ask(1);
            let Message::Subscribed(mut other) = subscription(1) else { panic!() };
            another(&mut other.status);
            state.take(Message::Subscribed(other));
            let row = &state.rows[&1];
            assert!(row.pace.history.is_empty() && row.process.is_none() && !row.tried);
            assert_eq!((state.mode, state.selected), (Mode::Browse, None));
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let mut state = subscribed(1);
        let Message::Subscribed(mut other) = subscription(1) else { panic!() };
        let session = &mut other.sessions[0];
        for flow in [&mut session.to_peer, &mut session.to_client] {
            flow.peer_bytes = u64::MAX;
        }
        other.status.traffic.v2_to_peer.peer_bytes = u64::MAX;
        state.take(Message::Subscribed(other));
        assert_eq!(state.rows[&1].bytes(), u64::MAX);
        state.take(traffic(1000, 1));
        assert_eq!(state.total.up, 0);
    }

    #[test]
    fn processes_are_looked_for_once() {
        let mut state = subscribed(2);
        assert_eq!(state.untried().len(), 2);
        assert!(state.untried().is_empty());
        let process = Process { pid: 7, name: "node".into() };
        state.take(Message::Processes([(1, process.clone()), (9, process)].into()));
        assert_eq!(state.rows[&1].process.as_ref().unwrap().pid, 7);
        state.take(event(Event::Opened { session: sample::session(3, Kind::V2) }));
        assert_eq!(state.untried().len(), 1);
    }
}
