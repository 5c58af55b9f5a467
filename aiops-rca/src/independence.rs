//! Tests of independence: the p-values that discovery decides by.

mod g_square;

pub(crate) use g_square::Discrete;

use crate::linalg::{Symmetric, partial_correlation};
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::erf::erfc;

/// A test of "x and y are independent given these", over variables that are numbered from 0.
pub(crate) trait Independence: Sync {
    fn variables(&self) -> usize;

    fn p_value(&self, x: usize, y: usize, given: &[usize]) -> f64;

    /// The size of the unconditional dependence, for people to read; signed where it has a sign.
    fn strength(&self, x: usize, y: usize) -> f64;
}

/// Linear dependence under Gaussian noise.
pub(crate) struct Gaussian<'a> {
    pub(crate) moments: &'a Symmetric,
    pub(crate) samples: usize,
}

impl Independence for Gaussian<'_> {
    fn variables(&self) -> usize {
        self.moments.len()
    }

    fn p_value(&self, x: usize, y: usize, given: &[usize]) -> f64 {
        fisher_z(partial_correlation(self.moments, x, y, given), self.samples, given.len())
    }

    fn strength(&self, x: usize, y: usize) -> f64 {
        partial_correlation(self.moments, x, y, &[])
    }
}

/// Fisher's z test of a (partial) correlation: the two-sided p-value of
/// sqrt(n − conditions − 3) · |atanh r| under the standard normal.
///
/// 1 when there are too few samples to say anything, 0 for a perfect correlation.
pub(crate) fn fisher_z(r: f64, samples: usize, conditions: usize) -> f64 {
    let freedom = samples as f64 - conditions as f64 - 3.0;
    if freedom <= 0.0 {
        return 1.0;
    }
    let z = freedom.sqrt() * 0.5 * ((1.0 + r).ln() - (1.0 - r).ln()).abs();
    erfc(z / std::f64::consts::SQRT_2)
}

/// The two-sided p-value of Student's t; 1 for a statistic that is no number, as of columns whose squares
/// overflow: it says nothing.
pub(crate) fn student_t(statistic: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(t) if !statistic.is_nan() => (2.0 * t.sf(statistic.abs())).min(1.0),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fisher_z_is_that_of_causal_learn() {
        // causal-learn 0.1.4.8, causallearn/utils/cit.py: sqrt(n - |S| - 3) * |0.5 log((1+r)/(1-r))|,
        // p = 2 (1 - norm.cdf): r = 0.1, n = 500, |S| = 2 gives z = 2.23232, p below, by scipy 1.17.1.
        let p = fisher_z(0.1, 500, 2);
        assert!((p - 0.025_593_783_828_969_204).abs() < 1e-10, "{p:.17}");
        assert_eq!(fisher_z(1.0, 100, 0), 0.0);
        assert_eq!(fisher_z(0.9, 3, 0), 1.0, "three samples say nothing");
    }
}
