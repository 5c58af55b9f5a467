//! Ranking by anomaly traversal: down the dependencies while they are abnormal.

use super::magnitude::weigh;
use super::scorer::candidate;
use crate::error::within;
use crate::{Context, MagnitudeConfig, PrepareConfig, Result, RootCauseAnalyzer};
use aiops_core::{
    Depends, Edge, EdgeKind, Evidence, NodeId, NodeKind, Ranking, Reason, Timestamp, Topology,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Walks from the named symptoms (or, without any, from every abnormal service) along the
/// dependencies, through abnormal services only. Where the walk can go no deeper is a cause; the
/// services that it passed through keep a share of their weight, and those it never reached too.
///
/// What an engineer does by hand. Finds the deepest abnormal service; fails where a service on the
/// way is not measured or shows nothing, and is fooled by a slight tremor at the bottom. No timing,
/// no amounts.
///
/// Time O(rows x steps) for reading and O(edges) for the walk.
///
/// Source: the traversal of Chen, Qi, Zheng & Hou 2014 (CauseInfer) and of the notebook of PetShop
/// (Hardt et al. 2024). Deviations: weights are those of [`MagnitudeConfig`]; passed and unreached
/// services are ranked after the causes instead of being left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraversalConfig {
    /// How the window is read; its `abnormal` is what the walk goes by.
    pub prepare: PrepareConfig,
    /// How deviations are weighed.
    pub magnitude: MagnitudeConfig,
    /// Share of its weight for an abnormal service below which the walk went on. Default 0.1.
    pub passed: f64,
    /// Share of its weight for a service that the walk never reached. Default 0.05.
    pub unreached: f64,
    /// The score that the unknown weighs as much as. Default 3.
    pub unknown_score: f64,
}

impl Default for TraversalConfig {
    fn default() -> Self {
        TraversalConfig {
            prepare: PrepareConfig::default(),
            magnitude: MagnitudeConfig::default(),
            passed: 0.1,
            unreached: 0.05,
            unknown_score: 3.0,
        }
    }
}

impl TraversalConfig {
    /// Checks the values and builds the analyzer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Traversal> {
        self.prepare.check()?;
        self.magnitude.check()?;
        within("passed", self.passed, 0.0, 1.0)?;
        within("unreached", self.unreached, 0.0, 1.0)?;
        within("unknown_score", self.unknown_score, 0.0, 1e12)?;
        Ok(Traversal { config: self })
    }
}

/// The analyzer of [`TraversalConfig`].
#[derive(Debug, Clone)]
pub struct Traversal {
    config: TraversalConfig,
}

/// What the walk found of a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Never,
    OnTheWay,
    AtTheEnd,
}

