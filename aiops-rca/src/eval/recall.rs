//! AC@k, Avg@k, reciprocal rank, and what chance would reach.

/// One case: what was ranked, most suspect first, and what was true.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// Names in the order of suspicion, each once; empty when the method failed or abstained.
    pub ranked: Vec<String>,
    /// The true causes; cases without any are left out by every measure.
    pub truth: Vec<String>,
}

impl Judged {
    /// A case with one true cause. Later repetitions of a name are dropped: a service stands where
    /// its first metric stands.
    pub fn new<S: Into<String>>(ranked: impl IntoIterator<Item = S>, truth: &str) -> Self {
        let mut seen = std::collections::HashSet::new();
        let ranked =
            ranked.into_iter().map(Into::into).filter(|name: &String| seen.insert(name.clone()));
        Judged { ranked: ranked.collect(), truth: vec![truth.to_owned()] }
    }

    /// Causes among the first `k`, as a share of min(k, number of causes).
    pub fn ac_at_k(&self, k: usize) -> f64 {
        let possible = k.min(self.truth.len());
        if possible == 0 {
            return 0.0;
        }
        let hits = self.ranked.iter().take(k).filter(|name| self.truth.contains(name)).count();
        hits as f64 / possible as f64
    }

    /// Mean of AC@1 to AC@k.
    pub fn avg_at_k(&self, k: usize) -> f64 {
        mean((1..=k).map(|k| self.ac_at_k(k)))
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0_usize), |(sum, n), v| (sum + v, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

fn labelled(cases: &[Judged]) -> impl Iterator<Item = &Judged> {
    cases.iter().filter(|case| !case.truth.is_empty())
}

/// AC@k: the mean over cases of (root causes among the top k) / min(k, number of root causes).
///
/// ```
/// use aiops_rca::eval::{Judged, ac_at_k, avg_at_k};
/// let cases = [Judged::new(["db", "api"], "db"), Judged::new(["api", "db"], "db")];
/// assert_eq!(ac_at_k(&cases, 1), 0.5);
/// assert_eq!(avg_at_k(&cases, 2), 0.75);
/// ```
///
/// Source: Pham, Ha & Zhang 2024 (ASE), section 4.3.
pub fn ac_at_k(cases: &[Judged], k: usize) -> f64 {
    mean(labelled(cases).map(|case| case.ac_at_k(k)))
}

/// Avg@k: the mean of AC@1 to AC@k.
pub fn avg_at_k(cases: &[Judged], k: usize) -> f64 {
    mean(labelled(cases).map(|case| case.avg_at_k(k)))
}

/// The mean of 1 / rank of the first true cause; 0 where none was ranked.
pub fn mean_reciprocal_rank(cases: &[Judged]) -> f64 {
    mean(labelled(cases).map(|case| {
        let rank = case.ranked.iter().position(|name| case.truth.contains(name));
        rank.map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
    }))
}

/// What AC@k a shuffled list of all candidates has on average: `sizes` holds, for each case, the
/// number of candidates and of true causes among them.
///
/// Exact: each of the top k places holds a true cause with probability r / n, so the expected hits
/// are min(k, n) · r / n.
pub fn chance_ac_at_k(sizes: &[(usize, usize)], k: usize) -> f64 {
    mean(sizes.iter().filter(|(_, r)| *r > 0 && k > 0).map(|&(n, r)| match n {
        0 => 0.0,
        n => (k.min(n) * r) as f64 / n as f64 / k.min(r) as f64,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_causes_are_shared_out() {
        let case = Judged {
            ranked: ["a", "x", "b"].map(str::to_owned).to_vec(),
            truth: ["a", "b"].map(str::to_owned).to_vec(),
        };
        assert_eq!(case.ac_at_k(1), 1.0);
        assert_eq!(case.ac_at_k(2), 0.5);
        assert_eq!(case.ac_at_k(3), 1.0);
        assert_eq!(case.ac_at_k(0), 0.0);
    }

    #[test]
    fn a_failure_is_a_miss_and_an_unlabelled_case_is_none() {
        let failed = Judged { ranked: vec![], truth: vec!["a".into()] };
        let unlabelled = Judged { ranked: vec!["a".into()], truth: vec![] };
        let cases = [Judged::new(["a"], "a"), failed, unlabelled];
        assert_eq!(ac_at_k(&cases, 5), 0.5);
        assert_eq!(mean_reciprocal_rank(&cases), 0.5);
        assert_eq!(ac_at_k(&[], 1), 0.0);
    }

    #[test]
    fn chance_is_what_a_shuffle_reaches() {
        assert_eq!(chance_ac_at_k(&[(10, 1)], 1), 0.1);
        assert_eq!(chance_ac_at_k(&[(4, 1), (2, 1)], 5), 1.0);
        assert_eq!(chance_ac_at_k(&[(4, 2)], 1), 0.5);
    }
}
