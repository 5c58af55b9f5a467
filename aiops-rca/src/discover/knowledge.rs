//! What is known before the data speak: required, forbidden and permitted influences.

use super::graph::CausalGraph;
use super::{CausalEdge, Mark};
use crate::{Error, Result};
use aiops_core::{Depends, Hops, Topology};
use std::collections::BTreeSet;

/// Background knowledge over the rows of a frame. The default knows nothing and permits everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Knowledge {
    /// Influences that exist, whatever the data say.
    pub required: BTreeSet<(usize, usize)>,
    /// Influences that do not exist, whatever the data say.
    pub forbidden: BTreeSet<(usize, usize)>,
    /// When given, only these may exist (beside the required ones).
    pub permitted: Option<BTreeSet<(usize, usize)>>,
}

impl Knowledge {
    /// No knowledge.
    pub fn none() -> Self {
        Knowledge::default()
    }

    /// Trouble travels against the calls: a row of service u may influence a row of service v when v
    /// depends on u within `hops`, or when both belong to the same service or to none that the
    /// topology knows. `services` holds the service of each row.
    ///
    /// A topology that is incomplete forbids what it does not know; use more hops, or only
    /// [`forbidden`](Self::forbidden), where edges are missing.
    pub fn from_topology(topology: &Topology, services: &[Option<&str>], hops: Hops) -> Self {
        let nodes: Vec<_> = services.iter().map(|service| topology.node_id((*service)?)).collect();
        let mut permitted = BTreeSet::new();
        for (effect, node) in nodes.iter().enumerate() {
            let below = node.map(|node| topology.closure(node, Depends::Dependencies, hops));
            for (cause, other) in nodes.iter().enumerate() {
                let reachable = match (&below, node, other) {
                    (Some(_), Some(node), Some(other)) if node == other => true,
                    (Some(below), _, Some(other)) => below.contains(*other),
                    _ => true,
                };
                if cause != effect && reachable {
                    permitted.insert((cause, effect));
                }
            }
        }
        Knowledge { permitted: Some(permitted), ..Knowledge::default() }
    }

    /// Whether `cause` may influence `effect`.
    pub fn permits(&self, cause: usize, effect: usize) -> bool {
        let pair = (cause, effect);
        self.required.contains(&pair)
            || (!self.forbidden.contains(&pair)
                && self.permitted.as_ref().is_none_or(|permitted| permitted.contains(&pair)))
    }

    /// Whether any influence between the two, in either direction, may exist.
    pub fn permits_either(&self, a: usize, b: usize) -> bool {
        self.permits(a, b) || self.permits(b, a)
    }

    pub(super) fn check(&self, rows: usize) -> Result<()> {
        let permitted = self.permitted.iter().flatten();
        let all = self.required.iter().chain(&self.forbidden).chain(permitted);
        match all.map(|&(a, b)| a.max(b)).max() {
            Some(row) if row >= rows => Err(Error::Mismatch {
                what: "row named by the knowledge",
                expected: rows,
                got: row,
            }),
            _ => Ok(()),
        }
    }

    /// Adds the required edges that `edges` lack.
    pub(super) fn complete(&self, edges: &mut Vec<CausalEdge>) {
        for &(from, to) in &self.required {
            let known = |e: &CausalEdge| (e.from, e.to) == (from, to) && e.mark == Mark::Directed;
            if !edges.iter().any(known) {
                let undirected = |e: &CausalEdge| {
                    e.mark == Mark::Undirected
                        && (e.from.min(e.to), e.from.max(e.to)) == (from.min(to), from.max(to))
                };
                edges.retain(|e| !undirected(e));
                let (lag, strength, p_value) = (0, 0.0, 0.0);
                edges.push(CausalEdge { from, to, lag, mark: Mark::Directed, strength, p_value });
            }
        }
    }
}

/// An edge that was dropped to break a cycle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropped {
    /// The edge.
    pub edge: CausalEdge,
    /// How many edges the cycle had.
    pub cycle: usize,
}

