//! How long handshakes take.

use std::time::Duration;

use bip324_control::Handshakes;

/// How many durations fell into each bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum: u64,
    longest: u64,
}

impl Histogram {
    pub(super) fn add(&mut self, duration: Duration) {
        let took = micros(duration);
        let bucket = BOUNDS.iter().position(|&bound| took <= bound);
        if let Some(count) = bucket.and_then(|bucket| self.counts.get_mut(bucket)) {
            *count += 1;
        }
        self.count += 1;
        self.sum += took;
        self.longest = self.longest.max(took);
    }

    pub(super) fn report(&self) -> Handshakes {
        let mut sum = 0;
        let buckets = BOUNDS.iter().zip(self.counts).map(|(&bound, count)| {
            sum += count;
            (bound, sum)
        });
        let buckets: Vec<_> = buckets.collect();
        // Beyond the last bucket lies the longest.
        let within = |percent: u64| {
            let wanted = (self.count * percent).div_ceil(100);
            let bucket = buckets.iter().find(|(_, sum)| *sum >= wanted);
            (self.count > 0).then(|| bucket.map_or(self.longest, |(bound, _)| *bound))
        };
        let (p50, p99) = (within(50), within(99));
        Handshakes { count: self.count, sum: self.sum, p50, p99, buckets }
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Upper ends of the buckets in microseconds: from a peer on this host to a client that takes its time.
const BOUNDS: [u64; 17] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000, 20_000_000, 30_000_000, 60_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn after(millis: &[u64]) -> Handshakes {
        let mut histogram = Histogram::default();
        millis.iter().for_each(|&millis| histogram.add(Duration::from_millis(millis)));
        histogram.report()
    }

    #[test]
    fn nothing_took_no_time() {
        let none = after(&[]);
        assert_eq!((none.count, none.sum, none.p50, none.p99), (0, 0, None, None));
        assert!(none.buckets.iter().all(|&(_, count)| count == 0));
    }

    #[test]
    fn buckets_are_cumulative_and_quantiles_their_upper_ends() {
        let times = [[1; 98].as_slice(), &[150, 900]].concat();
        let report = after(&times);
        assert_eq!((report.count, report.sum), (100, 1_148_000));
        assert_eq!((report.p50, report.p99), (Some(1_000), Some(200_000)));
        let at = |bound| report.buckets.iter().find(|bucket| bucket.0 == bound).unwrap().1;
        assert_eq!(
            [500, 1_000, 100_000, 200_000, 1_000_000, 60_000_000].map(at),
            [0, 98, 98, 99, 100, 100]
        );
    }

    #[test]
    fn what_takes_longer_than_the_last_bucket_is_not_lost() {
        let report = after(&[61_000]);
        assert_eq!(report.p50, Some(61_000_000));
        assert_eq!((report.count, report.buckets.last().unwrap().1), (1, 0));
    }
}
