//! The figures of a benchmark: each beside what it is held against, as a table and as JSON.

mod statistics;
mod table;

use serde::Serialize;

pub use statistics::{Paired, median, percentile};
pub use table::{Row, heading, json, line};

/// Something measured, and what it ought to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// Unit of value and floor.
    pub unit: &'static str,
    /// What came out.
    pub value: f64,
    /// What it is held against: the same thing done with nothing to spare, in the same run.
    pub floor: Option<f64>,
    /// The value in terms of the floor. Where it was measured in rounds, the median of the rounds.
    pub ratio: Option<f64>,
    /// What the ratio ought to be, or, where there is no floor, the value.
    pub target: Target,
}

/// What a figure ought to be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// This, or less.
    AtMost(f64),
    /// This, or more.
    AtLeast(f64),
}

impl Figure {
    /// A figure that stands for itself.
    pub fn plain(name: &str, unit: &'static str, value: f64, target: Target) -> Self {
        Self { name: name.to_owned(), unit, value, floor: None, ratio: None, target }
    }

    /// A figure held against a floor, both measured in rounds.
    pub fn paired(name: &str, unit: &'static str, rounds: &Paired, target: Target) -> Self {
        Self {
            name: name.to_owned(),
            unit,
            value: rounds.value(),
            floor: Some(rounds.floor()),
            ratio: Some(rounds.ratio()),
            target,
        }
    }

    /// Whether it is what it ought to be.
    pub fn is_met(&self) -> bool {
        let measured = self.ratio.unwrap_or(self.value);
        match self.target {
            Target::AtMost(limit) => measured <= limit,
            Target::AtLeast(limit) => measured >= limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_judged_and_without_a_floor_the_value() {
        let plain = |value, target| Figure::plain("", "", value, target).is_met();
        assert!(plain(9.0, Target::AtMost(9.0)) && !plain(9.1, Target::AtMost(9.0)));
        assert!(plain(0.45, Target::AtLeast(0.45)) && !plain(0.44, Target::AtLeast(0.45)));
        let rounds = Paired::from_iter([(30.0, 20.0)]);
        assert!(Figure::paired("", "", &rounds, Target::AtMost(1.5)).is_met());
        assert!(!Figure::paired("", "", &rounds, Target::AtMost(1.4)).is_met());
    }

    /// What could not be computed meets nothing.
    #[test]
    fn no_number_is_no_success() {
        for target in [Target::AtMost(1.0), Target::AtLeast(1.0)] {
            assert!(!Figure::plain("", "", f64::NAN, target).is_met());
        }
    }
}
