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
    /// The suspects counted in n: abnormal dependencies that began no later.
    pub(super) explained_by: Vec<usize>,
}

/// The prior of each suspect: n counts its transitive dependencies that are themselves abnormal in
/// this incident and began no later. With `graded` each counts as far as its weight reaches the
/// suspect's own: a slight tremor below does not explain a collapse above.
pub(super) fn priors(
    graph: &Graph<'_>,
    prepared: &Prepared,
    weights: &[Weight],
    exponent: f64,
    graded: bool,
) -> Vec<Prior> {
    let prior = |(index, suspect): (usize, &crate::Suspect)| {
        let below = suspect.node.map(|node| graph.suspects_below(node)).unwrap_or_default();
        let explained_by: Vec<usize> = below
            .into_iter()
            .map(|(other, _)| other)
            .filter(|&other| {
                other != index
                    && weights[other].abnormal
                    && prepared.no_later(&prepared.suspects[other], suspect)
            })
            .collect();
        let own = weights[index].value;
        let counts = explained_by.iter().map(|&other| match graded {
            true if own > 0.0 => (weights[other].value / own).min(1.0),
            _ => 1.0,
        });
        let n: f64 = counts.sum();
        Prior { value: (n + 1.0).powf(-exponent), explained_by }
    };
    prepared.suspects.iter().enumerate().map(prior).collect()
}