impl CausalGraph {
    /// The graph without cycles: of each cycle the weakest edge (largest p-value, then smallest
    /// strength) is dropped and reported, required edges last. Loops are dropped; undirected edges
    /// take part in no cycle and stay.
    ///
    /// Time O(edges · (rows + edges)).
    pub fn without_cycles(&self, knowledge: &Knowledge) -> (CausalGraph, Vec<Dropped>) {
        let mut kept = self.edges.clone();
        let mut dropped = vec![];
        while let Some(cycle) = find_cycle(self.variables.len(), &kept) {
            let required = |e: &CausalEdge| knowledge.required.contains(&(e.from, e.to));
            let weakest = cycle.iter().copied().min_by(|&a, &b| {
                let (a, b) = (&kept[a], &kept[b]);
                required(a)
                    .cmp(&required(b))
                    .then(b.p_value.total_cmp(&a.p_value))
                    .then(a.strength.abs().total_cmp(&b.strength.abs()))
                    .then((a.from, a.to, a.lag).cmp(&(b.from, b.to, b.lag)))
            });
            let Some(weakest) = weakest else { break };
            dropped.push(Dropped { edge: kept.remove(weakest), cycle: cycle.len() });
        }
        (CausalGraph { variables: self.variables.clone(), edges: kept }, dropped)
    }
}

/// The directed edges of one cycle, as indices.
fn find_cycle(rows: usize, edges: &[CausalEdge]) -> Option<Vec<usize>> {
    let mut out = vec![vec![]; rows];
    for (index, edge) in edges.iter().enumerate().filter(|(_, e)| e.mark == Mark::Directed) {
        out[edge.from].push(index);
    }
    // 0: not seen, 1: on the way, 2: done. The way is kept as edges, so no recursion is needed.
    let mut state = vec![0_u8; rows];
    for start in 0..rows {
        if state[start] != 0 {
            continue;
        }
        let mut stack = vec![(start, 0_usize)];
        let mut way: Vec<usize> = vec![];
        state[start] = 1;
        while let Some((node, next)) = stack.last_mut() {
            let Some(&index) = out[*node].get(*next) else {
                state[*node] = 2;
                stack.pop();
                way.pop();
                continue;
            };
            *next += 1;
            let to = edges[index].to;
            match state[to] {
                0 => {
                    state[to] = 1;
                    way.push(index);
                    stack.push((to, 0));
                }
                1 => {
                    way.push(index);
                    let begin = way.iter().position(|&e| edges[e].from == to)?;
                    return Some(way[begin..].to_vec());
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, SeriesKey};

    fn edge(from: usize, to: usize, p_value: f64) -> CausalEdge {
        CausalEdge { from, to, lag: 1, mark: Mark::Directed, strength: 1.0, p_value }
    }

    fn graph(edges: Vec<CausalEdge>) -> CausalGraph {
        let keys = (0..4).map(|i| SeriesKey::new(format!("v{i}"), Labels::new()));
        CausalGraph::new(keys.collect(), edges)
    }

    #[test]
    fn the_weakest_edge_of_a_cycle_goes_and_is_reported() {
        let cyclic =
            graph(vec![edge(0, 1, 0.001), edge(1, 2, 0.04), edge(2, 0, 0.01), edge(2, 3, 0.05)]);
        let (free, dropped) = cyclic.without_cycles(&Knowledge::none());
        assert_eq!(dropped, [Dropped { edge: edge(1, 2, 0.04), cycle: 3 }]);
        assert_eq!(free.edges.len(), 3);
        let required = Knowledge { required: [(1, 2)].into(), ..Knowledge::none() };
        let (_, dropped) = cyclic.without_cycles(&required);
        assert_eq!((dropped[0].edge.from, dropped[0].edge.to), (2, 0), "required edges go last");
    }

    #[test]
    fn loops_are_cycles_of_one() {
        let (free, dropped) =
            graph(vec![edge(0, 0, 0.0), edge(0, 1, 0.0)]).without_cycles(&Knowledge::none());
        assert_eq!((free.edges.len(), dropped.len(), dropped[0].cycle), (1, 1, 1));
    }

    #[test]
    fn topology_permits_influence_against_the_calls() {
        use aiops_core::{Edge, EdgeKind, NodeKind, Timestamp};
        let mut topology = Topology::new();
        let [api, db] =
            ["api", "db"].map(|n| topology.upsert_node(n, NodeKind::Service, Timestamp::EPOCH));
        topology.upsert_edge(api, db, Edge::new(EdgeKind::Calls, "t", Timestamp::EPOCH)).unwrap();
        let services = [Some("api"), Some("db"), None];
        let known = Knowledge::from_topology(&topology, &services, Hops::All);
        assert!(known.permits(1, 0), "the callee influences the caller");
        assert!(!known.permits(0, 1));
        assert!(known.permits(0, 2) && known.permits(2, 1), "nothing is known of the third");
    }
}
