//! How close a discovered graph is to the true one.

use std::collections::BTreeSet;

type Pairs = BTreeSet<(usize, usize)>;

/// Precision, recall and F1 over ordered pairs (cause, effect).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphScore {
    /// True pairs among those found; 1 when none was found.
    pub precision: f64,
    /// Found pairs among the true ones; 1 when there is none to find.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl GraphScore {
    /// Compares sets of pairs. Loops should be in neither.
    ///
    /// ```
    /// use aiops_rca::eval::GraphScore;
    /// let score = GraphScore::of(&[(0, 1), (1, 2)].into(), &[(0, 1), (0, 2)].into());
    /// assert_eq!((score.precision, score.recall, score.f1), (0.5, 0.5, 0.5));
    /// ```
    pub fn of(found: &Pairs, truth: &Pairs) -> Self {
        let hits = found.intersection(truth).count() as f64;
        let share = |of: usize| if of == 0 { 1.0 } else { hits / of as f64 };
        let (precision, recall) = (share(found.len()), share(truth.len()));
        let sum = precision + recall;
        let f1 = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        GraphScore { precision, recall, f1 }
    }
}

/// The structural Hamming distance: how many edges must be added, removed or turned round to get
/// from one graph to the other. An undirected edge is a pair in both directions; leaving a direction
/// open where one is known, or the reverse, counts once.
///
/// Source: Tsamardinos, Brown & Aliferis 2006, section 4.
pub fn structural_hamming_distance(found: &Pairs, truth: &Pairs) -> usize {
    let skeleton =
        |of: &Pairs| -> Pairs { of.iter().map(|&(a, b)| (a.min(b), a.max(b))).collect() };
    let all: Pairs = skeleton(found).union(&skeleton(truth)).copied().collect();
    let state = |of: &Pairs, (a, b): (usize, usize)| (of.contains(&(a, b)), of.contains(&(b, a)));
    all.into_iter().filter(|&pair| state(found, pair) != state(truth, pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turned_edge_counts_once() {
        let truth = [(0, 1), (1, 2)].into();
        assert_eq!(structural_hamming_distance(&[(1, 0), (1, 2)].into(), &truth), 1);
        assert_eq!(structural_hamming_distance(&[(0, 1), (1, 0), (1, 2)].into(), &truth), 1);
        assert_eq!(structural_hamming_distance(&[(0, 2)].into(), &truth), 3);
        assert_eq!(structural_hamming_distance(&truth, &truth), 0);
    }

    #[test]
    fn finding_nothing_where_there_is_nothing_is_right() {
        assert_eq!(GraphScore::of(&Pairs::new(), &Pairs::new()).f1, 1.0);
        assert_eq!(GraphScore::of(&Pairs::new(), &[(0, 1)].into()).f1, 0.0);
    }
}
