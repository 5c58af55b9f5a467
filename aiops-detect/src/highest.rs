//! The highest of many scores, as they are, and the tail that goes on beyond them.

use aiops_core::{SnapshotReader, SnapshotWriter};

use crate::{Result, saved};

/// How many are kept.
const KEPT: usize = 64;

/// The highest scores with what each still counts, highest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Highest {
    len: usize,
    scores: [f64; KEPT],
    weights: [f32; KEPT],
}

impl Default for Highest {
    fn default() -> Self {
        Highest { len: 0, scores: [0.0; KEPT], weights: [0.0; KEPT] }
    }
}

impl Highest {
    /// Takes a score in that counts one; the lowest goes when there are too many.
    pub(crate) fn learn(&mut self, score: f64) {
        if self.len == KEPT && score <= self.scores[KEPT - 1] {
            return;
        }
        let at = self.scores[..self.len].partition_point(|kept| *kept > score);
        let until = self.len.min(KEPT - 1);
        self.scores.copy_within(at..until, at + 1);
        self.weights.copy_within(at..until, at + 1);
        self.scores[at] = score;
        self.weights[at] = 1.0;
        self.len = until + 1;
    }

    /// Each counts half from now on.
    pub(crate) fn halve(&mut self) {
        self.weights.iter_mut().for_each(|weight| *weight *= 0.5);
    }

    /// What all of them count.
    pub(crate) fn weight(&self) -> f64 {
        self.weights[..self.len].iter().map(|weight| f64::from(*weight)).sum()
    }

    /// How many were at least as high as `score`; `None` when lower ones, which are not kept, may have
    /// been as well.
    pub(crate) fn reached(&self, score: f64) -> Option<f64> {
        if self.len == KEPT && score <= self.scores[KEPT - 1] {
            return None;
        }
        let above = self.scores[..self.len].partition_point(|kept| *kept >= score);
        Some(self.weights[..above].iter().map(|weight| f64::from(*weight)).sum())
    }

    /// The share of the kept scores that a generalised Pareto tail puts at `score` and above; `None`
    /// where they are all equal.
    ///
    /// With `a0` the mean of the excesses over the lowest and `a1` that of `x(1 - F(x))`:
    /// `ξ = 2 - a0/(a0 - 2·a1)`, `σ = a0(1 - ξ)`.
    pub(crate) fn tail(&self, score: f64) -> Option<f64> {
        let lowest = *self.scores[..self.len].last()?;
        let all = self.weight();
        let (mut above, mut a0, mut a1) = (0.0, 0.0, 0.0);
        // In units of the largest excess, so that nothing overflows.
        let unit = self.scores[0] - lowest;
        if !(unit > 0.0 && unit.is_finite()) {
            return None;
        }
        for (kept, weight) in self.scores[..self.len].iter().zip(&self.weights) {
            let (x, weight) = ((kept - lowest) / unit, f64::from(*weight));
            a0 += weight * x / all;
            // The share above, to the middle of this one.
            a1 += weight * x * (above + 0.5 * weight) / all / all;
            above += weight;
        }
        let spread = a0 - 2.0 * a1;
        let shape = if spread > 0.0 { 2.0 - a0 / spread } else { 0.9 };
        let shape = shape.clamp(-1.0, 0.9);
        let scale = a0 * (1.0 - shape);
        let x = (score - lowest) / unit / scale;
        let share = if shape.abs() < 1e-6 {
            (-x).exp()
        } else {
            (1.0 + shape * x).max(0.0).powf(-1.0 / shape)
        };
        // Where the fit ends nothing in the data speaks; what lies beyond is rare, not impossible.
        Some(share.max(1e-3 / (1.0 + x).powi(4)).min(1.0))
    }

    pub(crate) fn save(&self, out: &mut SnapshotWriter) {
        out.u8(self.len as u8);
        for (score, weight) in self.scores[..self.len].iter().zip(&self.weights) {
            out.f64(*score);
            out.f32(*weight);
        }
    }

    pub(crate) fn load(from: &mut SnapshotReader<'_>) -> Result<Self> {
        let mut highest = Highest::default();
        let len = usize::from(from.u8()?);
        if len > KEPT {
            return Err(saved::invalid("number of highest scores", len));
        }
        let mut last = f64::INFINITY;
        for i in 0..len {
            let (score, weight) = (saved::within(from, "score", f64::MAX)?, from.f32()?);
            if !((0.0..=last).contains(&score) && (0.0..=1.0).contains(&weight)) {
                return Err(saved::invalid("highest score", score));
            }
            (highest.scores[i], highest.weights[i]) = (score, weight);
            last = score;
        }
        highest.len = len;
        Ok(highest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    #[test]
    fn the_highest_are_kept_and_counted() {
        let mut highest = Highest::default();
        (0..100).for_each(|i| highest.learn(f64::from((i * 37) % 100)));
        assert_eq!(highest.reached(90.0), Some(10.0));
        assert_eq!(highest.reached(36.0), None, "the lowest kept may have had equals");
        assert_eq!(highest.weight(), 64.0);
        highest.halve();
        highest.learn(1000.0);
        assert_eq!(highest.reached(90.0), Some(6.0));
    }

    // The tail of what has a known one: exponential, Pareto with exponent 3, uniform; the score that a
    // hundredth of the kept ones exceed. Where the tail ends, the fit errs on the quiet side.
    #[test]
    fn tails_of_known_shape() {
        let cases = [
            (0.0, 100_f64.ln(), 0.005..0.02),
            (1.0 / 3.0, 3.0 * (100_f64.cbrt() - 1.0), 0.005..0.02),
            (-1.0, 0.99, 0.005..0.1),
        ];
        for (shape, quantile, wanted) in cases {
            let mut shares = Vec::new();
            for seed in 0..400 {
                let mut noise = Noise::new(seed);
                let mut highest = Highest::default();
                for _ in 0..KEPT - 1 {
                    let u = 1.0 - noise.uniform();
                    let x = if shape == 0.0 { -f64::ln(u) } else { (u.powf(-shape) - 1.0) / shape };
                    highest.learn(10.0 + x);
                }
                highest.learn(10.0);
                shares.push(highest.tail(10.0 + quantile).unwrap());
            }
            shares.sort_by(f64::total_cmp);
            let middle = shares[200];
            assert!(wanted.contains(&middle), "shape {shape}: {middle}");
        }
    }

    #[test]
    fn no_tail_without_a_spread_and_none_that_is_zero() {
        let mut highest = Highest::default();
        (0..64).for_each(|_| highest.learn(5.0));
        assert_eq!(highest.tail(6.0), None);
        highest.learn(6.0);
        let tail = highest.tail(f64::MAX).unwrap();
        assert!((0.0..1e-3).contains(&tail));
    }
}
