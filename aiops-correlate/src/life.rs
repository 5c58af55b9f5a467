//! How long firings last: learned survival, for the ones that end by themselves and for trouble.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

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
    #[serde(deserialize_with = "counts::<BINS, _>")]
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

/// Lengths that lifetimes cluster at: multiples of an evaluation interval, a `for` of five minutes.
///
/// The [`Shape`] is smooth, so that few observations do; where a sender ends whatever means nothing
/// after exactly four minutes, it cannot say so. Here lifetimes are counted in bins of 4 % of their
/// length, and the two bins nearest to one are compared with what the seventeen around it lead to
/// expect. Their ratio is the mean of a Gamma posterior of prior shape [`CAUTION`] and mean 1:
/// without clusters it stays near 1, whatever the number of observations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Clusters {
    #[serde(deserialize_with = "counts::<FINE_BINS, _>")]
    bins: Vec<f64>,
}

/// Width of a fine bin in ln of seconds, their number (the last one holds everything above four
/// hours), and how many on either side are looked at.
const FINE: f64 = 0.04;
const FINE_BINS: usize = 240;
const AROUND: usize = 8;
const CAUTION: f64 = 2.0;

impl Default for Clusters {
    fn default() -> Self {
        Clusters { bins: vec![0.0; FINE_BINS] }
    }
}

impl Clusters {
    fn bin(ln_life: f64) -> usize {
        ((ln_life / FINE).max(0.0) as usize).min(FINE_BINS - 1)
    }

    pub(crate) fn learn(&mut self, ln_life: f64, weight: f64) {
        self.bins[Self::bin(ln_life)] += weight;
    }

    /// Forgets: every count times `factor`.
    pub(crate) fn fade(&mut self, factor: f64) {
        self.bins.iter_mut().for_each(|b| *b *= factor);
    }

    /// How much denser lifetimes are at this one than around it.
    pub(crate) fn factor(&self, ln_life: f64) -> f64 {
        let at = Self::bin(ln_life);
        let upper = (ln_life / FINE).fract() >= 0.5;
        let beside = if upper { (at + 1).min(FINE_BINS - 1) } else { at.saturating_sub(1) };
        let here = self.bins[at] + if beside == at { 0.0 } else { self.bins[beside] };
        let (low, high) = (at.saturating_sub(AROUND), (at + AROUND).min(FINE_BINS - 1));
        let around: f64 = self.bins[low..=high].iter().sum();
        let expected = around * 2.0 / (high - low + 1) as f64;
        (here + CAUTION) / (expected + CAUTION)
    }
}

/// Saved counts are as many as there are bins.
fn counts<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let bins = Vec::deserialize(from)?;
    if bins.len() == N {
        Ok(bins)
    } else {
        Err(D::Error::invalid_length(bins.len(), &"as many counts as bins"))
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

    #[test]
    fn saved_counts_of_another_length_are_refused() {
        let saved = serde_json::to_string(&Shape::new(4.0)).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&saved).unwrap(), Shape::new(4.0));
        let short = saved.replacen("0.0,", "", 1);
        let error = serde_json::from_str::<Shape>(&short).unwrap_err().to_string();
        assert!(error.contains("invalid length 47"), "{error}");
    }

    #[test]
    fn clusters_stand_out_and_what_is_smooth_has_none() {
        let (mut clustered, mut smooth) = (Clusters::default(), Clusters::default());
        for at in 0..600 {
            clustered.learn([30.0_f64, 60.0, 120.0, 240.0][at % 4].ln(), 1.0);
            // Evenly over ln between 20 s and 400 s.
            smooth.learn(3.0 + 3.0 * at as f64 / 600.0, 1.0);
        }
        assert!(clustered.factor(240.0_f64.ln()) > 5.0);
        assert!(clustered.factor(200.0_f64.ln()) < 0.2, "nothing ever ended there");
        assert!((0.7..1.4).contains(&smooth.factor(240.0_f64.ln())));
        assert!((Clusters::default().factor(100.0_f64.ln()) - 1.0).abs() < 1e-9);
        assert!(clustered.factor(f64::NEG_INFINITY).is_finite() && smooth.factor(99.0).is_finite());
    }
}
