//! Who is reachable from whom: cached closures, kept current as edges come and go.

use super::graph::{NodeId, Topology};
use crate::Timestamp;
use petgraph::Direction;
use petgraph::algo::kosaraju_scc;
use petgraph::visit::EdgeFiltered;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Which way to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depends {
    /// Towards what a node needs: callees, hosts. Where its trouble may come from.
    Dependencies,
    /// Towards who needs it: callers. Where its trouble may go.
    Dependents,
}

impl Depends {
    pub(super) const fn direction(self) -> Direction {
        match self {
            Depends::Dependencies => Direction::Outgoing,
            Depends::Dependents => Direction::Incoming,
        }
    }
}

/// How far to walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hops {
    /// At most so many edges.
    Within(u16),
    /// As far as it goes.
    All,
}

impl Hops {
    const fn limit(self) -> u32 {
        match self {
            Hops::Within(hops) => hops as u32,
            Hops::All => u32::MAX,
        }
    }
}

/// A node that was reached, and over how many edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// The node.
    pub node: NodeId,
    /// Length of the shortest way.
    pub hops: u32,
}

/// The nodes that one node reaches, itself not among them (also not through a cycle).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// Sorted by node.
    reached: Vec<Reached>,
    /// The revision of the topology that it describes.
    pub revision: u64,
    /// When a source had last confirmed the topology that it describes.
    pub as_of: Timestamp,
    /// A limit cut it short: nodes beyond a hub or beyond the size limit are missing. Whatever
    /// needs an upper bound (the blast radius of an action) must treat it as unbounded.
    pub saturated: bool,
}

impl Closure {
    /// The nodes with their distance, in the order of ids.
    pub fn reached(&self) -> &[Reached] {
        &self.reached
    }

    /// The distance to a node; `None` when it is not reached.
    pub fn hops_to(&self, node: NodeId) -> Option<u32> {
        let at = self.reached.binary_search_by_key(&node, |reached| reached.node).ok()?;
        Some(self.reached[at].hops)
    }

    /// Whether a node is reached.
    pub fn contains(&self, node: NodeId) -> bool {
        self.hops_to(node).is_some()
    }

    /// How many nodes are reached.
    pub fn len(&self) -> usize {
        self.reached.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.reached.is_empty()
    }

    /// How old the knowledge is that it rests on.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.as_of)
    }
}

/// Strongly connected components: nodes that need each other, directly or not, count as one.
///
/// Calls may be cyclic (retries, mutual calls). The condensed graph has no cycles, and every member
/// of a component has the same dependencies outside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    of: Vec<u32>,
    members: Vec<Vec<NodeId>>,
}

impl Components {
    /// The component of a node. Components are numbered so that a dependency never has a higher
    /// number than its dependents.
    pub fn of(&self, node: NodeId) -> Option<usize> {
        self.of.get(node.index()).filter(|&&c| c != u32::MAX).map(|&c| c as usize)
    }

    /// The nodes of each component, sorted.
    pub fn members(&self) -> &[Vec<NodeId>] {
        &self.members
    }

    /// Whether two nodes depend on each other.
    pub fn share(&self, a: NodeId, b: NodeId) -> bool {
        self.of(a).is_some() && self.of(a) == self.of(b)
    }
}

type Key = (NodeId, Depends, Hops);

/// Closures by (node, way, hops). An entry that is not `fresh` is kept for readers who accept age.
#[derive(Debug, Default)]
pub(super) struct ClosureCache(Mutex<FxHashMap<Key, Entry>>);

#[derive(Debug)]
struct Entry {
    closure: Arc<Closure>,
    fresh: bool,
}

impl ClosureCache {
    /// A thread that panicked while it held the lock left complete entries behind: every entry is
    /// replaced whole.
    fn entries(&self) -> MutexGuard<'_, FxHashMap<Key, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The edge `from -> to` is gone: closures that could have used it describe the past.
    pub(super) fn mark_stale(&self, from: NodeId, to: NodeId) {
        for (key, entry) in self.entries().iter_mut() {
            if enters(key, &entry.closure, from, to).is_some() {
                entry.fresh = false;
            }
        }
    }

    /// The node is gone.
    pub(super) fn forget(&self, node: NodeId) {
        self.entries().retain(|(root, ..), _| *root != node);
    }
}

/// Where a walk from the root of a closure enters an edge.
struct Entrance {
    near: NodeId,
    far: NodeId,
    /// Distance from the root to the near end.
    hops: u32,
}

/// Whether and where a walk from the root of `key` enters the edge `from -> to`.
fn enters(key: &Key, closure: &Closure, from: NodeId, to: NodeId) -> Option<Entrance> {
    let (near, far) = match key.1 {
        Depends::Dependencies => (from, to),
        Depends::Dependents => (to, from),
    };
    let hops = if near == key.0 { 0 } else { closure.hops_to(near)? };
    Some(Entrance { near, far, hops })
}

