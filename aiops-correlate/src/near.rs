//! Which services are near enough to matter, compiled from a topology once per revision.

use aiops_core::{Depends, EdgeKind, NodeId, NodeKind, Topology};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::names::Names;

/// How two services are related, read from the one whose trouble began *later*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Relation {
    /// They are the same service.
    SameService,
    /// The later one depends on the earlier one: the causal direction.
    DependsOn,
    /// The later one is depended on by the earlier one: against the causal direction, as happens
    /// when the cause is noticed after its effect.
    CalledBy,
    /// Both depend on a third, which may be silent.
    SharedDependency,
    /// Both run on one host.
    SameHost,
}

impl Relation {
    /// The same relation, read from the other one.
    pub(crate) fn reversed(self) -> Self {
        match self {
            Relation::DependsOn => Relation::CalledBy,
            Relation::CalledBy => Relation::DependsOn,
            same => same,
        }
    }
}

/// Number of tables that [`crate::onset::Spread`] keeps.
pub(crate) const TABLES: usize = 7;

/// The table of a relation over this many calls.
pub(crate) fn table(relation: Relation, hops: u8) -> usize {
    match (relation, hops) {
        (Relation::SameService, _) => 0,
        (Relation::DependsOn, 0 | 1) => 1,
        (Relation::DependsOn, _) => 2,
        (Relation::CalledBy, 0 | 1) => 3,
        (Relation::CalledBy, _) => 4,
        (Relation::SharedDependency, _) => 5,
        (Relation::SameHost, _) => 6,
    }
}

/// One service near another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Near {
    pub(crate) service: u32,
    pub(crate) relation: Relation,
    pub(crate) hops: u8,
    /// ln of what crowding leaves of the relation's chance.
    pub(crate) ln_weight: f32,
}

/// The services near each service, nearest relations first.
///
/// Instances stand for the service that owns them: an alert of `cart-1` is an alert of `cart`.
/// Lists are capped, and shared dependencies with more dependents than `max_fan` are left out:
/// sharing a DNS server says nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbourhood {
    offsets: Vec<u32>,
    entries: Vec<Near>,
    canonical: Vec<u32>,
    /// How many followers each service could have, by table of [`crate::onset::Spread`].
    followers: Vec<[f32; TABLES]>,
    revision: Option<(u64, usize)>,
}

/// Longest list of one service; what lies beyond is the least related.
const MAX_NEAR: usize = 128;
/// Shared dependencies and hosts with more members than this say nothing.
const MAX_FAN: usize = 48;
/// Sharers of a dependency or a host up to which each keeps its full chance.
const CROWD: f32 = 12.0;

impl Neighbourhood {
    /// Whether this was compiled from `topology` as it is.
    pub(crate) fn is_current(&self, topology: &Topology) -> bool {
        self.revision == Some((topology.revision(), topology.len()))
    }

    /// Compiles `topology`; its node names join `services`.
    pub(crate) fn compile(topology: &Topology, services: &mut Names) -> Self {
        let mut of_node = vec![u32::MAX; topology.columns()];
        for (id, node) in topology.nodes() {
            of_node[id.index()] = services.intern(&node.name);
        }
        let mut canonical: Vec<u32> = (0..services.len() as u32).collect();
        for (from, to, edge) in topology.edges() {
            let kind = |id: NodeId| topology.node(id).map(|node| node.kind);
            if edge.kind == EdgeKind::Owns
                && kind(from) == Some(NodeKind::Service)
                && kind(to) == Some(NodeKind::Instance)
            {
                canonical[of_node[to.index()] as usize] = of_node[from.index()];
            }
        }
        let mut graph = Graph::new(services.len());
        for (id, _) in topology.nodes() {
            let from = canonical[of_node[id.index()] as usize];
            for dependency in topology.neighbours(id, Depends::Dependencies) {
                let to = canonical[of_node[dependency.index()] as usize];
                let is_host = topology.node(dependency).is_some_and(|n| n.kind == NodeKind::Host);
                if from != to {
                    graph.edge(from, to, is_host);
                }
            }
        }
        graph.tidy();
        let mut offsets = vec![0];
        let mut entries = Vec::new();
        let mut followers = Vec::new();
        for service in 0..services.len() as u32 {
            let near = graph.near(service);
            let mut could = [0.0; TABLES];
            could[table(Relation::SameService, 0)] = 1.0;
            for near in &near {
                could[table(near.relation.reversed(), near.hops)] += near.ln_weight.exp();
            }
            followers.push(could);
            entries.extend(near);
            offsets.push(entries.len() as u32);
        }
        let revision = Some((topology.revision(), topology.len()));
        Neighbourhood { offsets, entries, canonical, followers, revision }
    }

    /// The service that an alert of `service` is about: the owner of an instance, else itself.
    pub(crate) fn canonical(&self, service: u32) -> u32 {
        self.canonical.get(service as usize).copied().unwrap_or(service)
    }

    /// How many services could follow `service`, by table.
    pub(crate) fn followers(&self, service: u32) -> [f32; TABLES] {
        self.followers.get(service as usize).copied().unwrap_or([0.0; TABLES])
    }

