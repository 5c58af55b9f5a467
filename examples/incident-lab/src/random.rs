//! The lab's one source of randomness: PCG, seeded, the same on every machine.

use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;

/// A seeded generator with the three draws the lab needs.
#[derive(Debug, Clone)]
pub struct Random(Pcg64);

impl Random {
    /// A generator for one purpose: different `stream` values give independent sequences, so that
    /// a new draw in one part of the lab leaves the others as they were.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Pcg64::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream))
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        // 53 bits fill the mantissa exactly.
        let unit = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        low + unit * (high - low)
    }

    /// Uniform over `low..=high`. The modulo bias is below 2⁻⁴⁰ for the small ranges used here.
    pub fn integer(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.next_u64() % (high - low + 1)
    }

    /// Exponential with the given rate per second, in seconds: the gap between Poisson arrivals.
    pub fn exponential(&mut self, rate: f64) -> f64 {
        -(1.0 - self.uniform(0.0, 1.0)).ln() / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_streams_differ() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            (0..8).map(|_| random.integer(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(8, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
    }

    #[test]
    fn exponential_gaps_have_the_mean_of_their_rate() {
        let mut random = Random::new(1, 1);
        let mean = (0..20_000).map(|_| random.exponential(50.0)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.02).abs() < 0.001, "mean gap {mean}");
    }
}
