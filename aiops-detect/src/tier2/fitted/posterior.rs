//! Prophet's model: how likely parameters are, and which way they get likelier.

/// Prophet's model and data, in the scaled units of its Stan program.
#[derive(Debug, Clone)]
pub(super) struct Problem<'a> {
    pub(super) y: &'a [f64],
    /// Ascending.
    pub(super) t: &'a [f64],
    pub(super) cap: &'a [f64],
    /// Ascending.
    pub(super) t_change: &'a [f64],
    pub(super) growth: Growth,
    /// Regressors, one row of `sigmas.len()` a time.
    pub(super) x: Vec<f64>,
    /// Share of each regressor that is added, and that is multiplied with the trend.
    pub(super) added: Vec<f64>,
    pub(super) multiplied: Vec<f64>,
    /// Scales of the priors of the regressors' weights.
    pub(super) sigmas: Vec<f64>,
    /// Scale of the Laplace prior of the changes.
    pub(super) tau: f64,
    /// Whether the posterior is that of the logarithm of the noise.
    pub(super) jacobian: bool,
}

/// The shape of the trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Linear,
    Logistic,
    Flat,
}

// Places of the parameters in one vector: rate, offset, logarithm of the noise, changes, weights.
pub(super) const RATE: usize = 0;
pub(super) const OFFSET: usize = 1;
pub(super) const NOISE: usize = 2;
const CHANGES: usize = 3;
/// Square of what the data is known to: keeps the noise of a perfect fit above zero.
const ROUNDING: f64 = 1e-18;

impl Problem<'_> {
    fn n_changes(&self) -> usize {
        self.t_change.len()
    }

    /// The changes within a point.
    pub(super) fn changes(&self) -> std::ops::Range<usize> {
        CHANGES..CHANGES + self.n_changes()
    }

    /// The weights within a point.
    pub(super) fn weights(&self) -> std::ops::Range<usize> {
        let from = CHANGES + self.n_changes();
        from..from + self.sigmas.len()
    }

    /// Slope of the Laplace prior of the changes, the only part with a kink.
    pub(super) fn sharpness(&self) -> f64 {
        1.0 / self.tau
    }

    /// Negative logarithm of the posterior but for constants and the Laplace prior, with its gradient.
    pub(super) fn smooth(&self, p: &[f64], gradient: &mut [f64]) -> f64 {
        gradient.fill(0.0);
        let trend = Trend::new(self, p);
        let beta = &p[self.weights()];
        let sigma = p[NOISE].exp();
        let precision = (-2.0 * p[NOISE]).exp();
        let mut squares = 0.0;
        // By the trend, for its parameters.
        let mut by_trend = vec![0.0; self.y.len()];
        let mut by_weight = vec![0.0; beta.len()];
        let rows = self.x.chunks_exact(beta.len().max(1));
        for (i, (y, row)) in self.y.iter().zip(rows).enumerate() {
            let (mut plus, mut times) = (0.0, 0.0);
            for (j, (x, b)) in row.iter().zip(beta).enumerate() {
                plus += self.added[j] * x * b;
                times += self.multiplied[j] * x * b;
            }
            let value = trend.values[i];
            let residual = y - value * (1.0 + times) - plus;
            squares += residual * residual;
            let pull = -residual * precision;
            by_trend[i] = pull * (1.0 + times);
            for (j, (x, g)) in row.iter().zip(&mut by_weight).enumerate() {
                *g += pull * x * (self.added[j] + self.multiplied[j] * value);
            }
        }
        squares += self.y.len() as f64 * ROUNDING;
        trend.pull_back(self, &by_trend, gradient);
        let logs = self.y.len() as f64 - f64::from(u8::from(self.jacobian));
        let mut value = logs * p[NOISE] + 0.5 * squares * precision;
        gradient[NOISE] += logs - squares * precision;
        // Half-normal prior of the noise with scale one half.
        value += 2.0 * sigma * sigma;
        gradient[NOISE] += 4.0 * sigma * sigma;
        for i in [RATE, OFFSET] {
            value += p[i] * p[i] / 50.0;
            gradient[i] += p[i] / 25.0;
        }
        for (j, i) in self.weights().enumerate() {
            value += 0.5 * (beta[j] / self.sigmas[j]).powi(2);
            gradient[i] += by_weight[j] + beta[j] / self.sigmas[j].powi(2);
        }
        value
    }

    /// The trend at the times of the data.
    pub(super) fn trend(&self, p: &[f64]) -> Vec<f64> {
        Trend::new(self, p).values
    }
}

/// The trend, with what its gradient needs.
struct Trend {
    values: Vec<f64>,
    /// Of a logistic trend, rate and offset of each segment.
    segments: Vec<(f64, f64)>,
}

impl Trend {
    fn new(problem: &Problem<'_>, p: &[f64]) -> Self {
        let changes = &p[problem.changes()];
        let (mut rate, mut offset) = (p[RATE], p[OFFSET]);
        let mut segments = vec![(rate, offset)];
        let mut values = Vec::with_capacity(problem.t.len());
        let mut next = 0;
        for (i, t) in problem.t.iter().enumerate() {
            while next < changes.len() && *t >= problem.t_change[next] {
                let at = problem.t_change[next];
                match problem.growth {
                    Growth::Linear => {
                        rate += changes[next];
                        offset -= at * changes[next];
                    }
                    Growth::Logistic => {
                        let after = rate + changes[next];
                        offset += (at - offset) * (1.0 - rate / after);
                        rate = after;
                        segments.push((rate, offset));
                    }
                    Growth::Flat => {}
                }
                next += 1;
            }
            values.push(match problem.growth {
                Growth::Linear => rate * t + offset,
                Growth::Logistic => problem.cap[i] * logistic(rate * (t - offset)),
                Growth::Flat => p[OFFSET],
            });
        }
        Trend { values, segments }
    }

