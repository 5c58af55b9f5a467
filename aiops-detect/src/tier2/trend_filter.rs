//! A trend that bends and jumps but does not wiggle, updated in constant time.

use aiops_core::{SnapshotReader, SnapshotWriter};

use crate::{Result, saved};

/// Most rounds of reweighting.
pub(super) const MOST_ROUNDS: usize = 8;

/// The newest value of the trend that minimises, over all values so far,
/// `Σ ω(d - τ)² + λ Σ |τ[t] - τ[t-1]| + λ Σ |τ[t] - 2τ[t-1] + τ[t-2]|`.
///
/// Absolute values are squares with weights `1 / |·|` of the round before (iterative reweighting). A
/// sum of squares over the whole past is a quadratic function of the last two trend values alone,
/// once the older ones are minimised out, so each round keeps that function: three numbers for its
/// curvature and two for its slope. A new value adds its squares and minimises the oldest of three out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TrendFilter {
    /// One a round.
    rounds: Vec<Quadratic>,
    trend: f64,
}

/// `[u v] A [u v]ᵀ - 2 [u v] b` of the last two values of the trend, the newest second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Quadratic {
    a11: f64,
    a12: f64,
    a22: f64,
    b1: f64,
    b2: f64,
}

/// The last three values of the trend as one round sees them, oldest first.
#[derive(Debug, Clone, Copy)]
struct Last([f64; 3]);

/// Differences below this, in scales of the series, weigh no more.
const LEAST: f64 = 1e-3;

impl TrendFilter {
    /// Starts from two known values of the trend.
    pub(super) fn new(rounds: usize, before: f64, last: f64) -> Self {
        let start = Quadratic { a11: 1.0, a12: 0.0, a22: 1.0, b1: before, b2: last };
        TrendFilter { rounds: vec![start; rounds], trend: last }
    }

    pub(super) fn trend(&self) -> f64 {
        self.trend
    }

    /// Takes a detrended value with weight `omega`, under smoothness `lambda`, and returns the trend.
    pub(super) fn push(&mut self, value: f64, omega: f64, lambda: f64) -> f64 {
        let (mut first, mut second) = (lambda, lambda);
        for round in &mut self.rounds {
            let Last([u, m, x]) = round.push(value, omega, first, second);
            first = lambda / (x - m).abs().max(LEAST);
            second = lambda / (x - 2.0 * m + u).abs().max(LEAST);
            self.trend = x;
        }
        self.trend
    }

    pub(super) fn save(&self, out: &mut SnapshotWriter) {
        out.f64(self.trend);
        for q in &self.rounds {
            [q.a11, q.a12, q.a22, q.b1, q.b2].iter().for_each(|v| out.f64(*v));
        }
    }

    pub(super) fn load(rounds: usize, from: &mut SnapshotReader<'_>) -> Result<Self> {
        let mut filter = TrendFilter::new(rounds, 0.0, 0.0);
        filter.trend = saved::within(from, "trend", 1e30)?;
        for q in &mut filter.rounds {
            for v in [&mut q.a11, &mut q.a12, &mut q.a22, &mut q.b1, &mut q.b2] {
                *v = saved::within(from, "trend state", 1e60)?;
            }
            if !(q.a11 > 0.0 && q.a22 > 0.0 && q.a11 * q.a22 > q.a12 * q.a12) {
                return Err(saved::invalid("trend state", q.a11));
            }
        }
        Ok(filter)
    }
}

