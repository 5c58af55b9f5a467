//! One causal graph of services from two sources: what the topology says, and what the data show.

use crate::discover::{
    CausalDiscovery, CausalEdge, CausalGraph, ConditionalGrangerConfig, Knowledge, Mark, TidyConfig,
};
use crate::error::within;
use crate::{Error, Result};
use aiops_core::{EdgeKind, Frame, Hops, Labels, SeriesKey, Topology};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How discovered influences join those of the topology.
///
/// Rows are tidied ([`TidyConfig`]), tested by conditional Granger causality, and gathered by service;
/// of several tests between two services the one with the smallest p-value counts. An influence that
/// the topology permits (against the calls, over any number of hops) has the weight `permitted`; one
/// between services of which the topology says nothing has `unknown`; one that goes the wrong way, with
/// the calls and not against them, is left out. Edges of the topology itself weigh 1. Then cycles are
/// broken at the weakest edge, discovered ones by their p-value before any of the topology.
///
/// ```
/// use aiops_core::{Frame, SeriesKey, Timestamp, Topology};
/// use aiops_rca::{FusionConfig, Why};
/// use std::time::Duration;
///
/// // `b` repeats the last step of `a`; nobody declared that it depends on it.
/// let noise = |t: u64| ((t * t * 7919 + t * 31) % 97) as f64 / 97.0;
/// let a: Vec<f64> = (0..300).map(noise).collect();
/// let b = (0..300).map(|t| if t == 0 { 0.0 } else { a[t - 1] + 0.1 * noise(t as u64 + 999) });
/// let values = a.iter().copied().chain(b).collect();
/// let keys = ["a", "b"].map(|s| SeriesKey::new("latency", [("service", s)])).to_vec();
/// let data = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values)?;
///
/// let fused = FusionConfig::default().fuse(&Topology::new(), &data, &[Some("a"), Some("b")])?;
/// assert_eq!((fused.edges[0].cause.as_str(), fused.edges[0].effect.as_str()), ("a", "b"));
/// assert!(matches!(fused.edges[0].why, Why::Discovered { lag: 1, .. }));
/// # Ok::<(), aiops_rca::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FusionConfig {
    /// How rows are made fit.
    pub tidy: TidyConfig,
    /// The test.
    pub granger: ConditionalGrangerConfig,
    /// Weight of a discovered influence that the topology permits. Default 0.5 (a guess).
    pub permitted: f64,
    /// Weight of one of which the topology says nothing. Default 0.2 (a guess).
    pub unknown: f64,
}

impl Default for FusionConfig {
    fn default() -> Self {
        FusionConfig {
            tidy: TidyConfig::default(),
            granger: ConditionalGrangerConfig { level: 0.01, ..Default::default() },
            permitted: 0.5,
            unknown: 0.2,
        }
    }
}

/// Why an edge is in a fused graph.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Why {
    /// The topology has it.
    Topology {
        /// As what.
        kind: EdgeKind,
    },
    /// The data show it.
    Discovered {
        /// The adjusted p-value of its test.
        p_value: f64,
        /// Steps from cause to effect.
        lag: u32,
        /// Whether the topology has a way from cause to effect.
        permitted: bool,
    },
}

/// "Trouble of `cause` can produce trouble of `effect`."
#[derive(Debug, Clone, PartialEq)]
pub struct FusedEdge {
    /// The service that trouble comes from.
    pub cause: String,
    /// The one that it reaches.
    pub effect: String,
    /// How far to believe it, in 0..=1.
    pub weight: f64,
    /// Why it is here.
    pub why: Why,
}

/// A directed graph of services without cycles.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FusedGraph {
    /// The edges, by cause and effect.
    pub edges: Vec<FusedEdge>,
    /// What was dropped to break cycles.
    pub dropped: Vec<FusedEdge>,
}

