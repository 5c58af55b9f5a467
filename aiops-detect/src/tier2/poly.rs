//! [`Poly`]: how far a stretch of a series is from the curve through its neighbourhood.

use aiops_core::Frame;
use serde::{Deserialize, Serialize};

use super::{loess::dot, periods::bridge};
use crate::{
    BatchDetector, Error, Fit, OneSeries, Ranked, Result, batch::frame_fits, eval::dominant_period,
};

/// Settings of [`Poly`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolyConfig {
    /// Samples that are judged together. Default `None`: the dominant period, 125 without one.
    pub window: Option<usize>,
    /// Windows that the curve is fitted to, the judged one, which is left out, included; at least 3.
    /// Default 10.
    pub neighbourhood: usize,
    /// Degree of the curve, at most 8. Default 4.
    pub degree: usize,
    /// Fits to the windows before the judged one only, and extrapolates. Default false.
    pub causal: bool,
}

impl Default for PolyConfig {
    fn default() -> Self {
        PolyConfig { window: None, neighbourhood: 10, degree: 4, causal: false }
    }
}

/// Root mean square distance of each window from a polynomial through its neighbourhood.
///
/// Finds stretches of about a window that leave the course of what surrounds them: NAB's kind of
/// anomaly. A poor judge of single samples, since all samples of a window get one score.
///
/// The series is cut into windows. To each, a polynomial is fitted by least squares to the
/// neighbourhood without the window itself, and the score of its samples is
/// `√(Σ (x - f)² / window)`. At the ends the neighbourhood is moved inwards. With
/// [`causal`](PolyConfig::causal) only earlier windows count, the score is known when the window is complete and
/// is given to its last sample and the following ones, and degrees above 1 extrapolate badly.
///
/// Gaps are bridged by straight lines (causal: hold the last value) and get score 0. The p-value is the rank among the scores of the
/// training series. **Looks ahead** unless causal. All interior windows share one basis, so the cost is
/// `degree + 1` products for each of `neighbourhood` samples a sample: O(n), memory O(window · neighbourhood).
///
/// Source: Liu & Paparrizos 2024, "The elephant in the room: towards a reliable time-series anomaly
/// detection benchmark" (TSB-AD), detector POLY, after Li, Yu, Wang & Liu 2007. By Parseval its
/// "Fourier" distance is the root mean square here. Deviations: it skips the first tenth of the series and
/// evaluates the curve at positions stretched by one sample; this does neither.
#[derive(Debug, Clone)]
pub struct Poly {
    config: PolyConfig,
    /// The window in use.
    window: usize,
}

const MOST_DEGREE: usize = 8;
/// Larger values are taken as this, so that squares stay finite.
const LARGEST: f64 = 1e100;

impl PolyConfig {
    fn check(&self) -> Result<()> {
        if self.window.is_some_and(|window| window < 2) {
            return Err(Error::config("window", "must be at least 2"));
        }
        if self.neighbourhood < 3 || self.neighbourhood > 1000 {
            let reason = format!("must be within 3 and 1000, got {}", self.neighbourhood);
            return Err(Error::config("neighbourhood", reason));
        }
        if self.degree > MOST_DEGREE {
            let reason = format!("must be at most {MOST_DEGREE}, got {}", self.degree);
            return Err(Error::config("degree", reason));
        }
        Ok(())
    }

    /// The scores of a series cut into windows.
    fn scores(&self, values: &[f64], window: usize) -> Vec<f64> {
        let n = values.len();
        let mut scores = vec![0.0; n];
        if !values.iter().any(|v| v.is_finite()) {
            return scores;
        }
        let cut = |v: &f64| if v.is_finite() { v.clamp(-LARGEST, LARGEST) } else { f64::NAN };
        let mut filled: Vec<f64> = values.iter().map(cut).collect();
        if self.causal {
            let mut last = 0.0;
            for value in &mut filled {
                last = if value.is_finite() { *value } else { last };
                *value = last;
            }
        } else {
            bridge(&mut filled);
        }
        let reach = self.neighbourhood * window;
        let mut basis: Option<Basis> = None;
        for start in (0..n).step_by(window) {
            let end = (start + window).min(n);
            let (from, to) = if self.causal {
                (start.saturating_sub(reach - window), start)
            } else {
                let from = (start + window / 2).saturating_sub(reach / 2);
                let to = (from + reach).min(n);
                (to.saturating_sub(reach), to)
            };
            let known = (to - from).saturating_sub(if self.causal { 0 } else { end - start });
            // A window that is not complete yet has no causal score: later samples would change it.
            let partial = self.causal && end - start < window;
            if known <= 2 * (self.degree + 1) || partial {
                continue;
            }
            let shape =
                Shape { before: start - from, judged: end - start, after: to.max(end) - end };
            let fresh = basis.take().filter(|basis| basis.shape == shape);
            let basis = basis.insert(match fresh {
                Some(basis) => basis,
                None => Basis::new(shape, self.degree),
            });
            let score = basis.distance(&filled[from..to.max(end)]);
            if self.causal {
                let held = end - 1..(end - 1 + window).min(n);
                scores[held].fill(score);
            } else {
                scores[start..end].fill(score);
            }
        }
        for (score, value) in scores.iter_mut().zip(values) {
            if !value.is_finite() {
                *score = 0.0;
            }
        }
        scores
    }
}

