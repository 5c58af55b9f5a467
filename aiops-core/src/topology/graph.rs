//! Nodes and edges on a petgraph `StableDiGraph`, with names, kinds, ages and a revision.

use super::closure::{ClosureCache, Depends};
use crate::{Error, Result, Timestamp};
use petgraph::Direction;
use petgraph::stable_graph::{EdgeIndex, NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What a node is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// Something that is called: a service, a database, a queue.
    #[default]
    Service,
    /// A machine or virtual machine.
    Host,
    /// One running copy of a service.
    Instance,
    /// What owns others: a deployment, a team, an application.
    Group,
    /// Anything else.
    Other,
}

/// What an edge means. Always from the one that depends to the one that is depended on, except for
/// [`Owns`](EdgeKind::Owns), which carries no dependency.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EdgeKind {
    /// Caller to callee.
    #[default]
    Calls,
    /// A service or instance to what it runs on.
    RunsOn,
    /// A group to its member. Membership only: trouble does not travel along it.
    Owns,
    /// A dependency that somebody declared and nothing observed yet.
    Declared,
}

impl EdgeKind {
    /// Whether trouble at the far end can produce trouble at the near end.
    pub const fn is_dependency(self) -> bool {
        !matches!(self, EdgeKind::Owns)
    }
}

/// A node's index: dense, process-local, stable while the node exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// As a column index; below [`Topology::columns`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn raw(self) -> NodeIndex {
        NodeIndex::new(self.index())
    }

    pub(super) fn from_raw(index: NodeIndex) -> Self {
        NodeId(index.index() as u32)
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, unique in the topology.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// When a source last confirmed it.
    pub last_seen: Timestamp,
}

/// An edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// What it means.
    pub kind: EdgeKind,
    /// How strongly the dependency is used, for example the share of calls; 1 when unknown.
    pub weight: f64,
    /// How surely it exists, between 0 and 1.
    pub confidence: f64,
    /// Who said so, for example `otel` or `declared`.
    pub source: String,
    /// When a source first saw it.
    pub first_seen: Timestamp,
    /// When a source last saw it.
    pub last_seen: Timestamp,
}

impl Edge {
    /// An edge of weight and confidence 1, seen at `now`.
    pub fn new(kind: EdgeKind, source: impl Into<String>, now: Timestamp) -> Self {
        let source = source.into();
        Edge { kind, weight: 1.0, confidence: 1.0, source, first_seen: now, last_seen: now }
    }
}

/// What depends on what: a directed graph whose edges point from a dependent to its dependency.
///
/// Every change of structure raises the [`revision`](Self::revision). Closures are cached and kept
/// up to date: an added edge extends the closures that it concerns, a removed one drops only those
/// that could have used it. Parallel edges of different kinds may exist between two nodes; a second
/// edge of the same kind updates the first.
///
/// Cost: a fresh cached closure is one hash look-up; a recomputed one is linear in the edges reached.
///
/// ```
/// use aiops_core::{Depends, Edge, EdgeKind, Hops, NodeKind, Timestamp, Topology};
///
/// let now = Timestamp::EPOCH;
/// let mut topology = Topology::new();
/// let [gateway, api, db] = ["gateway", "api", "db"].map(|n| topology.upsert_node(n, NodeKind::Service, now));
/// topology.upsert_edge(gateway, api, Edge::new(EdgeKind::Calls, "declared", now))?;
/// topology.upsert_edge(api, db, Edge::new(EdgeKind::Calls, "declared", now))?;
///
/// let closure = topology.closure(db, Depends::Dependents, Hops::All);
/// assert_eq!(closure.hops_to(gateway), Some(2), "trouble in db reaches the gateway over 2 hops");
/// assert!(!closure.saturated);
/// # Ok::<(), aiops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Topology {
    pub(super) graph: StableDiGraph<Node, Edge>,
    names: FxHashMap<String, NodeId>,
    pub(super) revision: u64,
    pub(super) observed_at: Timestamp,
    pub(super) limits: ClosureLimits,
    pub(super) cache: ClosureCache,
}

/// What keeps a closure from growing without bound; see [`Topology::with_closure_limits`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ClosureLimits {
    pub(super) max_nodes: usize,
    pub(super) max_fan: usize,
}

impl Default for Topology {
    fn default() -> Self {
        Topology::new()
    }
}

