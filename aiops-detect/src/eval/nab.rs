//! The score of the Numenta Anomaly Benchmark: one early flag per window, and silence elsewhere.

use std::ops::RangeInclusive;

use crate::{Error, Result};

/// What a missed window and a false flag cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Weight of a false flag.
    pub false_positive: f64,
    /// Cost of a missed window.
    pub false_negative: f64,
}

/// The balanced profile; the number people quote.
pub const STANDARD: Profile = Profile { false_positive: 0.11, false_negative: 1.0 };
/// False flags cost twice as much.
pub const REWARD_LOW_FP: Profile = Profile { false_positive: 0.22, false_negative: 1.0 };
/// Missed windows cost twice as much.
pub const REWARD_LOW_FN: Profile = Profile { false_positive: 0.11, false_negative: 2.0 };

/// One file of the corpus: its scores and the windows in which a flag is right, as row numbers.
#[derive(Debug, Clone)]
pub struct File<'a> {
    /// One score per row.
    pub scores: &'a [f64],
    /// First and last row of each window, in order.
    pub windows: Vec<RangeInclusive<usize>>,
}

/// A normalised score and where it is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// 0 for no flags at all, 100 for a perfect detector; negative is worse than silence.
    pub normalised: f64,
    /// The threshold, one for all files: a row is flagged at or above it.
    pub threshold: f64,
}

