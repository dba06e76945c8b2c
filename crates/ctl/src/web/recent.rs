//! The lines told last, for browsers that are a little behind: so many bytes of them, for all together.

use std::collections::VecDeque;

use axum::body::Bytes;

/// Lines are numbered in the order in which they are told.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    lines: VecDeque<Bytes>,
    bytes: usize,
    next: u64,
}

impl Recent {
    /// Number of the line that will be told next.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// The line of this number, where it is still kept.
    pub(crate) fn get(&self, number: u64) -> Option<&Bytes> {
        let ago = usize::try_from(self.next.checked_sub(number)?).ok()?;
        self.lines.get(self.lines.len().checked_sub(ago)?)
    }

    /// The newest is kept however long it is.
    pub(crate) fn push(&mut self, line: Bytes) {
        self.next = self.next.saturating_add(1);
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back(line);
        while self.bytes > KEPT && self.lines.len() > 1 {
            let oldest = self.lines.pop_front().unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }
}

/// Bytes: seconds of thousands of busy sessions, and little beside what the service may use.
const KEPT: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn held(recent: &Recent) -> Vec<u64> {
        (0..=recent.next()).filter(|number| recent.get(*number).is_some()).collect()
    }

    #[test]
    fn lines_are_found_by_their_numbers() {
        let mut recent = Recent::default();
        assert!(held(&recent).is_empty());
        for text in ["a", "b", "c"] {
            recent.push(text.into());
        }
        assert_eq!((recent.next(), held(&recent)), (3, vec![0, 1, 2]));
        assert_eq!(recent.get(1).unwrap(), "b");
    }

    #[test]
    fn their_bytes_are_bounded_and_the_newest_is_there() {
        let mut recent = Recent::default();
        for _ in 0..5 {
            recent.push(vec![0; KEPT / 2].into());
        }
        assert_eq!(held(&recent), [3, 4]);
        recent.push(vec![0; 3 * KEPT].into());
        assert_eq!(held(&recent), [5]);
        recent.push(vec![0; 1].into());
        assert_eq!((held(&recent), recent.bytes), (vec![6], 1));
    }
}
