//! The lines at the top: the daemon, its sessions, what v2 saved, what was refused, the rules.

use std::time::Duration;

use bip324_control::{Scope, Status};
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::look::Look;
use super::state::State;
use crate::rules::Rules;
use crate::saved::Saved;
use crate::status::{Ends, kinds, rules, total};
use crate::units;
use crate::words::reason;

/// How many.
pub(super) const LINES: u16 = 6;

/// The lines.
pub(super) fn lines(state: &State, look: Look, width: usize) -> Vec<Line<'static>> {
    let first = title(state, look, width);
    let Some(status) = &state.status else {
        return vec![first];
    };
    let row = |label: &str, (text, style): (String, Style)| {
        let text = look.cut(&text, width.saturating_sub(LABEL));
        let label = Span::styled(format!(" {label:<10}"), look.bold());
        Line::from(vec![label, Span::styled(text, style)])
    };
    let mut traffic = row("Traffic", (rates(state), Style::new()));
    let room = width.saturating_sub(traffic.width() + 2).min(super::state::HISTORY);
    let chart = look.spark(state.total.history.iter().copied(), room);
    traffic.spans.extend([Span::raw("  "), Span::styled(chart, look.chart())]);
    vec![
        first,
        row("Sessions", sessions(status, look)),
        traffic,
        row("Bandwidth", (bandwidth(status), Style::new())),
        row("Refused", (refused(status), Style::new())),
        row("Rules", how_rules_stand(state, look)),
    ]
}

/// The daemon on the left, what is listed on the right.
fn title(state: &State, look: Look, width: usize) -> Line<'static> {
    let (text, style) = match (&state.gone, &state.status) {
        (Some(why), _) => (format!("NOT CONNECTED, trying again: {why}"), look.bad()),
        (None, None) => ("connecting".to_owned(), look.bold()),
        (None, Some(status)) => {
            let up = units::time(Duration::from_millis(status.uptime));
            (format!("bip324-proxy {}, up {up}", status.version), look.bold())
        }
    };
    let listed = listed(state);
    let left = look.cut(&text, width.saturating_sub(listed.len() + 4));
    let gap = width.saturating_sub(left.chars().count() + listed.len() + 2);
    Line::styled(format!(" {left}{:gap$}{listed} ", ""), style.patch(look.reversed()))
}

fn listed(state: &State) -> String {
    let (shown, all) = (state.shown().len(), state.rows.len());
    let shown = if shown == all { String::new() } else { format!("{shown} of ") };
    let whose = match state.scope {
        Scope::All => "",
        Scope::Own => "this user's ",
    };
    let reversed = if state.order.reverse { ", reversed" } else { "" };
    format!("{shown}{whose}{all} by {}{reversed}", state.order.key.name())
}

fn sessions(status: &Status, look: Look) -> (String, Style) {
    let by_kind = &status.sessions;
    let now = by_kind.v2.saturating_add(by_kind.passthrough).saturating_add(by_kind.fallback);
    let max = units::count(status.limits.max_sessions);
    let text = format!("{} of {max}: {}", units::count(now), kinds(by_kind));
    let style = match (by_kind.fallback, now) {
        (0, 0) => Style::new(),
        (0, _) => look.good(),
        _ => look.bad(),
    };
    (text, style)
}

fn rates(state: &State) -> String {
    let [up, down] = [state.total.up, state.total.down].map(units::bytes);
    format!("up {up}/s, down {down}/s")
}

fn bandwidth(status: &Status) -> String {
    let saved = Saved::of(&status.traffic);
    let [v1, v2] = [saved.v1, saved.v2].map(units::bytes);
    if saved.v1 == 0 {
        "nothing was translated yet".to_owned()
    } else {
        format!("{saved}: v1 {v1}, v2 {v2}")
    }
}

fn refused(status: &Status) -> String {
    let Ends { refused, broken_off } = Ends::of(status);
    let worded = |reasons: Vec<(&str, u64)>| -> String {
        let word = |(name, count)| format!("{} {}", units::count(count), reason(name));
        let words: Vec<_> = reasons.into_iter().map(word).collect();
        if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) }
    };
    let [all, accepted] = [total(&refused), status.accepted].map(units::count);
    let broken = match total(&broken_off) {
        0 => String::new(),
        count => format!("; {} broken off{}", units::count(count), worded(broken_off)),
    };
    format!("{all} of {accepted}{}{broken}", worded(refused))
}

fn how_rules_stand(state: &State, look: Look) -> (String, Style) {
    let Some(proof) = &state.rules else {
        return ("being proved".to_owned(), look.faint());
    };
    let style = match proof {
        Rules::Alive { .. } => look.good(),
        Rules::Broken { .. } => look.bad(),
        Rules::Unknown { .. } => Style::new(),
    };
    (rules(proof), style)
}

/// Columns of a label, with the space in front.
const LABEL: usize = 11;
