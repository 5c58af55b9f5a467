//! From a standardised deviation to a p-value when nothing has been learnt about the noise yet.
//!
//! A detector that knows an expectation and a scale knows how many scales a sample is away, not how
//! rare that is. Until [`Calibrated`](crate::Calibrated) has seen enough of a series to say, a
//! reference distribution answers. Which one matters only in the tail, and there it matters a lot:
//! at six scales a Gaussian says 2e-9 and Student's t with four degrees of freedom says 4e-3.

/// A reference distribution of standardised deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tail {
    /// The normal distribution. Right for averages of many independent requests; on raw metrics its
    /// p-values are far too small beyond about 1e-2.
    Gaussian,
    /// Student's t with four degrees of freedom, scaled to the same interquartile range as the
    /// normal. Heavy enough for most operational metrics; trust it to about 1e-3.
    #[default]
    HeavyTailed,
}

/// Ratio of the upper quartile of Student's t(4), 0.740697, to that of the normal, 0.674490. Scales
/// here are those a normal would have, so a deviation is stretched before t(4) is asked.
const QUARTILE_RATIO: f64 = 0.740_697_084_112_682_9 / 0.674_489_750_196_081_7;

impl Tail {
    /// Chance that a normal sample deviates by at least `z` scales in either direction.
    ///
    /// Monotone falling in `z`, 1 at zero, never zero or NaN: an infinite or absurd deviation gets
    /// the smallest positive p-value.
    ///
    /// ```
    /// use aiops_detect::Tail;
    /// assert!((Tail::Gaussian.p_value(1.959_963_985) - 0.05).abs() < 1e-9);
    /// assert_eq!(Tail::HeavyTailed.p_value(0.0), 1.0);
    /// assert!(Tail::HeavyTailed.p_value(f64::INFINITY) > 0.0);
    /// ```
    pub fn p_value(self, z: f64) -> f64 {
        let z = z.abs().min(1e150);
        let p = match self {
            Tail::Gaussian => statrs::function::erf::erfc(z / std::f64::consts::SQRT_2),
            Tail::HeavyTailed => {
                // For four degrees of freedom the two-sided tail is c²(3 - c)/2 with
                // c = 1 - x/√(x²+4); c in this form does not cancel for large x.
                let x = z * QUARTILE_RATIO;
                let root = (x * x + 4.0).sqrt();
                let c = 4.0 / (root * (root + x));
                c * c * (3.0 - c) / 2.0
            }
        };
        p.clamp(f64::MIN_POSITIVE, 1.0)
    }

    /// The deviation whose p-value is `p`: the threshold that belongs to a false-positive rate.
    pub fn threshold(self, p: f64) -> f64 {
        // Both tails fall monotonically, so bisection is exact enough and cannot diverge.
        let (mut low, mut high) = (0.0_f64, 1.0_f64);
        while self.p_value(high) > p && high < 1e100 {
            high *= 2.0;
        }
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if self.p_value(middle) > p { low = middle } else { high = middle }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden: scipy 1.17.1, `2*scipy.stats.t.sf(z*t.ppf(.75,4)/norm.ppf(.75), 4)` and
    // `2*scipy.stats.norm.sf(z)`; relative tolerance 1e-9.
    #[test]
    fn tails_match_scipy() {
        for (tail, z, expected) in GOLDEN {
            let p = tail.p_value(z);
            assert!((p / expected - 1.0).abs() < 1e-9, "{tail:?} at {z}: {p} against {expected}");
        }
    }

    #[test]
    fn a_threshold_gives_back_its_rate() {
        for tail in [Tail::Gaussian, Tail::HeavyTailed] {
            for p in [0.05, 1e-3, 1e-6] {
                let back = tail.p_value(tail.threshold(p));
                assert!((back / p - 1.0).abs() < 1e-9, "{tail:?} {p}: {back}");
            }
        }
    }

    const GOLDEN: [(Tail, f64, f64); 6] = [
        (Tail::Gaussian, 0.5, 6.170_750_774_519_738e-1),
        (Tail::Gaussian, 3.0, 2.699_796_063_260_187e-3),
        (Tail::Gaussian, 8.0, 1.244_192_114_854_348e-15),
        (Tail::HeavyTailed, 0.5, 6.121_620_575_689_614e-1),
        (Tail::HeavyTailed, 3.0, 3.008_881_842_552_324e-2),
        (Tail::HeavyTailed, 8.0, 9.258_023_536_000_542e-4),
    ];
}
