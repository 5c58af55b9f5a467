//! F1 that wants each segment flagged soon after its start.

use super::{check, f1, segments};
use crate::Result;

/// Best F1 over all thresholds when a segment counts as found, whole, if a point among its first
/// `delay + 1` is flagged, and as missed, whole, otherwise. `None` without labels. O(n log n).
///
/// The rows are taken as equally spaced; put a series with missing rows on its grid first, label false
/// and score at its lowest where nothing was. Quote it with the value of a random score beside it:
/// with `delay = 7` that is 0.4 to 0.7 on the usual sets.
///
/// Source: the AIOps challenge of 2018 (delay 7), as in Ren et al. 2019, section 5.
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn delay_f1(scores: &[f64], labels: &[bool], delay: usize) -> Result<Option<f64>> {
    check(scores, labels)?;
    let events = segments(labels);
    if events.is_empty() {
        return Ok(None);
    }
    // Each event is found at and below one score; each other point is wrong at and below its own.
    let mut steps: Vec<(f64, usize, usize)> = events
        .iter()
        .map(|event| {
            let soon = &scores[event.start..event.end.min(event.start + delay + 1)];
            (soon.iter().copied().fold(f64::NEG_INFINITY, f64::max), event.len(), 0)
        })
        .collect();
    let outside = scores.iter().zip(labels).filter(|(_, label)| !**label);
    steps.extend(outside.map(|(score, _)| (*score, 0, 1)));
    steps.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let positives = events.iter().map(|event| event.len()).sum::<usize>() as f64;
    let (mut found, mut wrong, mut best) = (0, 0, 0.0_f64);
    for (i, (score, right, false_alarm)) in steps.iter().enumerate() {
        found += right;
        wrong += false_alarm;
        if steps.get(i + 1).is_none_or(|next| next.0 < *score) {
            let precision = found as f64 / (found + wrong).max(1) as f64;
            best = best.max(f1(precision, found as f64 / positives));
        }
    }
    Ok(Some(best))
}

#[cfg(test)]
mod tests {
    use super::*;

    // By hand: at 0.9 the first event (2 points) is found and one point is wrong: precision 2/3,
    // recall 2/4, F1 4/7. At 0.5 both events are found with that one wrong point: precision 4/5,
    // recall 1, F1 8/9. The second event's 0.95 comes too late to count with delay 0.
    #[test]
    fn a_late_flag_does_not_count() {
        let labels = [false, true, true, false, true, true, false];
        let scores = [0.1, 0.9, 0.0, 0.9, 0.5, 0.95, 0.2];
        let found = delay_f1(&scores, &labels, 0).unwrap().unwrap();
        assert!((found - 8.0 / 9.0).abs() < 1e-12, "{found}");
        // With delay 1 the second event is found at 0.95 with nothing wrong: F1 = 2/3; at 0.9 all is
        // found with one wrong point: 8/9 again.
        let later = delay_f1(&scores, &labels, 1).unwrap().unwrap();
        assert!((later - 8.0 / 9.0).abs() < 1e-12, "{later}");
        assert_eq!(delay_f1(&[0.0], &[false], 7).unwrap(), None);
    }
}