impl RootCauseAnalyzer for Traversal {
    fn id(&self) -> &str {
        "traversal"
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        let config = &self.config;
        let prepared = config.prepare.prepare(context)?;
        let suspects = &prepared.suspects;
        let weights: Vec<_> = suspects
            .iter()
            .map(|suspect| weigh(&config.magnitude, &config.prepare, &prepared, suspect))
            .collect();
        let abnormal: Vec<bool> = weights.iter().map(|weight| weight.abnormal).collect();
        let mut heads = prepared.symptom_suspects();
        if heads.is_empty() {
            heads = (0..suspects.len()).filter(|&i| abnormal[i]).collect();
        }
        let index: BTreeMap<_, usize> =
            suspects.iter().enumerate().filter_map(|(i, s)| Some((s.node?, i))).collect();
        let below = |i: usize| -> Vec<usize> {
            let nodes =
                suspects[i].node.map(|n| context.topology.neighbours(n, Depends::Dependencies));
            let near = nodes.unwrap_or_default().into_iter();
            near.filter_map(|node| index.get(&node).copied()).filter(|&b| abnormal[b]).collect()
        };
        let met = walk(&heads, suspects.len(), below);
        let mut candidates = vec![];
        for (i, suspect) in suspects.iter().enumerate() {
            let (share, code, what) = match met[i] {
                Met::AtTheEnd => (1.0, "end_of_walk", "nothing below it is abnormal"),
                Met::OnTheWay => {
                    (config.passed, "on_the_walk", "something below it is abnormal too")
                }
                Met::Never => (config.unreached, "off_the_walk", "no abnormal way leads to it"),
            };
            let magnitude = weights[i].by.map(|by| {
                let deviation = &prepared.deviations[by];
                Evidence::Magnitude {
                    metric: deviation.metric(),
                    score: deviation.score,
                    expected: deviation.expected,
                    observed: deviation.observed,
                }
            });
            let reason = Reason::new(code, format!("{}: {what}", suspect.service));
            let evidence = magnitude.into_iter().chain([Evidence::Other { reason }]).collect();
            candidates.extend(candidate(&suspect.service, weights[i].value * share, evidence));
        }
        let unknown = config.magnitude.of_score(config.unknown_score, config.prepare.abnormal);
        let mut ranking = Ranking::from_weights(self.id(), candidates, unknown)?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

/// Breadth first; a head counts as met whether it is abnormal or not. A node is an end when no
/// abnormal one lies below it but such as the walk came from, so that the members of a cycle without
/// a way out are all ends.
fn walk(heads: &[usize], n: usize, below: impl Fn(usize) -> Vec<usize>) -> Vec<Met> {
    let mut met = vec![Met::Never; n];
    let mut queue: VecDeque<usize> = heads.iter().copied().collect();
    let mut seen: BTreeSet<usize> = heads.iter().copied().collect();
    let mut ways: Vec<(usize, Vec<usize>)> = vec![];
    while let Some(at) = queue.pop_front() {
        let deeper: Vec<usize> = below(at).into_iter().filter(|&b| b != at).collect();
        queue.extend(deeper.iter().copied().filter(|&b| seen.insert(b)));
        ways.push((at, deeper));
    }
    let cycles = cycles(n, &ways);
    for (at, deeper) in &ways {
        let onward = deeper.iter().any(|&b| cycles[b] != cycles[*at]);
        met[*at] = if onward { Met::OnTheWay } else { Met::AtTheEnd };
    }
    met
}

/// The same number for all that reach each other by the ways that were walked.
fn cycles(n: usize, ways: &[(usize, Vec<usize>)]) -> Vec<Option<usize>> {
    let mut walked = Topology::new();
    let node = |topology: &mut Topology, i: usize| {
        topology.upsert_node(&i.to_string(), NodeKind::Service, Timestamp::EPOCH)
    };
    let nodes: Vec<NodeId> = (0..n).map(|i| node(&mut walked, i)).collect();
    for (from, to) in ways.iter().flat_map(|(from, to)| to.iter().map(|to| (*from, *to))) {
        let edge = Edge::new(EdgeKind::Calls, "walked", Timestamp::EPOCH);
        // Neither a loop nor an unknown node: nothing that could be refused.
        let _ = walked.upsert_edge(nodes[from], nodes[to], edge);
    }
    let components = walked.components();
    nodes.iter().map(|node| components.of(*node)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_ends_where_nothing_deeper_is_abnormal() {
        // 0 -> 1 -> 2, 0 -> 3, and 4 apart; all abnormal.
        let edges = [vec![1, 3], vec![2], vec![], vec![], vec![]];
        let met = walk(&[0], 5, |i| edges[i].clone());
        assert_eq!(met, [Met::OnTheWay, Met::OnTheWay, Met::AtTheEnd, Met::AtTheEnd, Met::Never]);
    }

    #[test]
    fn a_long_chain_of_mutual_calls_is_walked_at_once() {
        let n = 20_000;
        let below = |i: usize| [i.wrapping_sub(1), i + 1].into_iter().filter(|&j| j < n).collect();
        assert_eq!(walk(&[0], n, below), vec![Met::AtTheEnd; n]);
    }

    #[test]
    fn members_of_a_closed_cycle_are_all_ends() {
        let edges = [vec![1], vec![2], vec![1]];
        let met = walk(&[0], 3, |i| edges[i].clone());
        assert_eq!(met, [Met::OnTheWay, Met::AtTheEnd, Met::AtTheEnd]);
    }
}
