//! What standard output is: a terminal of some width, or something that wants all of it plain.

use std::io::{self, IsTerminal};

/// What can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; none where standard output is no terminal.
    pub width: Option<usize>,
    /// Characters beyond ASCII.
    pub unicode: bool,
}

impl Terminal {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        let size = || crossterm::terminal::size().map_or(80, |(width, _)| usize::from(width));
        Self { width: io::stdout().is_terminal().then(size), unicode: unicode() }
    }

    /// The text, or its beginning and a mark that there is more.
    #[must_use]
    pub fn cut(self, text: &str, width: usize) -> String {
        if text.chars().count() <= width {
            return text.to_owned();
        }
        let mark = if self.unicode { '\u{2026}' } else { '~' };
        text.chars().take(width.saturating_sub(1)).chain([mark]).collect()
    }
}

/// Whether the locale says that terminals take UTF-8, in the order in which setlocale(3) asks.
#[must_use]
pub fn unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_says_so() {
        let plain = Terminal { width: None, unicode: false };
        assert_eq!(plain.cut("12345", 5), "12345");
        assert_eq!(plain.cut("123456", 5), "1234~");
        assert_eq!(Terminal { unicode: true, ..plain }.cut("123456", 5), "1234\u{2026}");
    }
}