/// How many samples lie before, in and behind the window that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    before: usize,
    judged: usize,
    after: usize,
}

/// Polynomials up to a degree that are orthonormal over the neighbourhood without the window.
struct Basis {
    shape: Shape,
    /// One row a polynomial, over the whole neighbourhood, window included.
    rows: Vec<Vec<f64>>,
}

impl Basis {
    fn new(shape: Shape, degree: usize) -> Self {
        let Shape { before, judged, after } = shape;
        let n = before + judged + after;
        let outside = |i: &usize| *i < before || *i >= before + judged;
        let dot =
            |a: &[f64], b: &[f64]| -> f64 { (0..n).filter(outside).map(|i| a[i] * b[i]).sum() };
        let x: Vec<f64> = (0..n).map(|i| 2.0 * (i as f64 + 0.5) / n as f64 - 1.0).collect();
        let mut rows: Vec<Vec<f64>> = Vec::new();
        let mut next = vec![1.0; n];
        for _ in 0..=degree {
            // Orthogonalised twice: once is not enough where the window is most of the neighbourhood.
            for _ in 0..2 {
                for row in &rows {
                    let share = dot(row, &next);
                    next.iter_mut().zip(row).for_each(|(v, r)| *v -= share * r);
                }
            }
            let length = dot(&next, &next).sqrt();
            if !(length > 1e-12) {
                break;
            }
            let row: Vec<f64> = next.iter().map(|v| v / length).collect();
            next = row.iter().zip(&x).map(|(r, x)| r * x).collect();
            rows.push(row);
        }
        Basis { shape, rows }
    }

    /// Root mean square distance of the window from the best combination of the polynomials.
    fn distance(&self, values: &[f64]) -> f64 {
        let Shape { before, judged, .. } = self.shape;
        let mut rest = [0.0; CHUNK];
        let behind = before + judged;
        let mut shares = [0.0; MOST_DEGREE + 1];
        for (share, row) in shares.iter_mut().zip(&self.rows) {
            *share =
                dot(&row[..before], &values[..before]) + dot(&row[behind..], &values[behind..]);
        }
        let mut squares = 0.0;
        for at in (before..behind).step_by(CHUNK) {
            let to = (at + CHUNK).min(behind);
            let rest = &mut rest[..to - at];
            rest.copy_from_slice(&values[at..to]);
            for (share, row) in shares.iter().zip(&self.rows) {
                rest.iter_mut().zip(&row[at..to]).for_each(|(v, r)| *v -= share * r);
            }
            squares += dot(rest, rest);
        }
        (squares / judged as f64).sqrt()
    }
}

const CHUNK: usize = 128;

impl Fit for PolyConfig {
    /// Learns the window and the distribution of scores; the frame has one series.
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        self.check()?;
        frame_fits(1, train, train.n_steps())?;
        let window = self.window.unwrap_or_else(|| dominant_period(train.row(0)));
        Ok(Box::new(Ranked::train(Poly { config: self.clone(), window }, train, 8)?))
    }
}

impl OneSeries for Poly {
    fn name(&self) -> &'static str {
        "poly"
    }

    fn looks_ahead(&self) -> bool {
        !self.config.causal
    }

    fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
        Ok(self.config.scores(series.row(0), self.window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_batch_detector;

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&PolyConfig::default(), 1);
        check_batch_detector(&PolyConfig { causal: true, degree: 1, ..Default::default() }, 1);
        check_batch_detector(&PolyConfig { window: Some(7), ..Default::default() }, 1);
    }

    // Golden: numpy 2.4.6, `polyfit` of each neighbourhood without its window, see
    // `tests/golden/tier2.py`; 1e-9.
    #[test]
    fn scores_match_polyfit() {
        for (degree, expected) in [(1, DEGREE_1), (4, DEGREE_4)] {
            let config = PolyConfig { neighbourhood: 6, degree, ..PolyConfig::default() };
            let scores = config.scores(&super::super::example(), 10);
            let found = [0, 9, 10, 45, 60, 95, 119, 120].map(|i| scores[i]);
            super::super::assert_near("scores", found, &expected, 1e-9);
        }
    }

    #[test]
    fn polynomials_have_no_distance() {
        let values: Vec<f64> = (0..200).map(|i| 1e6 + (i as f64 - 90.0).powi(3)).collect();
        let scores = PolyConfig::default().scores(&values, 16);
        assert!(scores.iter().all(|score| *score < 1e-3), "{scores:?}");
    }

    const DEGREE_1: [f64; 8] = [
        3.175_655_285_041_586_2,
        3.175_655_285_041_586_2,
        2.204_000_690_674_793_5,
        8.765_748_899_602_734,
        3.661_583_028_042_197,
        10.051_262_080_661_866,
        3.051_219_135_787_854,
        1.827_586_206_896_548,
    ];
    const DEGREE_4: [f64; 8] = [
        6.645_324_390_016_032,
        6.645_324_390_016_032,
        4.158_122_684_559_062,
        8.738_855_268_449_262,
        4.233_759_535_623_663,
        10.391_939_154_075_779,
        3.281_594_221_939_88,
        3.250_307_187_659_938_5,
    ];
}