impl FusionConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn check(&self) -> Result<()> {
        self.tidy.clone().build()?;
        self.granger.clone().build()?;
        within("permitted", self.permitted, 0.0, 1.0)?;
        within("unknown", self.unknown, 0.0, 1.0)
    }

    /// Fuses the topology with what `data`, which should be normal time, shows. `services` holds the
    /// service of each row. Too little data, or rows that cannot be told apart, leave the topology.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when there is not one service for each row, and those of
    /// [`check`](Self::check).
    pub fn fuse(
        &self,
        topology: &Topology,
        data: &Frame,
        services: &[Option<&str>],
    ) -> Result<FusedGraph> {
        self.check()?;
        let (expected, got) = (data.n_series(), services.len());
        if expected != got {
            return Err(Error::Mismatch { what: "services of the rows", expected, got });
        }
        let names: BTreeSet<&str> = services
            .iter()
            .flatten()
            .copied()
            .chain(topology.nodes().map(|(_, node)| node.name.as_str()))
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        let place = |name: &str| names.binary_search(&name).ok();

        let mut why: BTreeMap<(usize, usize), (f64, Why)> = BTreeMap::new();
        for (from, to, edge) in topology.edges().filter(|(_, _, e)| e.kind.is_dependency()) {
            let ends = (topology.name(to).and_then(place), topology.name(from).and_then(place));
            if let (Some(cause), Some(effect)) = ends {
                why.insert((cause, effect), (1.0, Why::Topology { kind: edge.kind }));
            }
        }
        for edge in self.discovered(data, services)? {
            let ends = (services[edge.from].and_then(place), services[edge.to].and_then(place));
            let (Some(cause), Some(effect)) = ends else { continue };
            if cause == effect {
                continue;
            }
            let pair = [names[cause], names[effect]].map(Some);
            let knowledge = Knowledge::from_topology(topology, &pair, Hops::All);
            let known = topology.node_id(names[cause]).is_some()
                && topology.node_id(names[effect]).is_some();
            let permitted = known && knowledge.permits(0, 1);
            // With the calls and not against them: the effect is what the cause depends on.
            if known && !permitted && knowledge.permits(1, 0) {
                continue;
            }
            let weight = if permitted { self.permitted } else { self.unknown };
            let found = Why::Discovered { p_value: edge.p_value, lag: edge.lag, permitted };
            let entry = why.entry((cause, effect)).or_insert((weight, found));
            if let Why::Discovered { p_value, .. } = entry.1
                && edge.p_value < p_value
            {
                *entry = (weight, found);
            }
        }
        Ok(acyclic(&names, &why))
    }

    fn discovered(&self, data: &Frame, services: &[Option<&str>]) -> Result<Vec<CausalEdge>> {
        if self.permitted == 0.0 && self.unknown == 0.0 {
            return Ok(vec![]);
        }
        // Two rows of one service say nothing about others: leave those tests out.
        let same = |a: usize, b: usize| services[a].is_some() && services[a] == services[b];
        let rows = services.len();
        let pairs = (0..rows).flat_map(|a| (0..rows).map(move |b| (a, b)));
        let forbidden = pairs.filter(|&(a, b)| a != b && same(a, b)).collect();
        let knowledge = Knowledge { forbidden, ..Knowledge::none() };
        let method = self.tidy.clone().build()?.before(self.granger.clone().build()?);
        match method.discover(data, &knowledge) {
            Ok(graph) => Ok(graph.edges),
            Err(Error::NotEnoughData { .. } | Error::Singular { .. }) => Ok(vec![]),
            Err(error) => Err(error),
        }
    }
}

