//! Measures of detection quality on labelled series, defined as the public boards define them.
//!
//! This module knows no detector: scores and labels go in, a number comes out, so it judges other
//! people's results as well as ours. Labels are points (`true` inside an anomaly); a *segment* is
//! a maximal run of them. Series without any label have no quality: the measures return `None`.
//!
//! | measure | question it answers | rank by it? |
//! |---|---|---|
//! | [`vus`] | how well does the score cover anomalies, over all thresholds and tolerances | yes |
//! | [`auc_pr`], [`best_f1`] | the same, point by point | beside VUS-PR |
//! | [`nab`] | one early flag per window, silence elsewhere | for alert streams |
//! | [`delay_f1`] | is each segment flagged within k points of its start | with a random row beside it |
//! | [`range_f1`], [`event_f1`] | segments instead of points | report |
//! | [`affiliation_f1`] | distance between flags and events; random is about 0.5 | report |
//! | [`point_adjusted_f1`] | one hit counts for the whole segment; **a random score gets 0.9** | never alone |
//!
//! Only the [`dominant_period`], from which VUS takes its tolerance, looks at the values.

mod affiliation;
mod delay;
mod event;
pub mod nab;
mod point_adjusted;
mod pr;
mod range_pr;
mod vus;

use std::ops::Range;

use crate::{Error, Result};

pub use affiliation::affiliation_f1;
pub use delay::delay_f1;
pub use event::event_f1;
pub use point_adjusted::point_adjusted_f1;
pub use pr::{auc_pr, best_f1};
pub use range_pr::range_f1;
pub use vus::{Vus, dominant_period, vus};

/// The maximal runs of labelled points, in order.
///
/// ```
/// assert_eq!(aiops_detect::eval::segments(&[true, false, true, true]), [0..1, 2..4]);
/// ```
pub fn segments(labels: &[bool]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (i, _) in labels.iter().enumerate().filter(|(_, label)| **label) {
        match found.last_mut() {
            Some(last) if last.end == i => last.end = i + 1,
            _ => found.push(i..i + 1),
        }
    }
    found
}

/// Checks that scores and labels belong together and that every score is finite.
fn check(scores: &[f64], labels: &[bool]) -> Result<()> {
    if scores.len() != labels.len() {
        let (expected, got) = (scores.len(), labels.len());
        return Err(Error::ShapeMismatch { what: "labels", expected, got });
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(i) => Err(Error::Malformed {
            what: "scores",
            reason: format!("must be finite, got {} in row {i}", scores[i]),
        }),
        None => Ok(()),
    }
}

/// Best value of `measure` over 100 evenly spaced thresholds from the lowest to the highest score,
/// where a point is predicted when its score is above the threshold: the rule of TSB-AD for
/// measures that need a decision.
fn best_over_thresholds(scores: &[f64], mut measure: impl FnMut(&[bool]) -> f64) -> f64 {
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let step = (high - low) / 99.0;
    let mut best = 0.0_f64;
    let mut predicted = vec![false; scores.len()];
    let mut last = usize::MAX;
    for i in 0..100 {
        let threshold = if i == 99 { high } else { low + step * f64::from(i) };
        for (p, score) in predicted.iter_mut().zip(scores) {
            *p = *score > threshold;
        }
        // Fewer thresholds than steps: the same prediction has the same measure.
        let count = predicted.iter().filter(|p| **p).count();
        if count != last {
            best = best.max(measure(&predicted));
            last = count;
        }
    }
    best
}

/// Harmonic mean; 0 when both are 0.
fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

/// Scores and labels of the golden tests, made of integers so that any language makes the same:
/// `tests/golden/eval.py` has the reference side.
#[cfg(test)]
pub(crate) fn golden_case(layout: usize) -> (Vec<f64>, Vec<bool>) {
    let n = 400_usize;
    let runs: &[(usize, usize)] = match layout {
        0 => &[(50, 70), (200, 201), (300, 340)],
        1 => &[(0, 5), (8, 9), (12, 30), (395, 400)],
        2 => &[(100, 101)],
        _ => &[(20, 30), (33, 40), (41, 60), (150, 250), (252, 253), (390, 399)],
    };
    let labels: Vec<bool> =
        (0..n).map(|i| runs.iter().any(|(from, to)| (*from..*to).contains(&i))).collect();
    let scores = (0..n)
        .map(|i| {
            let noise = ((i * 7919 + layout * 104_729) % 1009) as f64 / 1009.0;
            let near = labels[i] || (i >= 3 && labels[i - 3]);
            noise + if near && i % 3 != 0 { 0.5 } else { 0.0 }
        })
        .collect();
    (scores, labels)
}
