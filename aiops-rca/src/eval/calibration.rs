//! Does 70 % mean seven in ten?

/// One bin of a calibration curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Mean of the probabilities that fell into it.
    pub claimed: f64,
    /// Share of them that came true.
    pub observed: f64,
    /// How many there were.
    pub count: usize,
}

/// The mean of (probability − outcome)²: 0 is perfect, 0.25 is what "always one half" gets.
///
/// Each pair holds the probability given to the first candidate and whether it was the cause.
///
/// Source: Brier 1950, for the binary case.
pub fn brier(claims: &[(f64, bool)]) -> f64 {
    let squares = claims.iter().map(|&(p, hit)| (p - f64::from(u8::from(hit))).powi(2));
    squares.sum::<f64>() / claims.len().max(1) as f64
}

/// Claims in `bins` bins of equal width, empty ones left out, lowest first.
pub fn calibration_curve(claims: &[(f64, bool)], bins: usize) -> Vec<Bin> {
    let bins = bins.max(1);
    let mut sums = vec![(0.0, 0_usize, 0_usize); bins];
    for &(probability, hit) in claims {
        let bin = ((probability * bins as f64) as usize).min(bins - 1);
        sums[bin].0 += probability;
        sums[bin].1 += usize::from(hit);
        sums[bin].2 += 1;
    }
    let full = sums.into_iter().filter(|(.., count)| *count > 0);
    full.map(|(claimed, hits, count)| Bin {
        claimed: claimed / count as f64,
        observed: hits as f64 / count as f64,
        count,
    })
    .collect()
}

/// The mean distance of claim and observation over the bins, weighted by their counts.
///
/// Source: Naeini, Cooper & Hauskrecht 2015. With few cases it is biased upwards: a perfectly
/// calibrated method has an error of about 0.1 over fifty cases in ten bins.
pub fn expected_calibration_error(claims: &[(f64, bool)], bins: usize) -> f64 {
    let curve = calibration_curve(claims, bins);
    let weighted = curve.iter().map(|bin| bin.count as f64 * (bin.claimed - bin.observed).abs());
    weighted.sum::<f64>() / claims.len().max(1) as f64
}

/// The temperature that makes the probability of the first candidate most honest: it minimises the
/// mean logarithmic loss of "the first candidate is the cause" by golden-section search on ln T
/// between 0.05 and 20.
///
/// Each case holds the weights of all candidates, most suspect first, then that of the unknown, and
/// whether the first candidate was the cause; p = w₁^(1/T) / Σ w^(1/T). It asks about the claim that
/// people read, not about the whole list: where the cause is not visible in the data at all, the
/// likelihood of the list would buy caution everywhere else. Returns 1 when there is nothing to fit.
///
/// Source: Guo, Pleiss, Sun & Weinberger 2017, section 4.2 (temperature scaling), on the top claim.
pub fn fit_temperature(cases: &[(Vec<f64>, bool)]) -> f64 {
    let logs = |weights: &Vec<f64>| weights.iter().map(|w| w.max(1e-300).ln()).collect();
    let usable = cases.iter().filter(|(weights, _)| weights.len() > 1);
    let usable: Vec<(Vec<f64>, bool)> = usable.map(|(w, hit)| (logs(w), *hit)).collect();
    if usable.is_empty() {
        return 1.0;
    }
    let loss = |ln_t: f64| -> f64 {
        let sharpness = (-ln_t).exp();
        let one = |(logs, hit): &(Vec<f64>, bool)| {
            let others = logs[1..].iter().map(|l| ((l - logs[0]) * sharpness).exp());
            let p = (1.0 / (1.0 + others.sum::<f64>())).clamp(1e-12, 1.0 - 1e-12);
            -(if *hit { p } else { 1.0 - p }).ln()
        };
        usable.iter().map(one).sum()
    };
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (0.05_f64.ln(), 20.0_f64.ln());
    for _ in 0..80 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if loss(a) <= loss(b) { high = b } else { low = a }
    }
    ((low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_claims_have_no_error() {
        let claims: Vec<(f64, bool)> = (0..100).map(|i| (0.7, i % 10 < 7)).collect();
        assert!(expected_calibration_error(&claims, 10) < 1e-12);
        assert!((brier(&claims) - 0.21).abs() < 1e-12, "0.7 · 0.3");
        assert_eq!(calibration_curve(&claims, 10).len(), 1);
        let boast: Vec<(f64, bool)> = claims.iter().map(|c| (1.0, c.1)).collect();
        assert!((expected_calibration_error(&boast, 10) - 0.3).abs() < 1e-12);
        assert_eq!((brier(&[]), expected_calibration_error(&[], 5)), (0.0, 0.0));
    }

    #[test]
    fn the_temperature_undoes_what_was_done() {
        // Ten cases with weights 9 : 1 (the unknown) where the first is true six times of ten.
        // p = 9^(1/T) / (9^(1/T) + 1) = 0.6 at 1/T = ln 1.5 / ln 9, so T = 5.419.
        let cases: Vec<_> = (0..10).map(|i| (vec![9.0, 1.0], i < 6)).collect();
        let found = fit_temperature(&cases);
        assert!((found - 9.0_f64.ln() / 1.5_f64.ln()).abs() < 1e-3, "{found}");
        assert_eq!(fit_temperature(&[]), 1.0);
    }
}
