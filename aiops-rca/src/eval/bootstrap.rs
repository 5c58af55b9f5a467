//! Is one method better than another, or was it luck? Paired over the same cases.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A mean difference and the interval that holds the true one with the stated confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Mean of `ours − theirs`.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the whole interval lies above zero.
    pub fn is_above_zero(&self) -> bool {
        self.low > 0.0
    }
}

/// Percentile bootstrap of the mean of `ours[i] − theirs[i]`: cases are drawn with replacement
/// `draws` times. Deterministic for a seed.
///
/// Pairing matters: cases differ far more among each other than methods do on one case.
/// `confidence` is for example 0.95. With no case the interval is all zero.
///
/// Source: Efron & Tibshirani 1993, chapter 13.
///
/// # Panics
/// When the two slices differ in length: they would not be the same cases.
pub fn paired_bootstrap(
    ours: &[f64],
    theirs: &[f64],
    confidence: f64,
    draws: usize,
    seed: u64,
) -> Interval {
    assert_eq!(ours.len(), theirs.len(), "a paired comparison is over the same cases");
    let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    let n = differences.len();
    if n == 0 || draws == 0 {
        return Interval { mean: 0.0, low: 0.0, high: 0.0 };
    }
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let mut means: Vec<f64> = (0..draws)
        .map(|_| {
            // The high bits of a multiplication: no modulo bias worth speaking of for n << 2^64.
            let draw =
                |_| differences[((u128::from(random.next_u64()) * n as u128) >> 64) as usize];
            (0..n).map(draw).sum::<f64>() / n as f64
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let at = |q: f64| means[((draws - 1) as f64 * q).round() as usize];
    let mean = differences.iter().sum::<f64>() / n as f64;
    Interval { mean, low: at(tail), high: at(1.0 - tail) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_lead_is_certain_and_a_coin_is_not() {
        let ours = [1.0; 20];
        let lead = paired_bootstrap(&ours, &[0.5; 20], 0.95, 1_000, 7);
        assert_eq!((lead.mean, lead.low, lead.high), (0.5, 0.5, 0.5));
        assert!(lead.is_above_zero());
        let coin: Vec<f64> = (0..20).map(|i| f64::from(i % 2)).collect();
        let other: Vec<f64> = (0..20).map(|i| f64::from((i + 1) % 2)).collect();
        let luck = paired_bootstrap(&coin, &other, 0.95, 1_000, 7);
        assert!(luck.low < 0.0 && luck.high > 0.0 && luck.mean == 0.0);
        assert_eq!(luck, paired_bootstrap(&coin, &other, 0.95, 1_000, 7), "same seed, same answer");
    }

    #[test]
    fn the_interval_has_the_width_of_theory() {
        // 100 cases, 30 wins and 70 ties: mean 0.3, standard error sqrt(0.3 0.7 / 100) = 0.0458,
        // so the 95 % interval is about 0.21 to 0.39.
        let ours: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 30))).collect();
        let found = paired_bootstrap(&ours, &[0.0; 100], 0.95, 4_000, 1);
        assert!((found.low - 0.21).abs() < 0.02 && (found.high - 0.39).abs() < 0.02, "{found:?}");
    }
}
