//! What speaks for a suspect before its own numbers: who else could explain its trouble.

use super::graph::Graph;
use super::magnitude::Weight;
use crate::prepare::Prepared;

/// What speaks before the numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prior {
    /// 1 / (n + 1)^exponent.
    pub(super) value: f64,
    /// The suspects counted in n because they explain it: abnormal dependencies, and influences that
    /// the data show, that began no later.
    pub(super) explained_by: Vec<usize>,
    /// The suspects counted in n because it does not explain them: dependents whose own processor
    /// was abnormal no later.
    pub(super) unexplained: Vec<usize>,
    /// The deviation of its own processor that nothing below it explains, where it decides.
    pub(super) by_itself: Option<usize>,
}

/// How the prior of each suspect is made.
///
/// n counts its transitive dependencies that are themselves abnormal in this incident and began no
/// later. With `graded` each counts as far as its weight reaches the suspect's own: a slight tremor
/// below does not explain a collapse above.
///
/// With `own_load` processors are told apart from the rest: whoever waits for a slow dependency is
/// not busy. So a suspect whose own processor was abnormal no later than its dependencies may be
/// weighed by that alone, with n = 0; and each of those dependencies has it counted in its own n, for
/// they would leave it unexplained, while they may well suffer from a dependent that holds what it
/// has taken and asks for more.
pub(super) struct Rules<'a> {
    pub(super) exponent: f64,
    pub(super) graded: bool,
    pub(super) own_load: bool,
    /// For each suspect those that influence it by what the data show, with how far to believe it.
    pub(super) discovered: &'a [Vec<(usize, f64)>],
}

impl Rules<'_> {
    pub(super) fn priors(
        &self,
        graph: &Graph,
        prepared: &Prepared,
        weights: &[Weight],
    ) -> Vec<Prior> {
        let suspects = &prepared.suspects;
        let mut abnormal: Vec<usize> =
            (0..suspects.len()).filter(|&index| weights[index].abnormal).collect();
        // The weightiest first: they explain most, if not all are looked at.
        abnormal.sort_by(|&a, &b| weights[b].value.total_cmp(&weights[a].value).then(a.cmp(&b)));
        let mut unexplained: Vec<Vec<usize>> = vec![vec![]; suspects.len()];
        if self.own_load {
            let held = |other: usize, index: usize| {
                weights[index].own.is_some_and(|(deviation, _)| {
                    prepared.began_no_later(&prepared.deviations[deviation], &suspects[other])
                })
            };
            for (index, held) in graph.explained_by(&abnormal, held).into_iter().enumerate() {
                held.into_iter().for_each(|other| unexplained[other].push(index));
            }
        }
        let counts = |other: usize, index: usize| {
            other != index && prepared.no_later(&suspects[other], &suspects[index])
        };
        let explained_by = graph.explained_by(&abnormal, counts);
        let each = explained_by.into_iter().zip(unexplained).enumerate();
        each.map(|(index, (explained_by, unexplained))| {
            self.prior(prepared, weights, index, explained_by, unexplained)
        })
        .collect()
    }

    fn prior(
        &self,
        prepared: &Prepared,
        weights: &[Weight],
        index: usize,
        mut explained_by: Vec<usize>,
        unexplained: Vec<usize>,
    ) -> Prior {
        let suspect = &prepared.suspects[index];
        let counts = |other: usize| {
            other != index
                && weights[other].abnormal
                && prepared.no_later(&prepared.suspects[other], suspect)
        };
        // Discovered influences that the topology does not have.
        let beside: Vec<(usize, f64)> = (self.discovered.get(index).into_iter().flatten().copied())
            .filter(|&(other, _)| counts(other) && !explained_by.contains(&other))
            .collect();

        let own = weights[index].value;
        let grade = |weight: f64| match self.graded {
            true if own > 0.0 => (weight / own).min(1.0),
            _ => 1.0,
        };
        let known: f64 = explained_by.iter().map(|&other| grade(weights[other].value)).sum();
        let shown: f64 =
            beside.iter().map(|&(other, belief)| belief * grade(weights[other].value)).sum();
        let loads = unexplained.iter().filter_map(|&other| weights[other].own);
        let open: f64 = loads.map(|(_, weight)| grade(weight)).sum();
        explained_by.extend(beside.into_iter().map(|(other, _)| other));

        let value = (known + shown + open + 1.0).powf(-self.exponent);
        let by_itself = weights[index].own.filter(|&(deviation, weight)| {
            let deviation = &prepared.deviations[deviation];
            let earlier =
                |&other: &usize| prepared.began_no_later(deviation, &prepared.suspects[other]);
            // What it leaves unexplained itself still counts against it.
            let alone = weight * (open + 1.0).powf(-self.exponent);
            self.own_load && alone > value * own && explained_by.iter().all(earlier)
        });
        let Some((deviation, weight)) = by_itself else {
            return Prior { value, explained_by, unexplained, by_itself: None };
        };
        let value = weight * (open + 1.0).powf(-self.exponent) / own;
        Prior { value, explained_by, unexplained, by_itself: Some(deviation) }
    }
}
