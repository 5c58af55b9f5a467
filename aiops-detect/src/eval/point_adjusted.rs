//! Point-adjusted F1, under its full name because the adjustment flatters.

use super::{best_over_thresholds, check, f1, segments};
use crate::Result;

/// Best F1 over 100 evenly spaced thresholds when one hit counts for the whole segment. `None` without
/// labels.
///
/// **Do not rank by it and do not quote it alone.** A random score hits long segments for free: on
/// NAB it reaches 0.95. It is here because older papers report nothing else; print the row of a
/// random score beside it.
///
/// Source: Xu et al. 2018 (the adjustment); Kim et al. 2022, "Towards a rigorous evaluation of
/// time-series anomaly detection" (why not to use it).
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn point_adjusted_f1(scores: &[f64], labels: &[bool]) -> Result<Option<f64>> {
    check(scores, labels)?;
    let events = segments(labels);
    if events.is_empty() {
        return Ok(None);
    }
    let positives = events.iter().map(|event| event.len()).sum::<usize>() as f64;
    Ok(Some(best_over_thresholds(scores, |predicted| {
        let hit = |event: &std::ops::Range<usize>| predicted[event.clone()].contains(&true);
        let found: usize = events.iter().filter(|e| hit(e)).map(|e| e.len()).sum();
        let wrong = predicted.iter().zip(labels).filter(|(p, label)| **p && !**label).count();
        f1(found as f64 / (found + wrong).max(1) as f64, found as f64 / positives)
    })))
}

#[cfg(test)]
mod tests {
    use super::super::golden_case;
    use super::*;

    // Golden: `tests/golden/eval.py`, `metric_PointF1PA` of TSB-AD 1.5; tolerance 1e-12.
    // Layout 1 is left out: its first segment begins in row 0, which TSB-AD forgets to adjust.
    const GOLDEN: [(usize, f64); 3] = [(0, 1.0), (2, 0.062_5), (3, 0.993_150_684_931_506_8)];

    #[test]
    fn matches_tsb_ad() {
        for (layout, expected) in GOLDEN {
            let (scores, labels) = golden_case(layout);
            let found = point_adjusted_f1(&scores, &labels).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-12, "layout {layout}: {found}");
        }
    }
}
