//! What speaks for a suspect before its own numbers: who else could explain its trouble.

use super::magnitude::Weight;
use crate::prepare::Prepared;
use aiops_core::{Closure, Components, Depends, Hops, NodeId, Topology};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The topology as ranking needs it: dependencies of each node with cycles condensed.
pub(super) struct Graph<'a> {
    topology: &'a Topology,
    components: Components,
    suspects: BTreeMap<NodeId, usize>,
}

impl<'a> Graph<'a> {
    pub(super) fn new(topology: &'a Topology, prepared: &Prepared) -> Self {
        let suspects = prepared.suspects.iter().enumerate();
        let suspects = suspects.filter_map(|(i, s)| Some((s.node?, i))).collect();
        Graph { topology, components: topology.components(), suspects }
    }

    pub(super) fn topology(&self) -> &'a Topology {
        self.topology
    }

    pub(super) fn dependencies(&self, node: NodeId) -> Arc<Closure> {
        self.topology.closure(node, Depends::Dependencies, Hops::All)
    }

    pub(super) fn dependents(&self, node: NodeId) -> Arc<Closure> {
        self.topology.closure(node, Depends::Dependents, Hops::All)
    }

    /// The suspects that a node depends on, directly or not, with their hops. Members of one cycle
    /// share what they depend on outside of it and do not explain each other.
    pub(super) fn suspects_below(&self, node: NodeId) -> Vec<(usize, u32)> {
        let closure = self.dependencies(node);
        let outside = closure.reached().iter().filter(|r| !self.components.share(node, r.node));
        outside.filter_map(|r| Some((*self.suspects.get(&r.node)?, r.hops))).collect()
    }

    /// The suspects that depend on a node.
    pub(super) fn suspects_above(&self, node: NodeId) -> Vec<usize> {
        let closure = self.dependents(node);
        closure.reached().iter().filter_map(|r| self.suspects.get(&r.node).copied()).collect()
    }
}

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
        graph: &Graph<'_>,
        prepared: &Prepared,
        weights: &[Weight],
    ) -> Vec<Prior> {
        let suspects = &prepared.suspects;
        let below: Vec<Vec<usize>> = suspects
            .iter()
            .map(|suspect| {
                let below = suspect.node.map(|node| graph.suspects_below(node));
                below.unwrap_or_default().into_iter().map(|(other, _)| other).collect()
            })
            .collect();
        let mut unexplained: Vec<Vec<usize>> = vec![vec![]; suspects.len()];
        if self.own_load {
            for (index, below) in below.iter().enumerate() {
                let Some((deviation, _)) = weights[index].own else { continue };
                let deviation = &prepared.deviations[deviation];
                let held = below.iter().filter(|&&other| {
                    weights[other].abnormal && prepared.began_no_later(deviation, &suspects[other])
                });
                held.for_each(|&other| unexplained[other].push(index));
            }
        }
        let prior =
            |(index, unexplained)| self.prior(prepared, weights, index, &below[index], unexplained);
        unexplained.into_iter().enumerate().map(prior).collect()
    }

    fn prior(
        &self,
        prepared: &Prepared,
        weights: &[Weight],
        index: usize,
        below: &[usize],
        unexplained: Vec<usize>,
    ) -> Prior {
        let suspect = &prepared.suspects[index];
        let counts = |other: usize| {
            other != index
                && weights[other].abnormal
                && prepared.no_later(&prepared.suspects[other], suspect)
        };
        let mut explained_by: Vec<usize> =
            below.iter().copied().filter(|&other| counts(other)).collect();
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
