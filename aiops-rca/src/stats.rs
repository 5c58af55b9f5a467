//! Order statistics and moments of short columns. Gaps are the caller's to drop.

/// The values without gaps and infinities.
pub(crate) fn finite(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|v| v.is_finite()).collect()
}

/// The `q` quantile with linear interpolation between order statistics (type 7); reorders `values`.
///
/// `values` must not be empty and must be finite.
pub(crate) fn quantile(values: &mut [f64], q: f64) -> f64 {
    let position = q * (values.len() - 1) as f64;
    let below = position.floor() as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let share = position - below as f64;
    if share == 0.0 {
        return low;
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    low + share * (high - low)
}

/// Mean and population standard deviation; shifted by the first value so that a large offset does
/// not cancel the digits.
pub(crate) fn mean_std(values: &[f64]) -> (f64, f64) {
    let Some(&shift) = values.first() else { return (0.0, 0.0) };
    let n = values.len() as f64;
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(sum, squares), v| {
        let d = v - shift;
        (sum + d, squares + d * d)
    });
    let mean = sum / n;
    (shift + mean, (squares / n - mean * mean).max(0.0).sqrt())
}

/// The mean of the largest `share` of the values, at least one of them; 0 for none.
///
/// Between a maximum, which one outlier decides, and a mean, which the quiet part dilutes.
pub(crate) fn upper_mean(values: &mut [f64], share: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let keep = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len());
    values.select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a));
    // Sorted before the sum, so that the order of equal parts cannot change the last digit.
    let kept = &mut values[..keep];
    kept.sort_unstable_by(f64::total_cmp);
    kept.iter().sum::<f64>() / keep as f64
}

/// Pearson's correlation over the steps where both are finite; 0 when either is constant.
pub(crate) fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let pairs: Vec<(f64, f64)> = a
        .iter()
        .zip(b)
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .map(|(&x, &y)| (x, y))
        .collect();
    let n = pairs.len() as f64;
    if pairs.len() < 3 {
        return 0.0;
    }
    let (ma, mb) =
        (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut saa, mut sbb, mut sab) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (dx, dy) = (x - ma, y - mb);
        saa += dx * dx;
        sbb += dy * dy;
        sab += dx * dy;
    }
    // A constant column may keep a rounding residue: compare with the size of its values.
    let flat = |s: f64, m: f64| s <= 1e-24 * (m * m).max(f64::MIN_POSITIVE) * n;
    if flat(saa, ma) || flat(sbb, mb) { 0.0 } else { (sab / (saa * sbb).sqrt()).clamp(-1.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy 2.4.6: np.percentile([3, 1, 4, 1, 5, 9, 2, 6], [25, 50, 75]) = 1.75, 3.5, 5.25
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0];
        for (q, expected) in [(0.25, 1.75), (0.5, 3.5), (0.75, 5.25), (0.0, 1.0), (1.0, 9.0)] {
            assert_eq!(quantile(&mut values.clone(), q), expected);
        }
        assert_eq!(quantile(&mut [7.0], 0.3), 7.0);
    }

    #[test]
    fn a_large_offset_keeps_the_deviation() {
        let (mean, std) = mean_std(&[1e9 + 1.0, 1e9 + 3.0]);
        assert_eq!((mean, std), (1e9 + 2.0, 1.0));
        assert_eq!(mean_std(&[]), (0.0, 0.0));
    }

    #[test]
    fn the_upper_half_forgives_a_quiet_half() {
        assert_eq!(upper_mean(&mut [0.0, 8.0, 0.0, 6.0], 0.5), 7.0);
        assert_eq!(upper_mean(&mut [5.0], 0.1), 5.0);
        assert_eq!(upper_mean(&mut [], 0.5), 0.0);
    }

    #[test]
    fn constants_correlate_with_nothing() {
        assert_eq!(correlation(&[0.1; 9], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]), 0.0);
        let r = correlation(&[1.0, 2.0, 3.0, f64::NAN], &[2.0, 4.0, 6.0, 0.0]);
        assert!((r - 1.0).abs() < 1e-15);
    }
}
