//! One graph of what several sources say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiops_core::{Edge, EdgeKind, NodeKind, Timestamp, Topology};
use serde::{Deserialize, Serialize};

use super::Sighting;
use crate::{Error, Result};

/// How a source knows what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// It saw it happen: edges grow old when they are not seen again.
    Observed,
    /// Somebody wrote it down: edges stay until the source no longer says so.
    Declared,
}

/// How sources are merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopologyMergeConfig {
    /// How long an observed edge stays without being seen. Default 5 minutes.
    pub ttl: Duration,
    /// How surely an edge exists that one observer saw. Default 0.95 (a guess).
    pub observed: f64,
    /// How surely an edge exists that one person declared. Default 0.6 (a guess): lists are often
    /// stale.
    pub declared: f64,
}

impl Default for TopologyMergeConfig {
    fn default() -> Self {
        TopologyMergeConfig { ttl: Duration::from_secs(300), observed: 0.95, declared: 0.6 }
    }
}

impl TopologyMergeConfig {
    /// A merge without sources.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the setting that is out of range.
    pub fn build(self) -> Result<TopologyMerge> {
        for (field, value) in [("observed", self.observed), ("declared", self.declared)] {
            if !(value > 0.0 && value <= 1.0) {
                let reason = format!("must be above 0 and at most 1, got {value}");
                return Err(Error::config(field, reason));
            }
        }
        if self.ttl.is_zero() {
            return Err(Error::config("ttl", "must be longer than zero"));
        }
        Ok(TopologyMerge {
            config: self,
            edges: BTreeMap::new(),
            kinds: BTreeMap::new(),
            applied: BTreeSet::new(),
        })
    }
}

type EdgeKey = (String, String, EdgeKind);

#[derive(Debug, Clone)]
struct Seen {
    kind: SourceKind,
    weight: f64,
    first: Timestamp,
    last: Timestamp,
}

/// What [`TopologyMerge::apply`] did to a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// Edges that were not there before.
    pub added: usize,
    /// Edges that were there and are confirmed.
    pub confirmed: usize,
    /// Edges that no source says any more.
    pub removed: usize,
}

/// What sources said, until it is too old; and the graph that follows from it.
///
/// - The confidence of an edge that several sources know is `1 - Π (1 - c)` over them: that they
///   agree makes it surer.
/// - Its weight is that of the observer who saw it last, or else of the list.
/// - A dependency that was declared and is observed as a call is a call; what is left of the
///   declaration is its confidence.
/// - An edge that no source says any more is removed from the topology. Edges and nodes that came
///   there in another way are left alone.
///
/// Memory is bounded by what the sources say within a time to live. Late sightings never make an
/// edge younger.
#[derive(Debug, Clone)]
pub struct TopologyMerge {
    config: TopologyMergeConfig,
    edges: BTreeMap<EdgeKey, BTreeMap<String, Seen>>,
    kinds: BTreeMap<String, NodeKind>,
    applied: BTreeSet<EdgeKey>,
}

impl TopologyMerge {
    /// Takes in what `source` saw at `now`. A list that was declared is complete: what the same
    /// source declared before and does not any more is forgotten.
    pub fn saw(
        &mut self,
        source: &str,
        kind: SourceKind,
        sightings: impl IntoIterator<Item = Sighting>,
        now: Timestamp,
    ) {
        if kind == SourceKind::Declared {
            for sources in self.edges.values_mut() {
                sources.retain(|name, seen| {
                    name != source || seen.kind != SourceKind::Declared || seen.last > now
                });
            }
        }
        for sighting in sightings {
            let Sighting { from, from_kind, to, to_kind, kind: edge, weight } = sighting;
            for (name, kind) in [(&from, from_kind), (&to, to_kind)] {
                let known = self.kinds.entry(name.clone()).or_insert(kind);
                if matches!(known, NodeKind::Service | NodeKind::Other) {
                    *known = kind;
                }
            }
            let sources = self.edges.entry((from, to, edge)).or_default();
            let fresh = Seen { kind, weight, first: now, last: now };
            let seen = sources.entry(source.to_owned()).or_insert(fresh);
            if seen.last <= now {
                *seen = Seen { kind, weight, first: seen.first, last: now };
            }
        }
    }