fn acyclic(names: &[&str], why: &BTreeMap<(usize, usize), (f64, Why)>) -> FusedGraph {
    let variables = names.iter().map(|name| SeriesKey::new(*name, Labels::new())).collect();
    let edge = |(&(from, to), (weight, why)): (&(usize, usize), &(f64, Why))| CausalEdge {
        from,
        to,
        lag: 0,
        mark: Mark::Directed,
        strength: *weight,
        p_value: match why {
            Why::Topology { .. } => 0.0,
            // Above every edge of the topology, however small.
            Why::Discovered { p_value, .. } => p_value.max(f64::MIN_POSITIVE),
        },
    };
    let graph = CausalGraph::new(variables, why.iter().map(edge).collect());
    let (kept, dropped) = graph.without_cycles(&Knowledge::none());
    let fused = |edge: &CausalEdge| {
        let (weight, why) = why[&(edge.from, edge.to)];
        let [cause, effect] = [edge.from, edge.to].map(|row| names[row].to_owned());
        FusedEdge { cause, effect, weight, why }
    };
    FusedGraph {
        edges: kept.edges.iter().map(fused).collect(),
        dropped: dropped.iter().map(|dropped| fused(&dropped.edge)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Edge, NodeKind, Timestamp};
    use std::time::Duration;

    fn topology(calls: &[(&str, &str)]) -> Topology {
        let mut topology = Topology::new();
        for (from, to) in calls {
            let [from, to] =
                [from, to].map(|n| topology.upsert_node(n, NodeKind::Service, Timestamp::EPOCH));
            let edge = Edge::new(EdgeKind::Calls, "test", Timestamp::EPOCH);
            topology.upsert_edge(from, to, edge).unwrap();
        }
        topology
    }

    /// Each service follows the one before it by a step.
    fn chain(names: &[&str]) -> Frame {
        let steps = 400;
        let mut state = 3_u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
            (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
        };
        let mut rows = vec![vec![0.0; steps]; names.len()];
        for t in 1..steps {
            for row in 0..names.len() {
                let before = if row > 0 { 0.8 * rows[row - 1][t - 1] } else { 0.0 };
                rows[row][t] = before + noise();
            }
        }
        let keys = names.iter().map(|n| SeriesKey::new("latency", [("service", *n)])).collect();
        Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), rows.concat()).unwrap()
    }

    #[test]
    fn the_topology_stays_and_what_it_permits_is_added() {
        // gateway calls api calls db; the data show db -> api -> gateway -> cron.
        let topology = topology(&[("gateway", "api"), ("api", "db")]);
        let names = ["db", "api", "gateway", "cron"];
        let services = names.map(Some);
        let fused = FusionConfig::default().fuse(&topology, &chain(&names), &services).unwrap();
        let of = |cause: &str, effect: &str| {
            fused.edges.iter().find(|e| e.cause == cause && e.effect == effect)
        };
        assert!(matches!(of("db", "api").unwrap().why, Why::Topology { .. }));
        let cron = of("gateway", "cron").unwrap();
        assert!(matches!(cron.why, Why::Discovered { permitted: false, lag: 1, .. }), "{cron:?}");
        assert_eq!(cron.weight, 0.2);
        assert_eq!(fused.dropped, []);
    }

    #[test]
    fn what_goes_with_the_calls_is_left_out_and_cycles_are_broken() {
        // The data show api -> db, but api calls db: trouble travels the other way.
        let names = ["api", "db"];
        let services = names.map(Some);
        let data = chain(&names);
        let fused = FusionConfig::default().fuse(&topology(&[("api", "db")]), &data, &services);
        let fused = fused.unwrap();
        assert_eq!(fused.edges.len(), 1);
        assert_eq!((fused.edges[0].cause.as_str(), fused.edges[0].effect.as_str()), ("db", "api"));
        // Mutual calls: one of the two goes, and is reported.
        let mutual = topology(&[("api", "db"), ("db", "api")]);
        let fused = FusionConfig::default().fuse(&mutual, &data, &services).unwrap();
        assert_eq!((fused.edges.len(), fused.dropped.len()), (1, 1));
    }

    #[test]
    fn too_little_data_leaves_the_topology() {
        let data = chain(&["api", "db"]).slice(0, 5).unwrap();
        let known = topology(&[("api", "db")]);
        let fused = FusionConfig::default().fuse(&known, &data, &[Some("api"), Some("db")]);
        assert_eq!(fused.unwrap().edges.len(), 1);
    }
}