    /// Adds to `gradient` what the derivatives by the trend's values mean for its parameters.
    fn pull_back(&self, problem: &Problem<'_>, by_trend: &[f64], gradient: &mut [f64]) {
        let changes = problem.changes();
        match problem.growth {
            Growth::Flat => gradient[OFFSET] += by_trend.iter().sum::<f64>(),
            Growth::Linear => {
                // From the end: a change acts on all that comes after it.
                let (mut sum, mut moment) = (0.0, 0.0);
                let mut i = by_trend.len();
                for j in (0..problem.n_changes()).rev() {
                    let at = problem.t_change[j];
                    while i > 0 && problem.t[i - 1] >= at {
                        i -= 1;
                        sum += by_trend[i];
                        moment += by_trend[i] * problem.t[i];
                    }
                    gradient[changes.start + j] += moment - at * sum;
                }
                for (pull, t) in by_trend[..i].iter().zip(problem.t) {
                    sum += pull;
                    moment += pull * t;
                }
                gradient[RATE] += moment;
                gradient[OFFSET] += sum;
            }
            Growth::Logistic => {
                let mut by_rate = vec![0.0; self.segments.len()];
                let mut by_offset = vec![0.0; self.segments.len()];
                let mut segment = 0;
                for (i, t) in problem.t.iter().enumerate() {
                    while segment + 1 < self.segments.len() && *t >= problem.t_change[segment] {
                        segment += 1;
                    }
                    let (rate, offset) = self.segments[segment];
                    let share = logistic(rate * (t - offset));
                    let pull = by_trend[i] * problem.cap[i] * share * (1.0 - share);
                    by_rate[segment] += pull * (t - offset);
                    by_offset[segment] -= pull * rate;
                }
                // Offsets follow from the ones before: m' = c (1 - q) + m q with q = k / k'.
                for j in (0..self.segments.len() - 1).rev() {
                    let ((rate, offset), (after, _)) = (self.segments[j], self.segments[j + 1]);
                    let by_ratio = by_offset[j + 1] * (offset - problem.t_change[j]);
                    by_offset[j] += by_offset[j + 1] * rate / after;
                    by_rate[j] += by_ratio / after;
                    by_rate[j + 1] -= by_ratio * rate / (after * after);
                }
                gradient[OFFSET] += by_offset[0];
                let mut sum = 0.0;
                for j in (0..self.segments.len()).rev() {
                    sum += by_rate[j];
                    if j > 0 {
                        gradient[changes.start + j - 1] += sum;
                    }
                }
                gradient[RATE] += sum;
            }
        }
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::{
        super::owl_qn::{Sharp, minimise},
        *,
    };
    use crate::testing::Noise;

    fn check_gradient(growth: Growth) {
        let mut noise = Noise::new(14);
        let t: Vec<f64> = (0..50).map(|i| f64::from(i) / 49.0).collect();
        let y: Vec<f64> = t.iter().map(|t| 0.3 + 0.4 * t + 0.05 * noise.normal()).collect();
        let rows = t.iter().flat_map(|t| [(40.0 * t).sin(), (40.0 * t).cos()]).collect();
        let cap = vec![1.5; 50];
        let problem = Problem {
            y: &y,
            t: &t,
            cap: &cap,
            t_change: &[0.25, 0.5, 0.75],
            growth,
            x: rows,
            added: vec![1.0, 0.0],
            multiplied: vec![0.0, 1.0],
            sigmas: vec![10.0, 5.0],
            tau: 0.05,
            jacobian: true,
        };
        let p = vec![0.7, 0.2, -1.5, 0.1, -0.2, 0.05, 0.3, -0.1];
        let mut gradient = vec![0.0; 8];
        problem.smooth(&p, &mut gradient);
        for i in 0..8 {
            let at = |d: f64| {
                let mut p = p.clone();
                p[i] += d;
                problem.smooth(&p, &mut [0.0; 8])
            };
            let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
            let off = (slope - gradient[i]).abs();
            assert!(off < 1e-5 * slope.abs().max(1.0), "{growth:?} {i}: {slope} {}", gradient[i]);
        }
        let found = minimise(
            |p, gradient| problem.smooth(p, gradient),
            Sharp { places: problem.changes(), slope: problem.sharpness() },
            p,
            2000,
        );
        let objective = |p: &[f64]| {
            let sizes: f64 = p[problem.changes()].iter().map(|change| change.abs()).sum();
            problem.smooth(p, &mut [0.0; 8]) + problem.sharpness() * sizes
        };
        let best = objective(&found);
        for i in 0..8 {
            for d in [1e-3, -1e-3] {
                let mut other = found.clone();
                other[i] += d;
                assert!(objective(&other) >= best - 1e-9, "{growth:?}: {i} by {d}");
            }
        }
    }

    #[test]
    fn gradients_are_those_of_the_objective_and_vanish_at_its_minimum() {
        check_gradient(Growth::Linear);
        check_gradient(Growth::Logistic);
        check_gradient(Growth::Flat);
    }
}
