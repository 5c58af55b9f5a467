//! Point-wise precision and recall over all thresholds.

use super::check;
use crate::Result;

/// Area under the precision-recall curve as average precision, without interpolation:
/// `Σ (Rₖ - Rₖ₋₁) Pₖ` over the distinct scores, descending. `None` without labels.
///
/// The value of a random score is the share of labelled points. O(n log n).
///
/// Source: the definition of scikit-learn's `average_precision_score`.
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn auc_pr(scores: &[f64], labels: &[bool]) -> Result<Option<f64>> {
    let (mut area, mut last_recall) = (0.0, 0.0);
    let labelled = walk(scores, labels, |precision, recall| {
        area += (recall - last_recall) * precision;
        last_recall = recall;
    })?;
    Ok(labelled.then_some(area))
}

/// The best point-wise F1 over all thresholds. `None` without labels. O(n log n).
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn best_f1(scores: &[f64], labels: &[bool]) -> Result<Option<f64>> {
    let mut best = 0.0_f64;
    let labelled = walk(scores, labels, |precision, recall| {
        best = best.max(super::f1(precision, recall));
    })?;
    Ok(labelled.then_some(best))
}

/// Calls `at` with precision and recall at every distinct threshold, descending. Returns whether
/// there are labels at all.
fn walk(scores: &[f64], labels: &[bool], mut at: impl FnMut(f64, f64)) -> Result<bool> {
    check(scores, labels)?;
    let positives = labels.iter().filter(|label| **label).count();
    if positives == 0 {
        return Ok(false);
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut hits = 0_usize;
    for (k, i) in order.iter().enumerate() {
        hits += usize::from(labels[*i]);
        // Equal scores are one threshold: only the last of them has a value.
        if order.get(k + 1).is_none_or(|next| scores[*next] < scores[*i]) {
            at(hits as f64 / (k + 1) as f64, hits as f64 / positives as f64);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::golden_case;
    use super::*;

    // Golden: `tests/golden/eval.py`, scikit-learn 1.9.1; tolerance 1e-12.
    const GOLDEN: [[f64; 2]; 4] = [
        [0.551_098_986_957_911_6, 0.517_647_058_823_529_3],
        [0.407_172_050_033_733_6, 0.487_804_878_048_780_6],
        [0.034_482_758_620_689_655, 0.066_666_666_666_666_67],
        [0.669_134_792_952_726_8, 0.613_810_741_687_979_6],
    ];

    #[test]
    fn matches_scikit_learn() {
        for (layout, [area, f1]) in GOLDEN.iter().enumerate() {
            let (scores, labels) = golden_case(layout);
            assert!((auc_pr(&scores, &labels).unwrap().unwrap() - area).abs() < 1e-12);
            assert!((best_f1(&scores, &labels).unwrap().unwrap() - f1).abs() < 1e-12);
        }
    }

    #[test]
    fn equal_scores_are_one_threshold() {
        let labels = [true, false, false, false];
        assert_eq!(auc_pr(&[1.0; 4], &labels).unwrap(), Some(0.25));
        assert_eq!(auc_pr(&[1.0; 4], &[false; 4]).unwrap(), None);
        assert!(auc_pr(&[f64::NAN; 4], &labels).is_err());
    }
}