impl Clone for Topology {
    /// The same graph and revision with an empty cache.
    fn clone(&self) -> Self {
        Topology {
            graph: self.graph.clone(),
            names: self.names.clone(),
            revision: self.revision,
            observed_at: self.observed_at,
            limits: self.limits,
            cache: ClosureCache::default(),
        }
    }
}

impl Topology {
    /// An empty topology whose closures stop at 100,000 nodes and do not pass through a node with
    /// more than 10,000 neighbours on the far side. Both limits are guesses: far above what a call
    /// graph of 5,000 services needs, low enough to keep one closure under a megabyte.
    pub fn new() -> Self {
        Topology {
            graph: StableDiGraph::new(),
            names: FxHashMap::default(),
            revision: 0,
            observed_at: Timestamp::MIN,
            limits: ClosureLimits { max_nodes: 100_000, max_fan: 10_000 },
            cache: ClosureCache::default(),
        }
    }

    /// The same topology with other limits on closures: at most `max_nodes` nodes in one, and no
    /// way through a node with more than `max_fan` neighbours (a hub: everything is "near"
    /// everything through it). A closure that a limit cut is marked `saturated`.
    #[must_use]
    pub fn with_closure_limits(mut self, max_nodes: usize, max_fan: usize) -> Self {
        self.limits = ClosureLimits { max_nodes, max_fan };
        self.cache = ClosureCache::default();
        self
    }

    /// The node of this name; made when there is none, otherwise confirmed at `now`.
    ///
    /// A known node keeps its kind unless it was [`NodeKind::Other`].
    pub fn upsert_node(&mut self, name: &str, kind: NodeKind, now: Timestamp) -> NodeId {
        self.observed_at = self.observed_at.max(now);
        if let Some(&id) = self.names.get(name) {
            let node = &mut self.graph[id.raw()];
            node.last_seen = node.last_seen.max(now);
            if node.kind == NodeKind::Other {
                node.kind = kind;
            }
            return id;
        }
        let index = self.graph.add_node(Node { name: name.to_owned(), kind, last_seen: now });
        let id = NodeId::from_raw(index);
        self.names.insert(name.to_owned(), id);
        self.revision += 1;
        id
    }

    /// Adds a dependency, or confirms the one of the same kind: then `first_seen` is kept and
    /// weight, confidence and source are replaced.
    ///
    /// # Errors
    /// [`Error::Unknown`] when a node does not exist, [`Error::InvalidConfig`] when the weight is
    /// not finite and positive, the confidence is outside 0..=1, or a node would depend on itself.
    pub fn upsert_edge(&mut self, from: NodeId, to: NodeId, mut edge: Edge) -> Result<()> {
        for id in [from, to] {
            if !self.graph.contains_node(id.raw()) {
                return Err(Error::Unknown { what: "node", name: format!("{id:?}"), hint: None });
            }
        }
        if !(edge.weight > 0.0 && edge.weight.is_finite()) {
            let reason = format!("must be finite and > 0, got {}", edge.weight);
            return Err(Error::config("weight of an edge", reason));
        }
        if !(0.0..=1.0).contains(&edge.confidence) {
            let reason = format!("must be between 0 and 1, got {}", edge.confidence);
            return Err(Error::config("confidence of an edge", reason));
        }
        if from == to {
            let reason = format!("{:?} cannot depend on itself", self.name(from).unwrap_or("?"));
            return Err(Error::config("edge", reason));
        }
        self.observed_at = self.observed_at.max(edge.last_seen);
        if let Some(known) = self.edge_index(from, to, edge.kind) {
            let known = &mut self.graph[known];
            edge.first_seen = edge.first_seen.min(known.first_seen);
            edge.last_seen = edge.last_seen.max(known.last_seen);
            *known = edge;
            return Ok(());
        }
        let is_dependency = edge.kind.is_dependency();
        self.graph.add_edge(from.raw(), to.raw(), edge);
        self.revision += 1;
        if is_dependency {
            self.extend_closures(from, to);
        }
        Ok(())
    }

    /// Removes the edge of this kind; whether there was one.
    pub fn remove_edge(&mut self, from: NodeId, to: NodeId, kind: EdgeKind) -> bool {
        let Some(edge) = self.edge_index(from, to, kind) else { return false };
        self.graph.remove_edge(edge);
        self.revision += 1;
        if kind.is_dependency() {
            self.cache.mark_stale(from, to);
        }
        true
    }