impl Quadratic {
    /// Adds a value `d` with weight `omega` and the squares of both differences with weights `p` and
    /// `r`; the new quadratic is of the two newest values.
    #[inline]
    fn push(&mut self, d: f64, omega: f64, p: f64, r: f64) -> Last {
        // Of (u, m, x), the oldest first, u is minimised out: it stands in
        // (a11 + r) u² + 2u (a12 m + r(x - 2m) - b1).
        let scale = 1.0 / (self.a11 + r);
        let (cm, cx) = (self.a12 - 2.0 * r, r);
        let next = Quadratic {
            a11: self.a22 + p + 4.0 * r - cm * cm * scale,
            a12: -p - 2.0 * r - cm * cx * scale,
            a22: omega + p + r - cx * cx * scale,
            b1: self.b2 - cm * self.b1 * scale,
            b2: omega * d - cx * self.b1 * scale,
        };
        let determinant = next.a11 * next.a22 - next.a12 * next.a12;
        let m = (next.a22 * next.b1 - next.a12 * next.b2) / determinant;
        let x = (next.a11 * next.b2 - next.a12 * next.b1) / determinant;
        let u = (self.b1 - cm * m - cx * x) * scale;
        if determinant > 0.0 && x.is_finite() {
            *self = next;
            return Last([u, m, x]);
        }
        // Rounding took the curvature away, which takes values of absurd size: start anew at this one.
        *self = Quadratic { a11: 1.0, a12: 0.0, a22: 1.0, b1: d, b2: d };
        Last([d; 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last of the trend values that minimise the sum for given weights, by Gaussian
    /// elimination over all of them.
    fn dense(values: &[f64], omega: f64, weights: &[(f64, f64)], start: [f64; 2]) -> f64 {
        let n = values.len() + 2;
        let mut a = vec![vec![0.0; n + 1]; n];
        for (i, s) in start.iter().enumerate() {
            a[i][i] += 1.0;
            a[i][n] += s;
        }
        for (t, (value, (p, r))) in values.iter().zip(weights).enumerate() {
            let x = t + 2;
            a[x][x] += omega;
            a[x][n] += omega * value;
            for (weight, row) in [
                (p, vec![(x, 1.0), (x - 1, -1.0)]),
                (r, vec![(x, 1.0), (x - 1, -2.0), (x - 2, 1.0)]),
            ] {
                for (i, ci) in &row {
                    for (j, cj) in &row {
                        a[*i][*j] += weight * ci * cj;
                    }
                }
            }
        }
        for i in 0..n {
            for j in i + 1..n {
                let f = a[j][i] / a[i][i];
                let (above, below) = a.split_at_mut(j);
                let row = below[0][i..].iter_mut().zip(&above[i][i..]);
                row.for_each(|(cell, pivot)| *cell -= f * pivot);
            }
        }
        a[n - 1][n] / a[n - 1][n - 1]
    }

    #[test]
    fn one_round_equals_solving_for_the_whole_past() {
        let values: Vec<f64> =
            (0..60).map(|i| f64::from((i * 37) % 11) + if i > 30 { 9.0 } else { 0.0 }).collect();
        let mut filter = TrendFilter::new(1, 1.0, 2.0);
        for n in 1..=values.len() {
            let found = filter.push(values[n - 1], 0.5, 10.0);
            let expected = dense(&values[..n], 0.5, &vec![(10.0, 10.0); n], [1.0, 2.0]);
            assert!((found - expected).abs() < 1e-9, "{n}: {found} against {expected}");
        }
    }

    #[test]
    fn reweighting_lets_the_trend_jump() {
        let level = |i: usize| if i < 200 { 0.0 } else { 20.0 };
        let wiggle = |i: usize| f64::from((i * 37 % 11) as u32) / 5.0 - 1.0;
        let run = |rounds: usize| -> Vec<f64> {
            let mut filter = TrendFilter::new(rounds, 0.0, 0.0);
            (0..300).map(|i| filter.push(level(i) + wiggle(i), 0.5, 10.0)).collect()
        };
        let (straight, reweighted) = (run(1), run(8));
        let roughness = |trend: &[f64]| -> f64 {
            trend[100..200].windows(2).map(|w| (w[1] - w[0]).abs()).sum()
        };
        assert!(roughness(&reweighted) < roughness(&straight), "smoother where nothing happens");
        assert!(
            (reweighted[290] - 20.0).abs() < 1.5,
            "and there after a jump: {}",
            reweighted[290]
        );
    }
}
