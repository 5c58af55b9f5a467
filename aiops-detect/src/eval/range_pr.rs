//! Range-based precision and recall.

use std::ops::Range;

use super::{best_over_thresholds, check, f1, segments};
use crate::Result;

/// Best range-based F1 over 100 evenly spaced thresholds. `None` without labels.
///
/// Recall is the mean over labelled ranges of `0.2·[any overlap] + 0.8·c·o`, with `o` the covered
/// share of the range (flat bias) and `c = 1` if at most one predicted range overlaps it, else one over
/// their number. Precision is the same with the roles swapped and without the existence term.
///
/// Source: Tatbul et al. 2018, "Precision and recall for time series", with the parameters of
/// TSB-AD 1.5.
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn range_f1(scores: &[f64], labels: &[bool]) -> Result<Option<f64>> {
    check(scores, labels)?;
    let truth = segments(labels);
    if truth.is_empty() {
        return Ok(None);
    }
    Ok(Some(best_over_thresholds(scores, |predicted| {
        let ranges = segments(predicted);
        f1(coverage(&ranges, &truth, 0.0), coverage(&truth, &ranges, 0.2))
    })))
}

/// Mean reward of `ranges` for their overlap with `others`; both in order and apart.
fn coverage(ranges: &[Range<usize>], others: &[Range<usize>], existence_weight: f64) -> f64 {
    if ranges.is_empty() {
        return 0.0;
    }
    let mut sum = 0.0;
    let mut from = 0;
    for range in ranges {
        // Ranges are in order, so what ends before this one never overlaps a later one.
        while others.get(from).is_some_and(|other| other.end <= range.start) {
            from += 1;
        }
        let mut overlapping = 0_usize;
        let mut covered = 0_usize;
        for other in others[from..].iter().take_while(|other| other.start < range.end) {
            overlapping += 1;
            covered += other.end.min(range.end) - other.start.max(range.start);
        }
        if overlapping > 0 {
            let size = covered as f64 / range.len() as f64;
            sum += existence_weight + (1.0 - existence_weight) * size / overlapping as f64;
        }
    }
    sum / ranges.len() as f64
}

#[cfg(test)]
mod tests {
    use super::super::golden_case;
    use super::*;

    // Golden: `tests/golden/eval.py`, `metric_RF1` of TSB-AD 1.5; tolerance 1e-12.
    const GOLDEN: [f64; 4] =
        [0.664_971_392_244_119_6, 0.622_389_306_599_832_8, 0.062_5, 0.399_235_908_305_247_2];

    #[test]
    fn matches_tsb_ad() {
        for (layout, expected) in GOLDEN.iter().enumerate() {
            let (scores, labels) = golden_case(layout);
            let found = range_f1(&scores, &labels).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-12, "layout {layout}: {found}");
        }
    }
}
