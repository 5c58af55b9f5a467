//! Affiliation precision and recall: how far are flags from events, against a random flag.

use std::ops::Range;

use super::{best_over_thresholds, check, f1, segments};
use crate::Result;

/// Best affiliation F1 over 100 evenly spaced thresholds. `None` without labels.
///
/// The time axis is cut into zones, one per event, half-way between events. Precision in a zone is
/// the mean over predicted time `x` of the chance that a uniformly random instant of the zone is at
/// least as far from the event as `x` is; recall is the mean over the event's time `t` of the chance
/// that a random instant is at least as far from `t` as the nearest prediction is. Precision is averaged
/// over zones with predictions, recall over all zones. A random score gets about 0.5 and most detectors
/// 0.7 to 0.9: report it, do not rank by it.
///
/// Source: Huet, Navarro & Rossi, "Local evaluation of time series anomaly detection algorithms"
/// (KDD 2022), section 4; a point `i` is the interval `[i, i+1)`.
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn affiliation_f1(scores: &[f64], labels: &[bool]) -> Result<Option<f64>> {
    check(scores, labels)?;
    let events = segments(labels);
    if events.is_empty() {
        return Ok(None);
    }
    let zones = zones(&events, labels.len());
    Ok(Some(best_over_thresholds(scores, |predicted| {
        let predictions = segments(predicted);
        let mut precision = (0.0, 0_usize);
        let mut recall = 0.0;
        for zone in &zones {
            let inside = zone.cut(&predictions);
            if let Some(p) = zone.precision(&inside) {
                precision.0 += p;
                precision.1 += 1;
            }
            recall += zone.recall(&inside);
        }
        f1(precision.0 / precision.1.max(1) as f64, recall / zones.len() as f64)
    })))
}

/// The stretch of time that belongs to one event.
struct Zone {
    from: f64,
    to: f64,
    event: (f64, f64),
}

fn zones(events: &[Range<usize>], n: usize) -> Vec<Zone> {
    let middle = |a: &Range<usize>, b: &Range<usize>| (a.end + b.start) as f64 / 2.0;
    (0..events.len())
        .map(|i| Zone {
            from: if i == 0 { 0.0 } else { middle(&events[i - 1], &events[i]) },
            to: events.get(i + 1).map_or(n as f64, |next| middle(&events[i], next)),
            event: (events[i].start as f64, events[i].end as f64),
        })
        .collect()
}

impl Zone {
    /// The parts of predictions that lie in the zone.
    fn cut(&self, predictions: &[Range<usize>]) -> Vec<(f64, f64)> {
        let first = predictions.partition_point(|p| p.end as f64 <= self.from);
        predictions[first..]
            .iter()
            .take_while(|p| (p.start as f64) < self.to)
            .map(|p| ((p.start as f64).max(self.from), (p.end as f64).min(self.to)))
            .collect()
    }

    fn precision(&self, predictions: &[(f64, f64)]) -> Option<f64> {
        let length: f64 = predictions.iter().map(|(a, b)| b - a).sum();
        let (from, to) = self.event;
        let chance = |distance: f64| {
            let nearer = distance.min(from - self.from) + distance.min(self.to - to) + (to - from);
            1.0 - nearer / (self.to - self.from)
        };
        let sum: f64 = predictions
            .iter()
            .map(|&(a, b)| {
                let inside = (b.min(to) - a.max(from)).max(0.0);
                let left = (a.min(from), b.min(from));
                let right = (a.max(to), b.max(to));
                inside
                    + integral(left.0, left.1, |x| chance(from - x))
                    + integral(right.0, right.1, |x| chance(x - to))
            })
            .sum();
        (length > 0.0).then(|| sum / length)
    }

    fn recall(&self, predictions: &[(f64, f64)]) -> f64 {
        if predictions.is_empty() {
            return 0.0;
        }
        let (from, to) = self.event;
        let mut next = 0;
        let sum = integral(from, to, |t| {
            // The integrand is asked in order of time, so the nearest prediction only moves on.
            while predictions[next].1 < t && next + 1 < predictions.len() {
                next += 1;
            }
            let ahead = (predictions[next].0 - t).max(t - predictions[next].1).max(0.0);
            let behind = next.checked_sub(1).map_or(f64::INFINITY, |i| t - predictions[i].1);
            let distance = ahead.min(behind);
            let nearer = distance.min(t - self.from) + distance.min(self.to - t);
            1.0 - nearer / (self.to - self.from)
        });
        sum / (to - from)
    }
}

/// Integral of a function that is linear between multiples of a quarter, as all of the above are:
/// predictions and events end at whole numbers, zones at halves, and kinks lie half-way between.
fn integral(from: f64, to: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let steps = ((to - from) * 4.0).round() as usize;
    if steps == 0 {
        return 0.0;
    }
    let mut sum = 0.0;
    let mut last = f(from);
    for i in 1..=steps {
        let value = f(from + i as f64 / 4.0);
        sum += (last + value) / 8.0;
        last = value;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::golden_case;
    use super::*;

    // Golden: `tests/golden/eval.py`, `metric_Affiliation` of TSB-AD 1.5; tolerance 1e-9.
    const GOLDEN: [f64; 4] = [
        0.996_429_345_418_667_7,
        0.930_198_832_959_843_4,
        0.986_248_415_716_095_8,
        0.859_205_479_901_594_7,
    ];

    #[test]
    fn matches_tsb_ad() {
        for (layout, expected) in GOLDEN.iter().enumerate() {
            let (scores, labels) = golden_case(layout);
            let found = affiliation_f1(&scores, &labels).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-9, "layout {layout}: {found}");
        }
    }
}
