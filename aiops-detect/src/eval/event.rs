//! Event-wise recall with point-wise precision.

use super::{best_over_thresholds, check, f1, segments};
use crate::Result;

/// Best F1 of recall over events (any hit counts) and precision over points, over 100 evenly spaced
/// thresholds. `None` without labels.
///
/// Source: TSB-AD 1.5, "Event-based-F1".
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn event_f1(scores: &[f64], labels: &[bool]) -> Result<Option<f64>> {
    check(scores, labels)?;
    let events = segments(labels);
    if events.is_empty() {
        return Ok(None);
    }
    Ok(Some(best_over_thresholds(scores, |predicted| {
        let hit = |event: &std::ops::Range<usize>| predicted[event.clone()].contains(&true);
        let found = events.iter().filter(|event| hit(event)).count();
        let flagged = predicted.iter().filter(|p| **p).count();
        let right = predicted.iter().zip(labels).filter(|(p, label)| **p && **label).count();
        f1(right as f64 / flagged.max(1) as f64, found as f64 / events.len() as f64)
    })))
}

#[cfg(test)]
mod tests {
    use super::super::golden_case;
    use super::*;

    // Golden: `tests/golden/eval.py`, `metric_EventF1PA` of TSB-AD 1.5, which adds 1e-15 to a denominator;
    // tolerance 1e-12.
    const GOLDEN: [f64; 4] = [
        0.999_999_999_999_999_6,
        0.909_090_909_090_908_5,
        0.062_499_999_999_999_93,
        0.895_522_388_059_701,
    ];

    #[test]
    fn matches_tsb_ad() {
        for (layout, expected) in GOLDEN.iter().enumerate() {
            let (scores, labels) = golden_case(layout);
            let found = event_f1(&scores, &labels).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-12, "layout {layout}: {found}");
        }
    }
}
