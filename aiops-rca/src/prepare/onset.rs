//! When it began: a first step that is surely abnormal, traced back to where the change set in.

/// A step, and how many steps the truth may be away from it, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Onset {
    pub(super) step: usize,
    pub(super) uncertainty: usize,
}

/// How far back from the first abnormal step a beginning is looked for.
const BACK: usize = 60;

/// How much of the probability the uncertainty covers.
const COVERED: f64 = 0.95;

/// The onset in `excess`, which holds the harmful excess in robust standard deviations, NaN where
/// there is a gap; `None` when it never becomes abnormal.
///
/// A slow rise is abnormal only some time after it began. So from the first abnormal step c the
/// beginning b ≤ c is estimated by the likelihood of a shift by one `level` at b against none:
///
/// ```text
/// ln L(b) = level · Σ (excess(i) − level / 2),   i from b to c − 1
/// ```
///
/// The onset is the b with the largest likelihood (the estimate that goes with a CUSUM; of equals the
/// latest), its uncertainty reaches over the likeliest b that hold 95 % together, and is at least one
/// step. Time O(steps).
///
/// Sources: Page 1954; Hinkley 1970 for the estimate and its distribution.
pub(super) fn estimate(excess: &[f64], level: f64) -> Option<Onset> {
    let sure = first_abnormal(excess, level)?;
    let earliest = sure.saturating_sub(BACK);
    let mut likelihood = vec![0.0]; // of c, c − 1, …
    let mut sum = 0.0;
    for i in (earliest..sure).rev() {
        let step = level * (excess[i] - level / 2.0);
        // A gap speaks neither for nor against.
        sum += if step.is_finite() { step } else { 0.0 };
        likelihood.push(sum);
    }
    let largest = likelihood.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let best = likelihood.iter().position(|l| *l == largest)?;
    let mut by_weight: Vec<(f64, usize)> =
        likelihood.iter().enumerate().map(|(back, l)| ((l - largest).exp(), back)).collect();
    by_weight.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let total: f64 = by_weight.iter().map(|(weight, _)| weight).sum();
    let mut covered = 0.0;
    let mut uncertainty = 1;
    for (weight, back) in by_weight {
        uncertainty = uncertainty.max(back.abs_diff(best));
        covered += weight;
        if covered >= COVERED * total {
            break;
        }
    }
    Some(Onset { step: sure - best, uncertainty })
}

/// The first step of `excess` that is at or above `level` and is followed by another such step
/// within two. A single step at the very end counts: the next one has not come yet.
///
/// So one noisy step is not an onset, and one gap or dip inside does not move it.
fn first_abnormal(excess: &[f64], level: f64) -> Option<usize> {
    let abnormal = |i: usize| excess.get(i).is_some_and(|e| *e >= level);
    (0..excess.len()).filter(|&i| abnormal(i)).find(|&i| {
        let confirmed = abnormal(i + 1) || abnormal(i + 2);
        confirmed || i + 1 == excess.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_noisy_step_is_no_onset() {
        let (hi, lo, gap) = (9.0, 0.0, f64::NAN);
        assert_eq!(first_abnormal(&[lo, hi, lo, lo, hi, hi, hi], 3.0), Some(4));
        assert_eq!(first_abnormal(&[lo, hi, gap, hi, hi], 3.0), Some(1), "a gap does not move it");
        assert_eq!(first_abnormal(&[lo, lo, hi], 3.0), Some(2), "the last step may be the first");
        assert_eq!(first_abnormal(&[lo, gap, lo], 3.0), None);
        assert_eq!(first_abnormal(&[], 3.0), None);
    }

    #[test]
    fn a_jump_is_dated_to_the_step_and_a_ramp_to_its_foot() {
        let jump = [0.1, -0.2, 0.0, 8.0, 8.0];
        assert_eq!(estimate(&jump, 3.0), Some(Onset { step: 3, uncertainty: 1 }));
        let ramp = [0.0, 0.1, 1.8, 2.2, 2.6, 3.1, 3.5];
        assert_eq!(estimate(&ramp, 3.0).unwrap().step, 2);
        assert_eq!(estimate(&[0.0; 9], 3.0), None);
    }

    #[test]
    fn what_is_hard_to_date_says_so() {
        // By hand: level 2, so a step of 1 speaks neither way and all three are equally likely.
        let plateau = [-3.0, 1.0, 1.0, 5.0, 5.0];
        assert_eq!(estimate(&plateau, 2.0), Some(Onset { step: 3, uncertainty: 2 }));
        let gaps = [0.0, f64::NAN, f64::NAN, 5.0, 5.0];
        assert_eq!(estimate(&gaps, 2.0).unwrap(), Onset { step: 3, uncertainty: 2 });
    }
}
