//! What a round came to.

use std::fmt::{Display, Formatter, Result};
use std::iter::Sum;
use std::ops::Add;

use super::tally::Counts;

/// What a round came to, or several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// What was done.
    pub name: &'static str,
    /// How often.
    pub times: u32,
    /// What became of the clients' connections.
    pub counts: Counts,
    /// What crossed the wire.
    pub wire: Wire,
}

/// TCP packets on the wire, either way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    /// All.
    pub packets: usize,
    /// Those with v1 in them.
    pub plaintext: usize,
    /// Those that a client's socket sent itself, whatever is in them.
    pub escaped: usize,
}

impl Round {
    /// Whether anything of a client reached the wire.
    pub const fn leaked(&self) -> bool {
        self.wire.plaintext > 0 || self.wire.escaped > 0
    }
}

impl Add for Round {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            name: "together",
            times: self.times + other.times,
            counts: self.counts + other.counts,
            wire: Wire {
                packets: self.wire.packets + other.wire.packets,
                plaintext: self.wire.plaintext + other.wire.plaintext,
                escaped: self.wire.escaped + other.wire.escaped,
            },
        }
    }
}

impl<'rounds> Sum<&'rounds Self> for Round {
    fn sum<I: Iterator<Item = &'rounds Self>>(rounds: I) -> Self {
        rounds.fold(Self::default(), |sum, round| sum + *round)
    }
}

impl Display for Round {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Counts { attempted, connected, answered, refused, reset, .. } = self.counts;
        let Wire { packets, plaintext, escaped } = self.wire;
        write!(f, "{:<32}{:>6}", self.name, self.times)?;
        write!(f, "{attempted:>11}{connected:>11}{answered:>10}{refused:>9}{reset:>7}")?;
        write!(f, "{packets:>10}{plaintext:>11}{escaped:>9}")
    }
}

/// Names of the columns of a [`Round`].
pub fn header() -> String {
    format!(
        "{:<32}{:>6}{:>11}{:>11}{:>10}{:>9}{:>7}{:>10}{:>11}{:>9}",
        "disturbance",
        "times",
        "attempted",
        "connected",
        "answered",
        "refused",
        "reset",
        "packets",
        "plaintext",
        "escaped"
    )
}
