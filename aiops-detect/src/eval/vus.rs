//! Volume under the surface: precision-recall and ROC areas averaged over tolerances.

use std::ops::Range;

use super::{check, segments};
use crate::Result;

/// Volumes under the precision-recall and the ROC surface.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vus {
    /// VUS-PR, the measure to rank by.
    pub pr: f64,
    /// VUS-ROC.
    pub roc: f64,
}

/// How many thresholds the surface has.
const THRESHOLDS: usize = 250;

/// VUS-PR and VUS-ROC with tolerances from 0 to `window` points. `None` without labels.
///
/// A label's exact edges are rarely meant, so a detection shortly before or after counts in part:
/// for each tolerance `w`, a point at distance `d <= ⌊w/2⌋` outside a segment has the soft label
/// `√(1 - d/w)`, summed over segments and cut at 1. With `P` labelled points, `E` the soft labels
/// that are predicted, and `TP` the predicted points inside segments plus `E`: precision is
/// `TP / predicted`; recall is `min(TP / ((2P + E)/2), 1)` times the share of the widened
/// segments with any predicted point; the false-positive rate is
/// `(predicted - TP) / (n - (2P + E)/2)`. The areas over 250 thresholds, at equal ranks of the
/// scores, are averaged over `w`.
///
/// A random score has about the share of (widened) labelled points. Use [`dominant_period`] of the
/// values for `window`, as TSB-AD does; scores smoothed over about `window/4` points gain from the
/// soft edges, so compare smoothed with smoothed.
///
/// O(window · points near labels + n log n), where the reference implementation spends O(window ·
/// thresholds · n); equal to it within 1e-12.
///
/// Source: Paparrizos et al. 2022, "Volume under the surface" (PVLDB 15); the details of edges
/// and thresholds are those of TSB-AD 1.5.
///
/// # Errors
/// When lengths differ or a score is not finite.
pub fn vus(scores: &[f64], labels: &[bool], window: usize) -> Result<Option<Vus>> {
    check(scores, labels)?;
    let runs = segments(labels);
    if runs.is_empty() {
        return Ok(None);
    }
    let surface = Surface::new(scores, labels, &runs, window);
    let mut sum = Vus { pr: 0.0, roc: 0.0 };
    let mut level = surface.start();
    for tolerance in 0..=window {
        let areas = surface.areas(tolerance, &mut level);
        sum.pr += areas.pr;
        sum.roc += areas.roc;
    }
    let levels = (window + 1) as f64;
    Ok(Some(Vus { pr: sum.pr / levels, roc: sum.roc / levels }))
}

/// What does not depend on the tolerance.
struct Surface<'a> {
    labels: &'a [bool],
    runs: &'a [Range<usize>],
    /// For each point the first (highest) threshold that it reaches.
    caught: Vec<u8>,
    /// Predicted points by threshold.
    predicted: [f64; THRESHOLDS],
    /// Predicted points inside segments, by threshold.
    inside: [f64; THRESHOLDS],
    positives: f64,
}

/// What grows with the tolerance.
struct Level {
    /// Soft labels; zero between calls.
    soft: Vec<f64>,
    /// First threshold that catches any point of each segment widened so far.
    first: Vec<u8>,
    reach: usize,
}

impl<'a> Surface<'a> {
    fn new(scores: &[f64], labels: &'a [bool], runs: &'a [Range<usize>], window: usize) -> Self {
        let n = scores.len();
        let mut sorted = scores.to_vec();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        let last = (n - 1) as f64;
        let thresholds: [f64; THRESHOLDS] = std::array::from_fn(|k| {
            let rank = last / (THRESHOLDS - 1) as f64 * k as f64;
            sorted[if k == THRESHOLDS - 1 { n - 1 } else { rank as usize }]
        });
        let predicted = thresholds.map(|t| sorted.partition_point(|score| *score >= t) as f64);
        let near = widened(runs, window / 2, n);
        let mut caught = vec![u8::MAX; n];
        for i in near.into_iter().flatten() {
            caught[i] = thresholds.partition_point(|t| *t > scores[i]) as u8;
        }
        let mut inside = [0.0; THRESHOLDS];
        for i in runs.iter().cloned().flatten() {
            inside[usize::from(caught[i])] += 1.0;
        }
        accumulate(&mut inside);
        let positives = runs.iter().map(|run| run.len()).sum::<usize>() as f64;
        Surface { labels, runs, caught, predicted, inside, positives }
    }

    fn start(&self) -> Level {
        let first_of = |run: &Range<usize>| self.caught[run.clone()].iter().copied().min();
        Level {
            soft: vec![0.0; self.labels.len()],
            first: self.runs.iter().map(|run| first_of(run).unwrap_or(u8::MAX)).collect(),
            reach: 0,
        }
    }