    /// Makes `topology` say what the sources say at `now`, and forgets what is too old.
    pub fn apply(&mut self, topology: &mut Topology, now: Timestamp) -> Merged {
        let ttl = self.config.ttl;
        let fresh = |seen: &Seen| seen.kind == SourceKind::Declared || now.since(seen.last) <= ttl;
        self.edges.retain(|_, sources| {
            sources.retain(|_, seen| fresh(seen));
            !sources.is_empty()
        });
        let mut merged = Merged::default();
        let mut wanted: BTreeMap<EdgeKey, Edge> = BTreeMap::new();
        for ((from, to, kind), sources) in &self.edges {
            let call = (from.clone(), to.clone(), EdgeKind::Calls);
            let is_called = *kind == EdgeKind::Declared && self.edges.contains_key(&call);
            let key = if is_called { call } else { (from.clone(), to.clone(), *kind) };
            let edge = self.edge(key.2, sources);
            wanted
                .entry(key)
                .and_modify(|known| {
                    known.confidence = together(known.confidence, edge.confidence);
                    known.source = format!("{}+{}", known.source, edge.source);
                    known.first_seen = known.first_seen.min(edge.first_seen);
                    if !is_called {
                        (known.weight, known.last_seen) = (edge.weight, edge.last_seen);
                    }
                })
                .or_insert(edge);
        }
        for (from, to, kind) in &self.applied {
            let gone = !wanted.contains_key(&(from.clone(), to.clone(), *kind));
            if gone
                && let (Some(a), Some(b)) = (topology.node_id(from), topology.node_id(to))
                && topology.remove_edge(a, b, *kind)
            {
                merged.removed += 1;
            }
        }
        for ((from, to, kind), edge) in &wanted {
            let [a, b] = [from, to].map(|name| {
                let node_kind = self.kinds.get(name).copied().unwrap_or_default();
                topology.upsert_node(name, node_kind, edge.last_seen)
            });
            let known = topology.edge(a, b, *kind).is_some();
            // Sources were checked where they were read; what does not fit is no edge.
            if topology.upsert_edge(a, b, edge.clone()).is_ok() {
                *(if known { &mut merged.confirmed } else { &mut merged.added }) += 1;
            }
        }
        self.applied = wanted.into_keys().collect();
        self.kinds
            .retain(|name, _| self.edges.keys().any(|(from, to, _)| from == name || to == name));
        merged
    }

    fn edge(&self, kind: EdgeKind, sources: &BTreeMap<String, Seen>) -> Edge {
        let confidence = sources.values().fold(0.0, |sure, seen| {
            let one = match seen.kind {
                SourceKind::Observed => self.config.observed,
                SourceKind::Declared => self.config.declared,
            };
            together(sure, one)
        });
        let by_age = |seen: &&Seen| (seen.kind == SourceKind::Observed, seen.last);
        let decisive = sources.values().max_by_key(by_age);
        let first = sources.values().map(|seen| seen.first).min().unwrap_or_default();
        let names: Vec<&str> = sources.keys().map(String::as_str).collect();
        Edge {
            kind,
            weight: decisive.map_or(1.0, |seen| seen.weight),
            confidence,
            source: names.join("+"),
            first_seen: first,
            last_seen: decisive.map_or(first, |seen| seen.last),
        }
    }
}

