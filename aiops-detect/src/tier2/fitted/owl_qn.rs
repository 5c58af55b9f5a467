//! A quasi-Newton search for functions with kinks.

use std::{collections::VecDeque, ops::Range};

use crate::tier2::loess::dot;

/// A step, the change of the gradient over it, and one over their product.
type Pair = (Vec<f64>, Vec<f64>, f64);

/// How many of them the curvature is estimated from.
const MEMORY: usize = 20;

/// The part of an objective that has a kink: `slope · |x|` at some places.
#[derive(Debug, Clone)]
pub(super) struct Sharp {
    pub(super) places: Range<usize>,
    pub(super) slope: f64,
}

impl Sharp {
    fn value(&self, x: &[f64]) -> f64 {
        self.slope * x[self.places.clone()].iter().map(|v| v.abs()).sum::<f64>()
    }

    /// The steepest one-sided derivatives of the whole objective.
    fn slopes(&self, x: &[f64], gradient: &[f64]) -> Vec<f64> {
        let mut slopes = gradient.to_vec();
        for i in self.places.clone() {
            slopes[i] = one_sided(x[i], gradient[i], self.slope);
        }
        slopes
    }
}

/// The minimum near a start of a smooth function, which returns its value and writes its gradient, plus
/// a sharp one, in at most `steps` steps.
///
/// L-BFGS (Nocedal & Wright 2006, algorithm 7.4) in the orthant-wise form for a sharp prior: the search
/// direction is that of the steepest one-sided derivative, and a step may bring a change to zero
/// but not past it. Source: Andrew & Gao 2007, "Scalable training of L1-regularized log-linear models".
pub(super) fn minimise(
    mut smooth: impl FnMut(&[f64], &mut [f64]) -> f64,
    sharp: Sharp,
    start: Vec<f64>,
    steps: usize,
) -> Vec<f64> {
    let mut x = start;
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = smooth(&x, &mut gradient) + sharp.value(&x);
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    let mut still = 0;
    for _ in 0..steps {
        let slope = sharp.slopes(&x, &gradient);
        if slope.iter().all(|s| s.abs() <= 1e-9 * value.abs().max(1.0)) {
            return x;
        }
        let mut direction = newton_like(&slope, &pairs);
        for i in sharp.places.clone() {
            if direction[i] * slope[i] >= 0.0 {
                direction[i] = 0.0;
            }
        }
        let mut size = if pairs.is_empty() { 1.0 / norm(&slope) } else { 1.0 };
        let mut next = Vec::new();
        let mut next_gradient = vec![0.0; n];
        let mut better = None;
        for _ in 0..60 {
            next = (0..n).map(|i| x[i] + size * direction[i]).collect::<Vec<f64>>();
            for i in sharp.places.clone() {
                let side = if x[i] == 0.0 { -slope[i] } else { x[i] };
                if next[i] * side < 0.0 {
                    next[i] = 0.0;
                }
            }
            let found = smooth(&next, &mut next_gradient) + sharp.value(&next);
            let gain: f64 = (0..n).map(|i| slope[i] * (next[i] - x[i])).sum();
            if found.is_finite() && found <= value + 1e-4 * gain {
                better = Some(found);
                break;
            }
            size *= 0.5;
        }
        let Some(found) = better else {
            if pairs.is_empty() {
                // Not even straight down: rounding is all that is left.
                return x;
            }
            pairs.clear();
            continue;
        };
        let step: Vec<f64> = (0..n).map(|i| next[i] - x[i]).collect();
        let change: Vec<f64> = (0..n).map(|i| next_gradient[i] - gradient[i]).collect();
        let curvature = dot(&step, &change);
        if curvature > 1e-12 * norm(&step) * norm(&change) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back((step, change, 1.0 / curvature));
        }
        still = if value - found <= 1e-13 * value.abs().max(1.0) { still + 1 } else { 0 };
        (x, gradient, value) = (next, next_gradient, found);
        if still >= 10 {
            return x;
        }
    }
    x
}

/// Derivative of `f + λ|x|` along its steepest side; zero where both sides go up.
fn one_sided(x: f64, gradient: f64, lambda: f64) -> f64 {
    if x > 0.0 || (x == 0.0 && gradient + lambda < 0.0) {
        gradient + lambda
    } else if x < 0.0 || gradient - lambda > 0.0 {
        gradient - lambda
    } else {
        0.0
    }
}

/// Minus the slope, times the inverse curvature that the pairs stand for.
fn newton_like(slope: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut q: Vec<f64> = slope.iter().map(|s| -s).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for (step, change, inverse) in pairs.iter().rev() {
        let share = inverse * dot(step, &q);
        q.iter_mut().zip(change).for_each(|(q, c)| *q -= share * c);
        shares.push(share);
    }
    if let Some((_, change, inverse)) = pairs.back() {
        let scale = 1.0 / (inverse * dot(change, change));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for ((step, change, inverse), share) in pairs.iter().zip(shares.iter().rev()) {
        let other = inverse * dot(change, &q);
        q.iter_mut().zip(step).for_each(|(q, s)| *q += (share - other) * s);
    }
    q
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: of (x - 3)² + (y - 0.2)² + |y|, the second is pulled to zero: its slope there is -0.4.
    #[test]
    fn small_values_become_zero() {
        let smooth = |p: &[f64], gradient: &mut [f64]| {
            (gradient[0], gradient[1]) = (2.0 * (p[0] - 3.0), 2.0 * (p[1] - 0.2));
            (p[0] - 3.0).powi(2) + (p[1] - 0.2).powi(2)
        };
        let found = minimise(smooth, Sharp { places: 1..2, slope: 1.0 }, vec![-1.0, 5.0], 100);
        assert!((found[0] - 3.0).abs() < 1e-6 && found[1] == 0.0, "{found:?}");
    }
}
