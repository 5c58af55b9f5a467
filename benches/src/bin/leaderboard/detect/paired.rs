//! Whether a detector beats the trivial reference series by series, or only on average.

use aiops_detect::testing::Noise;

use super::{Entrant, quality::Judged};

/// The row that cleverer methods have to beat.
const REFERENCE: &str = "trailing-median";
/// Random sign changes that the p-value is counted on.
const ROUNDS: usize = 9_999;

/// One detector beside the reference on the series of one set.
pub(super) struct Paired {
    set: String,
    detector: String,
    series: usize,
    /// Mean difference of VUS-PR, and its standard error.
    mean: f64,
    error: f64,
    better: usize,
    worse: usize,
    /// Share of random sign changes of the differences whose mean is at least as far from zero.
    p_value: f64,
}

/// Compares every detector with the reference, where a set has both.
pub(super) fn compare(judged: &[Judged], entrants: &[Entrant]) -> Vec<Paired> {
    let mut sets: Vec<&str> = judged.iter().map(|j| j.set.as_str()).collect();
    sets.sort_unstable();
    sets.dedup();
    let of = |set: &str, detector: &str| -> Vec<(&str, f64)> {
        let mine = judged.iter().filter(|j| j.set == set && j.detector == detector);
        mine.filter_map(|j| Some((j.series.as_str(), j.vus_pr()?))).collect()
    };
    let mut all = Vec::new();
    for set in sets {
        let reference = of(set, REFERENCE);
        for entrant in entrants.iter().filter(|entrant| entrant.id() != REFERENCE) {
            let differences: Vec<f64> = of(set, entrant.id())
                .into_iter()
                .filter_map(|(series, vus)| {
                    let (_, theirs) = reference.iter().find(|(name, _)| *name == series)?;
                    Some(vus - theirs)
                })
                .collect();
            if differences.len() > 1 {
                all.push(paired(set, entrant.id(), &differences));
            }
        }
    }
    all
}

fn paired(set: &str, detector: &str, differences: &[f64]) -> Paired {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
    let mut noise = Noise::new(1);
    let mut flipped = || {
        let sum: f64 =
            differences.iter().map(|d| if noise.uniform() < 0.5 { *d } else { -d }).sum();
        sum / n
    };
    let as_far = (0..ROUNDS).filter(|_| flipped().abs() >= mean.abs() - 1e-12).count();
    Paired {
        set: set.to_owned(),
        detector: detector.to_owned(),
        series: differences.len(),
        mean,
        error: (squares / (n - 1.0) / n).sqrt(),
        better: differences.iter().filter(|d| **d > 0.0).count(),
        worse: differences.iter().filter(|d| **d < 0.0).count(),
        p_value: (as_far + 1) as f64 / (ROUNDS + 1) as f64,
    }
}

/// One table for all sets.
pub(super) fn print(rows: &[Paired]) {
    if rows.is_empty() {
        return;
    }
    println!("\npaired with {REFERENCE}: VUS-PR, series by series");
    println!(
        "{:<14} {:<24} {:>6} {:>8} {:>8} {:>7} {:>6} {:>8}",
        "set", "detector", "series", "mean", "error", "better", "worse", "p"
    );
    for row in rows {
        println!(
            "{:<14} {:<24} {:>6} {:>+8.3} {:>8.3} {:>7} {:>6} {:>8.4}",
            row.set,
            row.detector,
            row.series,
            row.mean,
            row.error,
            row.better,
            row.worse,
            row.p_value
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_lead_counts_and_a_lucky_one_does_not() {
        let steady = paired("s", "d", &[0.05; 20]);
        assert!(steady.p_value < 0.001 && (steady.better, steady.worse) == (20, 0));
        let mut lucky = vec![-0.01; 19];
        lucky.push(0.9);
        let lucky = paired("s", "d", &lucky);
        assert!(lucky.mean > 0.03 && lucky.p_value > 0.3, "{} {}", lucky.mean, lucky.p_value);
    }
}
