//! How long firings last: learned survival, for the ones that end by themselves and for trouble.

use serde::{Deserialize, Serialize};

/// Survival of something that lasts about `median` seconds, log-logistic with the given spread.
///
/// S(t) = 1 / (1 + (t/m)^b), with b = π / (√3 σ) for the standard deviation σ of ln t. Chosen over
/// the log-normal because both tails are heavier, which is what a small sample deserves, and
/// because it needs no error function. At t = 0, S = 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LogLogistic {
    ln_median: f64,
    shape: f64,
}

impl LogLogistic {
    /// From the median in seconds and the standard deviation of the natural logarithm.
    ///
    /// Values at or below 1 ms and 0.05 are raised to those: a firing that lasts nothing and a
    /// spread of zero would make every other length infinitely surprising.
    pub fn new(median_s: f64, sigma: f64) -> Self {
        Self::from_ln(median_s.max(1e-3).ln(), sigma)
    }

    pub(crate) fn from_ln(ln_median: f64, sigma: f64) -> Self {
        let shape = std::f64::consts::PI / (3.0_f64.sqrt() * sigma.max(0.05));
        LogLogistic { ln_median, shape }
    }

    /// ln of the chance to last longer than `age_s` seconds.
    pub fn ln_survival(&self, age_s: f64) -> f64 {
        if age_s <= 0.0 {
            return 0.0;
        }
        -softplus(self.shape * (age_s.ln() - self.ln_median))
    }

    /// ln of the density of ending at exactly `life_s`, per unit of ln t: comparing two of these is
    /// comparing densities per second, because the factor t cancels.
    pub fn ln_density(&self, life_s: f64) -> f64 {
        let z = self.shape * (life_s.max(1e-3).ln() - self.ln_median);
        self.shape.ln() + z - 2.0 * softplus(z)
    }
}

/// ln(1 + e^x) without overflow.
fn softplus(x: f64) -> f64 {
    if x > 30.0 { x } else { x.exp().ln_1p() }
}

/// Number of bins of the learned shape and the range that they cover, in standard deviations.
const BINS: usize = 48;
const REACH: f64 = 4.0;

/// The shape of standardised lifetimes, learned as a smoothed histogram.
///
/// A log-logistic prior, worth [`weight`](Self::new) observations, keeps bins that were never hit
/// possible. With many observations the edge of the real distribution shows: if nothing of a kind
/// ever lasted longer than four minutes, five minutes are strong evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shape {
    bins: Vec<f64>,
    total: f64,
    weight: f64,
}

impl Shape {
    pub(crate) fn new(weight: f64) -> Self {
        Shape { bins: vec![0.0; BINS], total: 0.0, weight }
    }

    pub(crate) fn learn(&mut self, z: f64, weight: f64) {
        self.bins[bin(z)] += weight;
        self.total += weight;
    }

    /// Forgets: every count times `factor`.
    pub(crate) fn fade(&mut self, factor: f64) {
        self.bins.iter_mut().for_each(|b| *b *= factor);
        self.total *= factor;
    }

    /// Chance that a standardised lifetime exceeds `z`.
    pub(crate) fn survival(&self, z: f64) -> f64 {
        let at = bin(z);
        // Inside the bin the mass is spread evenly.
        let low = (at as f64 / BINS as f64) * 2.0 * REACH - REACH;
        let width = 2.0 * REACH / BINS as f64;
        let part = ((low + width - z) / width).clamp(0.0, 1.0);
        let above: f64 = self.bins[at + 1..].iter().sum::<f64>() + part * self.bins[at];
        (above + self.weight * prior_survival(z)) / (self.total + self.weight)
    }

    /// Density at `z`, per standard deviation.
    pub(crate) fn density(&self, z: f64) -> f64 {
        // Smoothed over three bins: lifetimes cluster at evaluation intervals.
        let at = bin(z).clamp(1, BINS - 2);
        let mass: f64 = self.bins[at - 1..=at + 1].iter().sum();
        let width = 3.0 * 2.0 * REACH / BINS as f64;
        let low = z - width / 2.0;
        let prior = prior_survival(low) - prior_survival(low + width);
        (mass + self.weight * prior) / (self.total + self.weight) / width
    }
}

fn bin(z: f64) -> usize {
    let at = (z + REACH) / (2.0 * REACH) * BINS as f64;
    (at.max(0.0) as usize).min(BINS - 1)
}

/// Logistic with standard deviation 1.
fn prior_survival(z: f64) -> f64 {
    1.0 / (1.0 + (z * std::f64::consts::PI / 3.0_f64.sqrt()).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hand calculation: at the median S is one half, and with σ = π/√3 (shape 1) S(3m) = 1/4.
    #[test]
    fn log_logistic_by_hand() {
        let life = LogLogistic::new(60.0, std::f64::consts::PI / 3.0_f64.sqrt());
        assert!((life.ln_survival(60.0).exp() - 0.5).abs() < 1e-12);
        assert!((life.ln_survival(180.0).exp() - 0.25).abs() < 1e-12);
        assert_eq!(life.ln_survival(0.0), 0.0);
        // Density per ln t is b·x/(1+x)² = 1/4 at the median.
        assert!((life.ln_density(60.0).exp() - 0.25).abs() < 1e-12);
        assert!(life.ln_survival(1e300).is_finite() && life.ln_density(0.0).is_finite());
    }

    #[test]
    fn a_learned_edge_is_sharper_than_the_prior() {
        let mut shape = Shape::new(20.0);
        let before = shape.survival(1.5);
        for i in 0..1_000 {
            shape.learn(f64::from(i % 20) / 10.0 - 1.0, 1.0);
        }
        assert!(shape.survival(1.5) < before / 4.0);
        assert!(shape.survival(1.5) > 0.0, "never impossible");
        assert!((shape.survival(-10.0) - 1.0).abs() < 1e-9);
        assert!(shape.density(3.5) < shape.density(0.0));
    }
}
