//! How things look: with and without colour, with and without characters beyond ASCII.

use bip324_control::Kind;
use ratatui::style::{Color, Modifier, Style};

use crate::printable::printable;
use crate::terminal::unicode;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Colours.
    pub(super) color: bool,
    /// Characters beyond ASCII.
    pub(super) unicode: bool,
}

impl Look {
    /// As the environment says: NO_COLOR, TERM and the locale.
    #[must_use]
    pub(super) fn of_environment() -> Self {
        let set = |name| std::env::var(name).unwrap_or_default();
        let term = set("TERM");
        let mono = term.starts_with("vt") || term.ends_with("-m") || term.ends_with("-mono");
        Self { color: set("NO_COLOR").is_empty() && !mono, unicode: unicode() }
    }

    /// Of headings and labels.
    #[must_use]
    pub(super) fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// Of what matters less.
    #[must_use]
    pub(super) fn faint(self) -> Style {
        self.colored(Color::DarkGray)
    }

    /// Of what is as it should be.
    #[must_use]
    pub(super) fn good(self) -> Style {
        self.colored(Color::Green)
    }

    /// Of what must be seen, without colour, too.
    #[must_use]
    pub(super) fn bad(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Of the selected row, and of lines that frame others.
    #[must_use]
    pub(super) fn reversed(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// Of a session's transport.
    #[must_use]
    pub(super) fn kind(self, kind: Kind) -> Style {
        match kind {
            Kind::V2 => self.good(),
            Kind::Passthrough => self.colored(Color::Cyan),
            Kind::Fallback => self.bad(),
        }
    }

    /// Of a chart.
    #[must_use]
    pub(super) fn chart(self) -> Style {
        self.colored(Color::Blue)
    }

    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// A chart of one line: the latest of `values` on the right, the highest as a full bar.
    #[must_use]
    pub(super) fn spark(
        self,
        values: impl DoubleEndedIterator<Item = u64>,
        width: usize,
    ) -> String {
        let bars: [char; 9] = if self.unicode {
            [
                ' ', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}',
                '\u{2587}', '\u{2588}',
            ]
        } else {
            [' ', '.', ',', ':', '-', '=', '+', '*', '#']
        };
        let mut latest: Vec<u64> = values.rev().take(width).collect();
        latest.reverse();
        let most = latest.iter().copied().max().unwrap_or_default().max(1);
        let bar = |value: u64| {
            let eighths = u128::from(value) * 8 / u128::from(most);
            // The least traffic is told from none.
            let eighths = usize::try_from(eighths).unwrap_or(8).max(usize::from(value > 0));
            bars.get(eighths).copied().unwrap_or(' ')
        };
        let line: String = latest.into_iter().map(bar).collect();
        format!("{line:>width$}")
    }

    /// Printable text, or its beginning and a mark that there is more.
    #[must_use]
    pub(super) fn cut(self, text: &str, width: usize) -> String {
        let terminal = crate::terminal::Terminal { width: None, unicode: self.unicode };
        terminal.cut(&printable(text), width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_shows_the_latest_and_the_least() {
        let look = Look { color: false, unicode: false };
        assert_eq!(look.spark([0, 1, 50, 100].into_iter(), 6), "   .-#");
        assert_eq!(look.spark([9, 9, 0, 4, 8].into_iter(), 3), " -#");
        assert_eq!(look.spark([0, 0].into_iter(), 2), "  ");
        assert_eq!(look.spark([u64::MAX].into_iter(), 1), "#");
        let unicode = Look { unicode: true, ..look };
        assert_eq!(unicode.spark([1, 8].into_iter(), 2), "\u{2581}\u{2588}");
    }

    #[test]
    fn without_colour_there_is_none() {
        let look = Look { color: false, unicode: true };
        for kind in [Kind::V2, Kind::Passthrough, Kind::Fallback] {
            assert_eq!(look.kind(kind).fg, None);
        }
        assert!(look.bad().add_modifier.contains(Modifier::BOLD));
    }
}
