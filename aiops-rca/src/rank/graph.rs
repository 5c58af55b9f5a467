//! The topology as ranking needs it: who could explain whom, for all services at once.

use crate::prepare::Prepared;
use aiops_core::{Components, Depends, NodeId, Topology};

/// Dependencies between components, cycles condensed.
///
/// Nothing here keeps what each service reaches: over a hundred thousand services that would be
/// billions of entries. Components come dependencies first, so every question is one pass over the
/// edges.
pub(super) struct Graph {
    components: Components,
    /// For each component those that it depends on directly, each once.
    below: Vec<Vec<usize>>,
    /// For each suspect its node and its component, where the topology knows it.
    suspects: Vec<Option<(NodeId, usize)>>,
}

/// So many explanations of one suspect are looked at, the first in the order given. With hundreds of
/// them it is as good as ruled out.
const EXPLANATIONS: usize = 256;

impl Graph {
    pub(super) fn new(topology: &Topology, prepared: &Prepared) -> Self {
        let components = topology.components();
        let below = components.members().iter().enumerate().map(|(own, nodes)| {
            let near = nodes.iter().flat_map(|&n| topology.neighbours(n, Depends::Dependencies));
            let near = near.filter_map(|node| components.of(node));
            let mut below: Vec<usize> = near.filter(|&other| other != own).collect();
            below.sort_unstable();
            below.dedup();
            below
        });
        let below = below.collect();
        let place = |node: NodeId| Some((node, components.of(node)?));
        let suspects = prepared.suspects.iter().map(|s| s.node.and_then(place)).collect();
        Graph { components, below, suspects }
    }

    /// For each suspect those of `explaining` that it depends on, directly or not, and that `counts`
    /// (the one below, then the suspect) accepts; in the order of nodes. Members of one cycle share
    /// what they depend on outside of it and do not explain each other.
    ///
    /// Time O(edges x explaining / 64), beside what is found.
    pub(super) fn explained_by(
        &self,
        explaining: &[usize],
        counts: impl Fn(usize, usize) -> bool,
    ) -> Vec<Vec<usize>> {
        let mut found = vec![vec![]; self.suspects.len()];
        // One bit for each of 64 that may explain.
        for some in explaining.chunks(64) {
            let mut own = vec![0_u64; self.below.len()];
            for (bit, &suspect) in some.iter().enumerate() {
                if let Some((_, component)) = self.suspects[suspect] {
                    own[component] |= 1 << bit;
                }
            }
            let mut reached = vec![0_u64; self.below.len()];
            for component in 0..self.below.len() {
                let below = self.below[component].iter();
                reached[component] = below.fold(0, |bits, &b| bits | reached[b] | own[b]);
            }
            for (index, found) in found.iter_mut().enumerate() {
                let mut bits = self.suspects[index].map_or(0, |(_, component)| reached[component]);
                while bits != 0 && found.len() < EXPLANATIONS {
                    let other = some[bits.trailing_zeros() as usize];
                    bits &= bits - 1;
                    if counts(other, index) {
                        found.push(other);
                    }
                }
            }
        }
        let node = |&suspect: &usize| self.suspects[suspect].map(|(node, _)| node);
        found.iter_mut().for_each(|found| found.sort_by_key(node));
        found
    }

    /// Whether any of `heads` depends on each suspect, a head on itself; `None` when no head depends
    /// on anything.
    pub(super) fn below_any(&self, heads: &[usize]) -> Option<Vec<bool>> {
        let mut reached = vec![false; self.below.len()];
        for (_, component) in heads.iter().filter_map(|&head| self.suspects[head]) {
            let cyclic = self.components.members()[component].len() > 1;
            reached[component] |= cyclic || !self.below[component].is_empty();
        }
        if !reached.contains(&true) {
            return None;
        }
        for component in (0..self.below.len()).rev() {
            if reached[component] {
                self.below[component].iter().for_each(|&b| reached[b] = true);
            }
        }
        Some(self.suspects.iter().map(|s| s.is_some_and(|(_, c)| reached[c])).collect())
    }

    /// The largest of `values`, one for each suspect, among those that depend on a node.
    pub(super) fn largest_above(&self, values: &[f64]) -> Above<'_> {
        let mut within = vec![0.0_f64; self.below.len()];
        for (place, value) in self.suspects.iter().zip(values) {
            if let Some((_, component)) = *place {
                within[component] = within[component].max(*value);
            }
        }
        let mut outside = vec![0.0_f64; self.below.len()];
        for component in (0..self.below.len()).rev() {
            let value = within[component].max(outside[component]);
            self.below[component].iter().for_each(|&b| outside[b] = outside[b].max(value));
        }
        Above { components: &self.components, within, outside }
    }
}

/// The answer of [`Graph::largest_above`].
pub(super) struct Above<'a> {
    components: &'a Components,
    within: Vec<f64>,
    outside: Vec<f64>,
}

impl Above<'_> {
    /// Of those that depend on the node and that it does not depend on.
    pub(super) fn outside(&self, node: NodeId) -> f64 {
        self.components.of(node).map_or(0.0, |component| self.outside[component])
    }

    /// The same, the node itself and its cycle included.
    pub(super) fn or_own(&self, node: NodeId) -> f64 {
        let own = self.components.of(node).map_or(0.0, |component| self.within[component]);
        own.max(self.outside(node))
    }
}