/// The NAB score at the one threshold that is best for all files together. `None` without windows.
///
/// The first `min(⌊0.15 n⌋, 750)` rows of a file are ignored. In a window of `w` rows that ends at row
/// `b`, a flag at row `i` earns `σ(-(b-i+1)/w)` with `σ(x) = (2/(1+e^{5x}) - 1)/0.98661`, near 1
/// at the left edge and near 0 at the right; only the best flag of a window counts. A flag outside costs
/// up to [`Profile::false_positive`]: little just behind a window, `2/(1+e^{5q}) - 1` at a distance of
/// `q` window lengths, all of it beyond three or before the first window. A window without a flag
/// costs [`Profile::false_negative`]. Normalised so that no flags give 0 and one flag at the start of
/// every window gives 100. O(n log n).
///
/// Source: Lavin & Ahmad 2015, "Evaluating real-time anomaly detection algorithms", section III,
/// and NAB v1.1 for the constants.
///
/// # Errors
/// When a score is not finite or a window lies outside its file.
pub fn nab(files: &[File<'_>], profile: Profile) -> Result<Option<Score>> {
    let mut steps: Vec<(f64, Step)> = Vec::new();
    let mut windows = 0_usize;
    for file in files {
        steps_of(file, windows, profile, &mut steps)?;
        windows += file.windows.len();
    }
    if windows == 0 {
        return Ok(None);
    }
    let null = -profile.false_negative * windows as f64;
    let perfect = windows as f64;
    let mut credit = vec![-profile.false_negative; windows];
    let mut raw = null;
    let mut best = Score { normalised: 0.0, threshold: f64::INFINITY };
    steps.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    for (i, (score, step)) in steps.iter().enumerate() {
        match step {
            Step::Outside { cost } => raw += cost,
            Step::Inside { window, earned } if *earned > credit[*window] => {
                raw += earned - credit[*window];
                credit[*window] = *earned;
            }
            Step::Inside { .. } => {}
        }
        let is_last_of_its_score = steps.get(i + 1).is_none_or(|next| next.0 < *score);
        let normalised = 100.0 * (raw - null) / (perfect - null);
        if is_last_of_its_score && normalised > best.normalised {
            best = Score { normalised, threshold: *score };
        }
    }
    Ok(Some(best))
}

/// What a flagged row does to the raw score.
enum Step {
    Inside { window: usize, earned: f64 },
    Outside { cost: f64 },
}

fn steps_of(
    file: &File<'_>,
    first_window: usize,
    profile: Profile,
    steps: &mut Vec<(f64, Step)>,
) -> Result<()> {
    let n = file.scores.len();
    let malformed = |what, reason| Err(Error::Malformed { what, reason });
    if let Some(window) = file.windows.iter().find(|w| w.is_empty() || *w.end() >= n) {
        return malformed("window", format!("{window:?} is not within {n} rows"));
    }
    let probation = (n * 15 / 100).min(750);
    let mut next = 0;
    for (i, score) in file.scores.iter().enumerate().skip(probation) {
        if !score.is_finite() {
            return malformed("scores", format!("must be finite, got {score} in row {i}"));
        }
        while next < file.windows.len() && *file.windows[next].end() < i {
            next += 1;
        }
        let step = match file.windows.get(next) {
            Some(window) if window.contains(&i) => {
                let (start, end) = (*window.start(), *window.end());
                let position = -((end - i + 1) as f64) / (end - start + 1) as f64;
                Step::Inside { window: first_window + next, earned: sigmoid(position) / 0.986_61 }
            }
            _ => {
                let relative = next.checked_sub(1).map_or(f64::INFINITY, |last| {
                    let (start, end) = (*file.windows[last].start(), *file.windows[last].end());
                    (i - end) as f64 / ((end - start) as f64).max(1.0)
                });
                let cost = if relative > 3.0 { -1.0 } else { sigmoid(relative) };
                Step::Outside { cost: profile.false_positive * cost }
            }
        };
        steps.push((*score, step));
    }
    Ok(())
}

fn sigmoid(x: f64) -> f64 {
    2.0 / (1.0 + (5.0 * x).exp()) - 1.0
}

/// Keeps a score only where it exceeds all of the `quiet` scores before it, and 0 elsewhere: the
/// alert stream of a detector that speaks once. Causal. O(n).
pub fn alert_once(scores: &[f64], quiet: usize) -> Vec<f64> {
    // Rows of the last `quiet` whose scores fall from front to back: the front is their maximum.
    let mut highest: std::collections::VecDeque<usize> = std::collections::VecDeque::new();
    let mut kept = Vec::with_capacity(scores.len());
    for (i, score) in scores.iter().enumerate() {
        while highest.front().is_some_and(|row| row + quiet < i) {
            highest.pop_front();
        }
        let speaks = highest.front().is_none_or(|row| *score > scores[*row]);
        kept.push(if speaks { *score } else { 0.0 });
        while highest.back().is_some_and(|row| scores[*row] <= *score) {
            highest.pop_back();
        }
        highest.push_back(i);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_file(flags: &[usize]) -> Vec<f64> {
        (0..1000).map(|i| if flags.contains(&i) { 1.0 } else { 0.0 }).collect()
    }

    fn score(flags: &[usize]) -> f64 {
        let scores = one_file(flags);
        let files = [File { scores: &scores, windows: vec![500..=599] }];
        nab(&files, STANDARD).unwrap().unwrap().normalised
    }

    // By hand, with the formulas of the NAB paper: the window has 100 rows and ends at 599.
    #[test]
    fn hand_made_cases() {
        assert!((score(&[500]) - 100.0).abs() < 1e-3, "the first row of the window");
        let late = 2.0 / (1.0 + (-5.0_f64 / 100.0).exp()) - 1.0;
        let expected = 100.0 * (late / 0.986_61 + 1.0) / 2.0;
        assert!((score(&[599]) - expected).abs() < 1e-9, "the last row still counts as found");
        assert!((score(&[500, 599]) - score(&[500])).abs() < 1e-9, "only the best flag counts");
        assert_eq!(score(&[10]), 0.0, "a flag in the probation is no flag");
        let far = score(&[500]) - score(&[500, 300]);
        assert!(
            (far - 100.0 * 0.11 / 2.0).abs() < 1e-9,
            "before any window a false flag costs all"
        );
        let near = score(&[500]) - score(&[500, 600]);
        assert!(near > 0.0 && near < far / 10.0, "just behind a window it costs little");
        assert_eq!(nab(&[], STANDARD).unwrap(), None);
    }

    #[test]
    fn speaking_once_is_causal() {
        let scores = [1.0, 2.0, 2.0, 1.0, 1.5, 0.5, 0.9, 3.0];
        assert_eq!(alert_once(&scores, 3), [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0]);
        assert_eq!(alert_once(&scores[..5], 3), alert_once(&scores, 3)[..5]);
    }
}