    /// The services near `service`; empty for one that the topology does not know.
    pub(crate) fn of(&self, service: u32) -> &[Near] {
        let at = service as usize;
        match (self.offsets.get(at), self.offsets.get(at + 1)) {
            (Some(&from), Some(&to)) => &self.entries[from as usize..to as usize],
            _ => &[],
        }
    }
}

struct Graph {
    dependencies: Vec<Vec<u32>>,
    dependents: Vec<Vec<u32>>,
    host_of: Vec<Vec<u32>>,
}

impl Graph {
    fn new(services: usize) -> Self {
        let empty = vec![Vec::new(); services];
        Graph { dependencies: empty.clone(), dependents: empty.clone(), host_of: empty }
    }

    fn edge(&mut self, from: u32, to: u32, is_host: bool) {
        self.dependencies[from as usize].push(to);
        self.dependents[to as usize].push(from);
        if is_host {
            self.host_of[from as usize].push(to);
        }
    }

    fn tidy(&mut self) {
        for list in
            self.dependencies.iter_mut().chain(&mut self.dependents).chain(&mut self.host_of)
        {
            list.sort_unstable();
            list.dedup();
        }
    }

    /// Everything near `service`, each neighbour once with its strongest relation.
    fn near(&self, service: u32) -> Vec<Near> {
        // Rank of the relation, and among how many the dependency or host is shared.
        let mut best: BTreeMap<u32, (u8, usize)> = BTreeMap::new();
        let mut offer = |to: u32, rank: u8, crowd: usize| {
            if to != service {
                let entry = best.entry(to).or_insert((rank, crowd));
                *entry = (rank, crowd).min(*entry);
            }
        };
        let ways = [(&self.dependencies, 0), (&self.dependents, 2)];
        for (edges, rank) in ways {
            for &one in &edges[service as usize] {
                offer(one, rank, 0);
                for &two in edges[one as usize].iter().take(MAX_FAN) {
                    offer(two, rank + 1, 0);
                }
            }
        }
        for &host in &self.host_of[service as usize] {
            let together = &self.dependents[host as usize];
            if together.len() <= MAX_FAN {
                together.iter().for_each(|&other| offer(other, 5, together.len()));
            }
        }
        for &dependency in &self.dependencies[service as usize] {
            let sharers = &self.dependents[dependency as usize];
            if sharers.len() <= MAX_FAN && !self.host_of[service as usize].contains(&dependency) {
                sharers.iter().for_each(|&other| offer(other, 4, sharers.len()));
            }
        }
        let mut near: Vec<_> =
            best.into_iter().map(|(to, (rank, crowd))| (rank, to, crowd)).collect();
        near.sort_unstable();
        near.truncate(MAX_NEAR);
        let relation = |rank| match rank {
            0 => (Relation::DependsOn, 1),
            1 => (Relation::DependsOn, 2),
            2 => (Relation::CalledBy, 1),
            3 => (Relation::CalledBy, 2),
            4 => (Relation::SharedDependency, 1),
            _ => (Relation::SameHost, 1),
        };
        // One of many sharers says less than one of few: the chance is shared out among them. Read
        // from either side it is the same.
        let one = |(rank, to, crowd): (u8, u32, usize)| {
            let (relation, hops) = relation(rank);
            let ln_weight = (CROWD / (crowd as f32).max(CROWD)).ln();
            Near { service: to, relation, hops, ln_weight }
        };
        near.iter().copied().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Edge, Timestamp};

    #[test]
    fn relations_are_read_from_the_later_one() {
        let now = Timestamp::EPOCH;
        let mut topology = Topology::new();
        let node = |t: &mut Topology, name, kind| t.upsert_node(name, kind, now);
        let [web, api, db, job] =
            ["web", "api", "db", "job"].map(|n| node(&mut topology, n, NodeKind::Service));
        let pod = node(&mut topology, "api-1", NodeKind::Instance);
        for (from, to) in [(web, api), (api, db), (job, db)] {
            topology.upsert_edge(from, to, Edge::new(EdgeKind::Calls, "test", now)).unwrap();
        }
        topology.upsert_edge(api, pod, Edge::new(EdgeKind::Owns, "test", now)).unwrap();
        let mut services = Names::default();
        let near = Neighbourhood::compile(&topology, &mut services);
        let number = |name: &str| services.iter().position(|word| word == name).unwrap() as u32;
        let of = |name: &str| {
            let list = near.of(number(name));
            list.iter().map(|n| (services.word(n.service), n.relation, n.hops)).collect::<Vec<_>>()
        };
        assert_eq!(of("web"), [("api", Relation::DependsOn, 1), ("db", Relation::DependsOn, 2)]);
        assert_eq!(
            of("api"),
            [
                ("db", Relation::DependsOn, 1),
                ("web", Relation::CalledBy, 1),
                ("job", Relation::SharedDependency, 1)
            ]
        );
        let pod = number("api-1");
        assert_eq!(services.word(near.canonical(pod)), "api", "an instance stands for its service");
    }
}