fn together(a: f64, b: f64) -> f64 {
    1.0 - (1.0 - a) * (1.0 - b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn edge_of(topology: &Topology, from: &str, to: &str, kind: EdgeKind) -> Option<Edge> {
        let (from, to) = (topology.node_id(from)?, topology.node_id(to)?);
        topology.edge(from, to, kind).cloned()
    }

    #[test]
    fn agreement_makes_an_edge_surer_and_age_removes_it() {
        let mut merge = TopologyMergeConfig::default().build().unwrap();
        let mut topology = Topology::new();
        merge.saw("otel", SourceKind::Observed, [Sighting::call("api", "db", 0.3)], at(0));
        merge.saw("jaeger", SourceKind::Observed, [Sighting::call("api", "db", 0.4)], at(200));
        let merged = merge.apply(&mut topology, at(200));
        assert_eq!(merged, Merged { added: 1, ..Merged::default() });
        let edge = edge_of(&topology, "api", "db", EdgeKind::Calls).unwrap();
        assert!((edge.confidence - 0.9975).abs() < 1e-12);
        assert_eq!((edge.weight, edge.source.as_str()), (0.4, "jaeger+otel"));

        merge.apply(&mut topology, at(400));
        let edge = edge_of(&topology, "api", "db", EdgeKind::Calls).unwrap();
        assert_eq!((edge.confidence, edge.source.as_str()), (0.95, "jaeger"), "otel is too old");
        assert_eq!(merge.apply(&mut topology, at(501)).removed, 1);
        assert_eq!(edge_of(&topology, "api", "db", EdgeKind::Calls), None);
        assert!(merge.edges.is_empty() && merge.kinds.is_empty(), "and nothing is kept");
    }

    #[test]
    fn a_declaration_stays_until_its_list_no_longer_has_it() {
        let mut merge = TopologyMergeConfig::default().build().unwrap();
        let mut topology = Topology::new();
        let declared =
            |from, to| Sighting { kind: EdgeKind::Declared, ..Sighting::call(from, to, 1.0) };
        let list = [declared("api", "db"), declared("api", "cache")];
        merge.saw("wiki", SourceKind::Declared, list, at(0));
        assert_eq!(merge.apply(&mut topology, at(1_000_000)).added, 2);
        merge.saw("wiki", SourceKind::Declared, [declared("api", "db")], at(2_000_000));
        assert_eq!(merge.apply(&mut topology, at(2_000_000)).removed, 1);
        assert!(edge_of(&topology, "api", "db", EdgeKind::Declared).is_some());
    }

    #[test]
    fn a_declared_dependency_that_is_observed_is_a_call() {
        let mut merge = TopologyMergeConfig::default().build().unwrap();
        let mut topology = Topology::new();
        let declared = Sighting { kind: EdgeKind::Declared, ..Sighting::call("api", "db", 1.0) };
        merge.saw("wiki", SourceKind::Declared, [declared], at(0));
        merge.apply(&mut topology, at(0));
        merge.saw("otel", SourceKind::Observed, [Sighting::call("api", "db", 0.5)], at(10));
        let merged = merge.apply(&mut topology, at(10));
        assert_eq!((merged.added, merged.removed), (1, 1));
        let edge = edge_of(&topology, "api", "db", EdgeKind::Calls).unwrap();
        assert!((edge.confidence - 0.98).abs() < 1e-12);
        assert_eq!((edge.weight, edge.source.as_str()), (0.5, "otel+wiki"));
        assert_eq!(edge_of(&topology, "api", "db", EdgeKind::Declared), None);
        merge.apply(&mut topology, at(1_000));
        assert!(edge_of(&topology, "api", "db", EdgeKind::Declared).is_some(), "unseen again");
    }

    #[test]
    fn what_came_there_otherwise_is_left_alone() {
        let mut topology = Topology::new();
        let [a, b] = ["x", "y"].map(|n| topology.upsert_node(n, NodeKind::Service, at(0)));
        topology.upsert_edge(a, b, Edge::new(EdgeKind::Calls, "by hand", at(0))).unwrap();
        let mut merge = TopologyMergeConfig::default().build().unwrap();
        assert_eq!(merge.apply(&mut topology, at(10_000)), Merged::default());
        assert!(edge_of(&topology, "x", "y", EdgeKind::Calls).is_some());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let default = TopologyMergeConfig::default;
        assert!(TopologyMergeConfig { observed: f64::NAN, ..default() }.build().is_err());
        assert!(TopologyMergeConfig { declared: 0.0, ..default() }.build().is_err());
        assert!(TopologyMergeConfig { ttl: Duration::ZERO, ..default() }.build().is_err());
    }
}