    fn areas(&self, tolerance: usize, level: &mut Level) -> Vus {
        let n = self.labels.len();
        let reach = tolerance / 2;
        let weights: Vec<f64> =
            (1..=reach).map(|d| (1.0 - d as f64 / tolerance as f64).sqrt()).collect();
        let before = |run: &Range<usize>| run.start.saturating_sub(reach)..run.start;
        let after = |run: &Range<usize>| run.end..(run.end + reach).min(n);

        // Soft labels of the points outside segments, summed over segments, then cut at 1.
        for run in self.runs {
            for i in before(run) {
                level.soft[i] += weights[run.start - i - 1];
            }
            for i in after(run) {
                level.soft[i] += weights[i - run.end];
            }
        }
        let mut soft = [0.0; THRESHOLDS];
        for run in self.runs {
            for i in before(run).chain(after(run)) {
                // Taken out as it is counted: segments that are close share points.
                let label = std::mem::take(&mut level.soft[i]).min(1.0);
                if !self.labels[i] {
                    soft[usize::from(self.caught[i])] += label;
                }
            }
        }
        accumulate(&mut soft);

        // The widened segments, merged where they touch, and the first threshold that catches each.
        while level.reach < reach {
            level.reach += 1;
            for (run, first) in self.runs.iter().zip(&mut level.first) {
                if let Some(i) = run.start.checked_sub(level.reach) {
                    *first = (*first).min(self.caught[i]);
                }
                if let Some(caught) = self.caught.get(run.end - 1 + level.reach) {
                    *first = (*first).min(*caught);
                }
            }
        }
        let mut found = [0.0; THRESHOLDS];
        let mut ranges = 0.0;
        let mut current = level.first[0];
        for (i, first) in level.first.iter().enumerate().skip(1) {
            if self.runs[i - 1].end - 1 + reach < self.runs[i].start.saturating_sub(reach) {
                found[usize::from(current)] += 1.0;
                ranges += 1.0;
                current = *first;
            } else {
                current = current.min(*first);
            }
        }
        found[usize::from(current)] += 1.0;
        ranges += 1.0;
        accumulate(&mut found);

        let mut areas = Vus { pr: 0.0, roc: 0.0 };
        let (mut last_tpr, mut last_fpr) = (0.0, 0.0);
        for k in 0..THRESHOLDS {
            let true_positives = self.inside[k] + soft[k];
            let positives = (2.0 * self.positives + soft[k]) / 2.0;
            let tpr = (true_positives / positives).min(1.0) * (found[k] / ranges);
            let precision = true_positives / self.predicted[k];
            let fpr = (self.predicted[k] - true_positives) / (n as f64 - positives);
            areas.pr += (tpr - last_tpr) * precision;
            areas.roc += (fpr - last_fpr) * (tpr + last_tpr) / 2.0;
            (last_tpr, last_fpr) = (tpr, fpr);
        }
        areas.roc += (1.0 - last_fpr) * (1.0 + last_tpr) / 2.0;
        areas
    }
}

/// Segments widened by `by` on each side, within the series, merged where they touch.
fn widened(runs: &[Range<usize>], by: usize, n: usize) -> Vec<Range<usize>> {
    let mut wide: Vec<Range<usize>> = Vec::new();
    for run in runs {
        let (start, end) = (run.start.saturating_sub(by), (run.end + by).min(n));
        match wide.last_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => wide.push(start..end),
        }
    }
    wide
}

/// Turns counts per threshold into counts up to each threshold.
fn accumulate(counts: &mut [f64; THRESHOLDS]) {
    let mut sum = 0.0;
    for count in counts {
        sum += *count;
        *count = sum;
    }
}

