//! Medians, and pairs of a figure and its floor that were measured in turns.

/// The value below which `share` of all lie, the nearest one there is; no number where there is none.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * sorted.len().saturating_sub(1) as f64;
    sorted.get(place.round() as usize).copied().unwrap_or(f64::NAN)
}

/// The middle one; of an even number, the mean of the two in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied();
    let lower = if sorted.len() % 2 == 0 { half.checked_sub(1) } else { Some(half) };
    let lower = lower.and_then(|place| sorted.get(place).copied());
    lower.zip(upper).map_or(f64::NAN, |(lower, upper)| (lower + upper) / 2.0)
}

/// Rounds of a figure and its floor. As a machine's speed drifts, only what was measured in the same
/// round is compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paired {
    values: Vec<f64>,
    floors: Vec<f64>,
}

impl Paired {
    /// Adds a round.
    pub fn add(&mut self, value: f64, floor: f64) {
        self.values.push(value);
        self.floors.push(floor);
    }

    /// Median of the figure.
    pub fn value(&self) -> f64 {
        median(&self.values)
    }

    /// Median of the floor.
    pub fn floor(&self) -> f64 {
        median(&self.floors)
    }

    /// Median of the rounds' ratios.
    pub fn ratio(&self) -> f64 {
        let rounds = self.values.iter().zip(&self.floors);
        median(&rounds.map(|(value, floor)| value / floor).collect::<Vec<_>>())
    }
}

impl FromIterator<(f64, f64)> for Paired {
    fn from_iter<I: IntoIterator<Item = (f64, f64)>>(rounds: I) -> Self {
        let (values, floors) = rounds.into_iter().unzip();
        Self { values, floors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles() {
        let hundred: Vec<_> = (0..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.5), 50.0);
        assert_eq!(percentile(&hundred, 0.99), 99.0);
        assert_eq!(percentile(&[1.0, 2.0], 1.0), 2.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    /// The machine is at half its speed in the second round, and disturbed in the third.
    #[test]
    fn a_machine_that_slows_down_changes_no_ratio() {
        let rounds = Paired::from_iter([(3.0, 2.0), (6.0, 4.0), (30.0, 2.0)]);
        assert_eq!((rounds.value(), rounds.floor(), rounds.ratio()), (6.0, 2.0, 1.5));
    }
}
