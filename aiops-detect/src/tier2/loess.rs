//! Locally weighted lines through equally spaced values, with everything that does not depend on the
//! values computed once.

/// Smooths series of one length with one window.
///
/// At position `x` the smoothed value is that of a straight line (or a constant) fitted to the
/// `window` nearest values with weights `(1 - (d/h)³)³`, where `d` is the distance and `h` that of the
/// farthest of them; a window longer than the series reaches `(window - n)/2` further. It is computed
/// at every `jump`-th position and interpolated in between.
///
/// Since values are equally spaced, all positions whose window lies within the series share one set of
/// weights: only positions near the ends have their own.
///
/// Source: Cleveland, Cleveland, McRae & Terpenning 1990, section 2, as in their Fortran (`est`,
/// `ess`), including its thresholds.
#[derive(Debug, Clone)]
pub(super) struct Loess {
    points: Vec<Point>,
    /// Plain kernels, for use with weights of the values.
    kernels: Vec<f64>,
    /// Kernels with the slope worked in, summing to one, for use without.
    ready: Vec<f64>,
    degree: u8,
    n: usize,
}

/// A position at which the smoothed value is computed.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Position, in samples from the first; before and behind the series too.
    at: f64,
    /// First value of its window.
    left: usize,
    /// Where its kernel starts in `kernels` and `ready`, and how long it is.
    kernel: usize,
    len: usize,
}

impl Loess {
    /// For series of `n` values.
    pub(super) fn new(n: usize, window: usize, degree: u8, jump: usize) -> Self {
        let mut loess = Loess::empty(n, degree);
        let jump = jump.clamp(1, n.saturating_sub(1).max(1));
        let width = window.min(n);
        // The window slides when its middle would pass the position, as in `ess`.
        let left_of = |i: usize| (i + 1).saturating_sub(window.div_ceil(2)).min(n - width);
        let mut interior = None;
        for at in
            (0..n).step_by(jump).chain((n > 1 && !(n - 1).is_multiple_of(jump)).then(|| n - 1))
        {
            let left = left_of(at);
            let centred = window < n && window % 2 == 1 && at == left + window / 2;
            match interior.filter(|_| centred) {
                Some(Point { kernel, len, .. }) => {
                    loess.points.push(Point { at: at as f64, left, kernel, len });
                }
                None => {
                    loess.add(at as f64, left, width, window);
                    interior = interior.or(loess.points.last().copied().filter(|_| centred));
                }
            }
        }
        loess
    }

    /// As [`new`](Self::new) at every position, and at one before the first and one behind the last.
    pub(super) fn extended(n: usize, window: usize, degree: u8, jump: usize) -> Self {
        let inner = Loess::new(n, window, degree, jump);
        let mut loess = Loess::empty(n, degree);
        let width = window.min(n);
        loess.add(-1.0, 0, width, window);
        loess.points.extend(
            inner.points.iter().map(|point| Point { kernel: point.kernel + width, ..*point }),
        );
        loess.kernels.extend_from_slice(&inner.kernels);
        loess.ready.extend_from_slice(&inner.ready);
        loess.add(n as f64, n - width, width, window);
        loess
    }

    fn empty(n: usize, degree: u8) -> Self {
        Loess { points: Vec::new(), kernels: Vec::new(), ready: Vec::new(), degree, n }
    }

    fn add(&mut self, at: f64, left: usize, len: usize, window: usize) {
        let right = left + len - 1;
        let mut reach = (at - left as f64).max(right as f64 - at);
        if window > self.n {
            reach += ((window - self.n) / 2) as f64;
        }
        let kernel = self.kernels.len();
        for j in left..=right {
            let distance = (at - j as f64).abs();
            let weight = if distance > 0.999 * reach {
                0.0
            } else if distance <= 0.001 * reach {
                1.0
            } else {
                let ratio = distance / reach;
                let base = 1.0 - ratio * ratio * ratio;
                base * base * base
            };
            self.kernels.push(weight);
        }
        let point = Point { at, left, kernel, len };
        let mut ready = self.kernels[kernel..].to_vec();
        if !self.finish(&point, reach, &mut ready) {
            ready.fill(0.0);
        }
        self.ready.extend_from_slice(&ready);
        self.points.push(point);
    }