/// The dominant period of a series in points, from its autocorrelation; 125 when it has none.
///
/// The highest local maximum of the autocorrelation of the first 20,000 points at lags 4 to 399; if it
/// lies below lag 6 or above 303, or there is none, 125. This is the rule of TSB-AD 1.5 and is kept
/// as it is, odd limits included, because published VUS numbers depend on it. Gaps are filled with
/// the value before them. O(20,000 · 400).
pub fn dominant_period(values: &[f64]) -> usize {
    const BASE: usize = 3;
    const FALLBACK: usize = 125;
    let mut last = values.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
    let mut series: Vec<f64> = Vec::with_capacity(values.len().min(20_000));
    for value in &values[..values.len().min(20_000)] {
        if value.is_finite() {
            last = *value;
        }
        series.push(last);
    }
    let n = series.len();
    let mean = series.iter().sum::<f64>() / n.max(1) as f64;
    series.iter_mut().for_each(|v| *v -= mean);
    let variance: f64 = series.iter().map(|v| v * v).sum();
    if !(variance > 0.0 && variance.is_finite()) {
        return FALLBACK;
    }
    let lags: Vec<f64> = (BASE..=400.min(n.saturating_sub(1)))
        .map(|lag| series.iter().zip(&series[lag..]).map(|(a, b)| a * b).sum::<f64>() / variance)
        .collect();
    let peak = (1..lags.len().saturating_sub(1))
        .filter(|&i| lags[i] > lags[i - 1] && lags[i] > lags[i + 1])
        .max_by(|&a, &b| lags[a].total_cmp(&lags[b]));
    match peak {
        Some(i) if (3..=300).contains(&i) => i + BASE,
        _ => FALLBACK,
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden_case;
    use super::*;

    // Golden: `tests/golden/eval.py`, metrics of TSB-AD 1.5 on the cases of `golden_case`; tolerance 1e-12.
    const GOLDEN: [(usize, usize, f64, f64); 24] = [
        (0, 0, 0.549_702_713_569_736_1, 0.751_196_866_386_188_9),
        (0, 1, 0.549_702_713_569_736_1, 0.751_196_866_386_188_9),
        (0, 2, 0.555_573_961_135_48, 0.761_229_327_369_353_2),
        (0, 7, 0.579_436_154_823_710_6, 0.793_638_347_486_891_3),
        (0, 20, 0.624_136_745_267_816_5, 0.836_926_641_623_722_9),
        (0, 125, 0.810_202_711_552_293_5, 0.937_721_396_057_435_7),
        (1, 0, 0.417_993_583_949_778_26, 0.775_420_578_120_643_1),
        (1, 1, 0.417_993_583_949_778_26, 0.775_420_578_120_643_1),
        (1, 2, 0.430_848_794_530_647_84, 0.786_572_629_973_936_5),
        (1, 7, 0.471_209_076_529_551_74, 0.816_809_281_521_997_2),
        (1, 20, 0.531_507_053_372_911, 0.850_639_588_034_130_2),
        (1, 125, 0.650_630_354_278_523_4, 0.920_590_108_678_241_1),
        (2, 0, 0.034_482_758_620_689_655, 0.929_824_561_403_508_8),
        (2, 1, 0.034_482_758_620_689_655, 0.929_824_561_403_508_8),
        (2, 2, 0.034_482_758_620_689_655, 0.929_824_561_403_508_9),
        (2, 7, 0.130_803_964_631_859_34, 0.939_379_669_639_262_9),
        (2, 20, 0.396_030_685_679_686_4, 0.960_571_595_045_243_4),
        (2, 125, 0.650_678_231_756_057_4, 0.984_239_513_941_678_4),
        (3, 0, 0.625_971_395_633_528_2, 0.635_314_421_313_773_9),
        (3, 1, 0.625_971_395_633_528_2, 0.635_314_421_313_773_9),
        (3, 2, 0.640_188_791_032_519_8, 0.671_203_269_403_049_4),
        (3, 7, 0.691_525_617_117_167, 0.740_745_164_026_807_2),
        (3, 20, 0.743_728_984_399_216_4, 0.794_002_841_214_290_3),
        (3, 125, 0.878_674_207_507_623_5, 0.912_349_332_178_985_7),
    ];

    #[test]
    fn matches_tsb_ad() {
        for (layout, window, pr, roc) in GOLDEN {
            let (scores, labels) = golden_case(layout);
            let found = vus(&scores, &labels, window).unwrap().unwrap();
            assert!((found.pr - pr).abs() < 1e-12, "layout {layout}, {window}: {found:?}");
            assert!((found.roc - roc).abs() < 1e-12, "layout {layout}, {window}: {found:?}");
        }
    }

    // Golden: `tests/golden/eval.py`, `find_length_rank` of TSB-AD 1.5.
    #[test]
    fn periods_match_tsb_ad() {
        let wave = |period: f64| -> Vec<f64> {
            let noise = |i: usize| ((i * 7919) % 101) as f64 / 101.0;
            let turn = std::f64::consts::TAU / period;
            (0..2000).map(|i| 10.0 * (i as f64 * turn).sin() + noise(i)).collect()
        };
        let found = [48.0, 290.0, 5.0, 1.0e9].map(|period| dominant_period(&wave(period)));
        assert_eq!(found, GOLDEN_PERIODS);
        assert_eq!(dominant_period(&[1.0; 50]), 125, "a constant has no period");
        assert_eq!(dominant_period(&[]), 125);
    }
    const GOLDEN_PERIODS: [usize; 4] = [48, 288, 125, 101];
}