impl Topology {
    /// Everything within `hops` of `node`, from the cache when it is fresh.
    ///
    /// The result describes the current [`revision`](Self::revision). An unknown node reaches
    /// nothing.
    pub fn closure(&self, node: NodeId, way: Depends, hops: Hops) -> Arc<Closure> {
        let key = (node, way, hops);
        if let Some(entry) = self.cache.entries().get(&key).filter(|entry| entry.fresh) {
            return self.current(&entry.closure);
        }
        let closure = Arc::new(self.compute(key, Vec::new(), VecDeque::from([(node, 0)])));
        let entry = Entry { closure: Arc::clone(&closure), fresh: true };
        self.cache.entries().insert(key, entry);
        closure
    }

    /// The cached closure as it is, current or not; `None` when it was never computed.
    ///
    /// For readers that would rather be quick than right, such as grouping during a storm: compare
    /// [`Closure::revision`] and [`Closure::age`]. Whatever guards an action uses
    /// [`closure`](Self::closure).
    pub fn stale_closure(&self, node: NodeId, way: Depends, hops: Hops) -> Option<Arc<Closure>> {
        let entries = self.cache.entries();
        let entry = entries.get(&(node, way, hops))?;
        Some(if entry.fresh { self.current(&entry.closure) } else { Arc::clone(&entry.closure) })
    }

    /// The strongly connected components over dependencies.
    pub fn components(&self) -> Components {
        let dependencies =
            EdgeFiltered::from_fn(&self.graph, |edge| edge.weight().kind.is_dependency());
        let mut of = vec![u32::MAX; self.columns()];
        let mut members = Vec::new();
        // Dependencies come first. Not Tarjan, which petgraph runs recursively: a chain of calls deep
        // enough would overflow the stack.
        for (number, component) in kosaraju_scc(&dependencies).into_iter().enumerate() {
            let mut nodes: Vec<_> = component.into_iter().map(NodeId::from_raw).collect();
            nodes.sort_unstable();
            for node in &nodes {
                of[node.index()] = number as u32;
            }
            members.push(nodes);
        }
        Components { of, members }
    }

    /// A fresh entry describes the current revision, whatever revision it was computed at: the
    /// changes since did not concern it. The stamp follows without copying when it can.
    fn current(&self, closure: &Arc<Closure>) -> Arc<Closure> {
        if closure.revision == self.revision && closure.as_of == self.observed_at {
            return Arc::clone(closure);
        }
        let (revision, as_of) = (self.revision, self.observed_at);
        Arc::new(Closure { revision, as_of, ..Closure::clone(closure) })
    }

    /// The edge `from -> to` is new: closures that enter it grow by what lies behind it.
    pub(super) fn extend_closures(&self, from: NodeId, to: NodeId) {
        for (key, entry) in self.cache.entries().iter_mut() {
            let Some(entrance) = enters(key, &entry.closure, from, to) else { continue };
            // What a limit cut, or what now has a hub on its way, cannot be extended from here:
            // walk it again when someone asks.
            if entry.closure.saturated || self.is_hub(entrance.near, key.1) {
                entry.fresh = false;
            }
            if entry.fresh && entrance.hops < key.2.limit() {
                let frontier = VecDeque::from([(entrance.far, entrance.hops + 1)]);
                let known = entry.closure.reached.clone();
                entry.closure = Arc::new(self.compute(*key, known, frontier));
                entry.fresh = !entry.closure.saturated;
            }
        }
    }

    fn is_hub(&self, node: NodeId, way: Depends) -> bool {
        self.neighbours(node, way).len() > self.limits.max_fan
    }

    /// Breadth-first from `frontier`, improving on the distances in `known`.
    fn compute(
        &self,
        key: Key,
        known: Vec<Reached>,
        mut frontier: VecDeque<(NodeId, u32)>,
    ) -> Closure {
        let (root, way, hops) = key;
        let mut distance: FxHashMap<NodeId, u32> =
            known.into_iter().map(|reached| (reached.node, reached.hops)).collect();
        let mut saturated = false;
        while let Some((node, at)) = frontier.pop_front() {
            if node != root {
                match distance.get(&node) {
                    Some(&known) if known <= at => continue,
                    None if distance.len() >= self.limits.max_nodes => {
                        saturated = true;
                        continue;
                    }
                    _ => distance.insert(node, at),
                };
            } else if at > 0 {
                continue; // a cycle came back
            }
            if at >= hops.limit() {
                continue;
            }
            let neighbours = self.neighbours(node, way);
            if neighbours.len() > self.limits.max_fan {
                saturated = true;
                // A hub is reached, and its own closure may be asked for, but no walk passes it.
                if node != root {
                    continue;
                }
            }
            frontier.extend(neighbours.into_iter().map(|next| (next, at + 1)));
        }
        let mut reached: Vec<_> =
            distance.into_iter().map(|(node, hops)| Reached { node, hops }).collect();
        reached.sort_unstable();
        Closure { reached, revision: self.revision, as_of: self.observed_at, saturated }
    }
}
