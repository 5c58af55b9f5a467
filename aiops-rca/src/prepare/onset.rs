//! When it began: the first step from which a metric stays abnormal.

/// The first step of `excess` that is at or above `level` and is followed by another such step
/// within two. A single step at the very end counts: the next one has not come yet.
///
/// So one noisy step is not an onset, and one gap or dip inside does not move it. `excess` holds
/// the harmful excess in robust standard deviations, NaN where there is a gap.
pub(super) fn first_abnormal(excess: &[f64], level: f64) -> Option<usize> {
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
}
