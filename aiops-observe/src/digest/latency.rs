//! Durations in buckets whose width grows with them.

/// Counts of durations in buckets of 1 % relative accuracy between 1 µs and 1 h; shorter and longer
/// ones count at the ends. At most 1,102 buckets of 4 bytes, whatever comes.
///
/// Bucket i holds (γ^(i-1), γ^i] µs with γ = 1.01 / 0.99; a quantile is answered with the value whose
/// relative distance to both ends of its bucket is the same, 2γ^i / (γ + 1).
///
/// Source: C. Masson, J. E. Rim, H. K. Lee, "DDSketch: A fast and fully-mergeable quantile sketch with
/// relative-error guarantees", VLDB 2019, section 2.1. Deviation: a fixed range of buckets, so that none
/// has to collapse.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    /// The number of the first bucket that is kept.
    first: usize,
    counts: Vec<u32>,
    total: u64,
}

const GAMMA: f64 = 1.01 / 0.99;
const SHORTEST: f64 = 1e-6;
const LAST: usize = 1_101;

impl Latencies {
    pub(super) fn add(&mut self, seconds: f64) {
        // A negative or missing number has the bucket 0.
        let bucket = ((seconds / SHORTEST).ln() / GAMMA.ln()).ceil().max(0.0) as usize;
        let bucket = bucket.min(LAST);
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            self.counts.splice(0..0, std::iter::repeat_n(0, self.first - bucket));
            self.first = bucket;
        }
        let place = bucket - self.first;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        self.counts[place] = self.counts[place].saturating_add(1);
        self.total += 1;
    }

    /// The duration that the share `quantile` of all does not exceed, in seconds; `None` of nothing.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = (quantile * self.total as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let place = self.counts.iter().position(|&count| {
            below += u64::from(count);
            below >= rank
        })?;
        let upper = GAMMA.powi((self.first + place) as i32);
        Some(SHORTEST * 2.0 * upper / (GAMMA + 1.0))
    }

    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.total = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_within_one_percent(
            micros in prop::collection::vec(1.0f64..3.6e9, 1..200),
            quantile in 0.0f64..=1.0,
        ) {
            let mut latencies = Latencies::default();
            micros.iter().for_each(|micros| latencies.add(micros * 1e-6));
            let mut sorted = micros.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = ((quantile * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1] * 1e-6;
            let said = latencies.quantile(quantile).unwrap();
            prop_assert!((said - exact).abs() <= 0.01 * exact * (1.0 + 1e-9), "{said} {exact}");
        }
    }

    #[test]
    fn what_is_out_of_range_counts_at_the_ends() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), None);
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            latencies.add(seconds);
        }
        assert!(latencies.counts.len() <= LAST + 1);
        assert!(latencies.quantile(0.5).unwrap() < 1.1e-6);
        assert!((latencies.quantile(1.0).unwrap() - 3_600.0).abs() < 80.0);
        latencies.clear();
        assert_eq!(latencies.quantile(0.5), None);
    }
}