    /// Removes a node with its edges; whether it existed.
    pub fn remove_node(&mut self, id: NodeId) -> bool {
        let edges: Vec<_> = [Direction::Outgoing, Direction::Incoming]
            .into_iter()
            .flat_map(|way| self.graph.edges_directed(id.raw(), way))
            .map(|edge| (edge.source(), edge.target(), edge.weight().kind))
            .collect();
        for (from, to, kind) in edges {
            self.remove_edge(NodeId::from_raw(from), NodeId::from_raw(to), kind);
        }
        let Some(node) = self.graph.remove_node(id.raw()) else { return false };
        self.names.remove(&node.name);
        self.cache.forget(id);
        self.revision += 1;
        true
    }

    /// Removes edges, and nodes without edges, that no source has confirmed for `ttl`. Returns how
    /// many edges and nodes went.
    pub fn expire(&mut self, now: Timestamp, ttl: Duration) -> (usize, usize) {
        let old = |last_seen: Timestamp| now.since(last_seen) > ttl;
        let edges: Vec<_> = self
            .graph
            .edge_indices()
            .filter(|&e| old(self.graph[e].last_seen))
            .filter_map(|e| self.graph.edge_endpoints(e).map(|(a, b)| (a, b, self.graph[e].kind)))
            .collect();
        for &(from, to, kind) in &edges {
            self.remove_edge(NodeId::from_raw(from), NodeId::from_raw(to), kind);
        }
        let nodes: Vec<_> = self
            .graph
            .node_indices()
            .filter(|&n| old(self.graph[n].last_seen))
            .filter(|&n| self.graph.neighbors_undirected(n).next().is_none())
            .collect();
        for &node in &nodes {
            self.remove_node(NodeId::from_raw(node));
        }
        (edges.len(), nodes.len())
    }

    /// The node of this name.
    pub fn node_id(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    /// The node of this name, or an error that suggests the closest name.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn require(&self, name: &str) -> Result<NodeId> {
        self.node_id(name).ok_or_else(|| {
            let names = self.graph.node_weights().map(|node| node.name.as_str());
            let hint = crate::text::closest(name, names).map(str::to_owned);
            Error::Unknown { what: "node", name: name.to_owned(), hint }
        })
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.graph.node_weight(id.raw())
    }

    /// The name of a node.
    pub fn name(&self, id: NodeId) -> Option<&str> {
        self.node(id).map(|node| node.name.as_str())
    }

    /// The edge of this kind between two nodes.
    pub fn edge(&self, from: NodeId, to: NodeId, kind: EdgeKind) -> Option<&Edge> {
        self.edge_index(from, to, kind).map(|index| &self.graph[index])
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        let ids = self.graph.node_indices();
        ids.map(|index| (NodeId::from_raw(index), &self.graph[index]))
    }

    /// All edges as (dependent, dependency, edge), in the order they were added.
    pub fn edges(&self) -> impl Iterator<Item = (NodeId, NodeId, &Edge)> {
        self.graph.edge_indices().filter_map(|index| {
            let (from, to) = self.graph.edge_endpoints(index)?;
            Some((NodeId::from_raw(from), NodeId::from_raw(to), &self.graph[index]))
        })
    }

    /// The nodes one hop away, each once, in the order of their ids.
    pub fn neighbours(&self, id: NodeId, way: Depends) -> Vec<NodeId> {
        if !self.graph.contains_node(id.raw()) {
            return Vec::new();
        }
        let edges = self.graph.edges_directed(id.raw(), way.direction());
        let mut ids: Vec<_> = edges
            .filter(|edge| edge.weight().kind.is_dependency())
            .map(|edge| match way {
                Depends::Dependencies => NodeId::from_raw(edge.target()),
                Depends::Dependents => NodeId::from_raw(edge.source()),
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.graph.node_count() == 0
    }

    /// One more than the largest index of a node: how long a column over nodes must be.
    pub fn columns(&self) -> usize {
        self.graph.node_indices().next_back().map_or(0, |index| index.index() + 1)
    }

    /// Rises with every change of structure.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When a source last confirmed anything; [`Timestamp::MIN`] for an empty topology.
    pub fn observed_at(&self) -> Timestamp {
        self.observed_at
    }

    fn edge_index(&self, from: NodeId, to: NodeId, kind: EdgeKind) -> Option<EdgeIndex> {
        let mut edges = self.graph.edges_connecting(from.raw(), to.raw());
        edges.find(|edge| edge.weight().kind == kind).map(|edge| edge.id())
    }
}