    /// Makes weights sum to one and works the slope in; false where they are all zero.
    fn finish(&self, point: &Point, reach: f64, weights: &mut [f64]) -> bool {
        let sum: f64 = weights.iter().sum();
        if !(sum > 0.0) {
            return false;
        }
        weights.iter_mut().for_each(|w| *w /= sum);
        if reach > 0.0 && self.degree > 0 {
            let position = |i: usize| (point.left + i) as f64;
            let mean: f64 = weights.iter().enumerate().map(|(i, w)| w * position(i)).sum();
            let spread: f64 =
                weights.iter().enumerate().map(|(i, w)| w * (position(i) - mean).powi(2)).sum();
            if spread.sqrt() > 0.001 * (self.n - 1) as f64 {
                let slope = (point.at - mean) / spread;
                for (i, weight) in weights.iter_mut().enumerate() {
                    *weight *= slope * (position(i) - mean) + 1.0;
                }
            }
        }
        true
    }

    /// How many values [`smooth`](Self::smooth) writes: the length, or two more when extended.
    pub(super) fn len(&self) -> usize {
        match (self.points.first(), self.points.last()) {
            (Some(first), Some(last)) => (last.at - first.at) as usize + 1,
            _ => 0,
        }
    }

    /// Smooths `values` into `out`; `trust` weights the values, from 0 to 1.
    pub(super) fn smooth(&self, values: &[f64], trust: Option<&[f64]>, out: &mut [f64]) {
        let first = self.points.first().map_or(0.0, |point| point.at);
        let mut last: Option<(usize, f64)> = None;
        let mut weights = Vec::new();
        for point in &self.points {
            let smoothed = self.at(point, values, trust, &mut weights);
            let here = (point.at - first) as usize;
            out[here] = smoothed;
            if let Some((from, value)) = last {
                let slope = (smoothed - value) / (here - from) as f64;
                for (step, out) in out[from + 1..here].iter_mut().enumerate() {
                    *out = value + slope * (step + 1) as f64;
                }
            }
            last = Some((here, smoothed));
        }
    }

    fn at(
        &self,
        point: &Point,
        values: &[f64],
        trust: Option<&[f64]>,
        weights: &mut Vec<f64>,
    ) -> f64 {
        let range = point.kernel..point.kernel + point.len;
        let window = &values[point.left..point.left + point.len];
        let Some(trust) = trust else { return dot(&self.ready[range], window) };
        let trust = &trust[point.left..point.left + point.len];
        weights.clear();
        weights.extend(self.kernels[range].iter().zip(trust).map(|(kernel, t)| kernel * t));
        if self.finish(point, 1.0, weights) {
            dot(weights, window)
        } else {
            // Nothing near is trusted: the value itself, or the nearest.
            values[(point.at.max(0.0) as usize).min(self.n - 1)]
        }
    }

    /// The weights at each position, for smoothing many series of this length at once: row by row of
    /// first value and weights. Only with `jump` 1.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.points
            .iter()
            .map(|point| (point.left, &self.ready[point.kernel..point.kernel + point.len]))
    }
}

/// Sum of products, in eight partial sums, which the compiler can keep in wide registers.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        let line: Vec<f64> = (0..50).map(|i| 3.0 + 0.5 * f64::from(i)).collect();
        for (window, jump) in [(7, 1), (11, 3), (12, 1), (49, 5), (51, 1), (101, 7)] {
            let loess = Loess::extended(50, window, 1, jump);
            let mut out = vec![f64::NAN; loess.len()];
            loess.smooth(&line, None, &mut out);
            let mut trusted = vec![f64::NAN; loess.len()];
            let trust: Vec<f64> = (0..50).map(|i| f64::from(i % 3) / 2.0).collect();
            loess.smooth(&line, Some(&trust), &mut trusted);
            for i in 0..52 {
                let expected = 3.0 + 0.5 * (i as f64 - 1.0);
                assert!((out[i] - expected).abs() < 1e-9, "{window} {jump} at {i}: {}", out[i]);
                assert!((trusted[i] - expected).abs() < 1e-9, "{window} {jump} at {i}");
            }
        }
    }
}
