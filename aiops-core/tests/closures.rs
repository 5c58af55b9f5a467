//! A cached closure, however it came about, equals one computed from scratch.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use aiops_core::{Closure, Depends, Edge, EdgeKind, Hops, NodeId, NodeKind, Timestamp, Topology};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NODES: usize = 12;
const HOPS: [Hops; 3] = [Hops::Within(1), Hops::Within(3), Hops::All];
const WAYS: [Depends; 2] = [Depends::Dependencies, Depends::Dependents];

#[derive(Debug, Clone)]
enum Step {
    Add(usize, usize, EdgeKind),
    Remove(usize, usize, EdgeKind),
    RemoveNode(usize),
    Ask(usize, usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        6 => Just(EdgeKind::Calls),
        2 => Just(EdgeKind::RunsOn),
        1 => Just(EdgeKind::Owns),
    ];
    let pair = (0..NODES, 0..NODES, kind);
    prop_oneof![
        8 => pair.clone().prop_map(|(a, b, kind)| Step::Add(a, b, kind)),
        2 => pair.prop_map(|(a, b, kind)| Step::Remove(a, b, kind)),
        1 => (0..NODES).prop_map(Step::RemoveNode),
        6 => (0..NODES, 0..HOPS.len(), 0..WAYS.len()).prop_map(|(n, h, w)| Step::Ask(n, h, w)),
    ]
}

fn node(topology: &mut Topology, n: usize) -> NodeId {
    topology.upsert_node(&format!("n{n}"), NodeKind::Service, Timestamp::EPOCH)
}

fn edge(kind: EdgeKind) -> Edge {
    Edge::new(kind, "test", Timestamp::EPOCH)
}

/// The textbook definition, by repeated relaxation over the edge list: no cache, no queue, no code
/// shared with what it judges.
fn by_hand(topology: &Topology, root: NodeId, way: Depends, hops: Hops) -> BTreeMap<NodeId, u32> {
    let limit = match hops {
        Hops::Within(hops) => u32::from(hops),
        Hops::All => u32::MAX,
    };
    let mut distance = BTreeMap::from([(root, 0)]);
    for _ in 0..topology.len() {
        for (from, to, edge) in topology.edges().filter(|(_, _, e)| e.kind != EdgeKind::Owns) {
            let _ = edge;
            let (near, far) = if way == Depends::Dependencies { (from, to) } else { (to, from) };
            if let Some(&at) = distance.get(&near)
                && at < limit
            {
                let known = distance.entry(far).or_insert(u32::MAX);
                *known = (*known).min(at + 1);
            }
        }
    }
    distance.remove(&root);
    distance
}

fn as_map(closure: &Closure) -> BTreeMap<NodeId, u32> {
    closure.reached().iter().map(|reached| (reached.node, reached.hops)).collect()
}

proptest! {
    #[test]
    fn incremental_equals_recomputed(steps in prop::collection::vec(step(), 1..80)) {
        let mut topology = Topology::new();
        for step in steps {
            match step {
                Step::Add(a, b, kind) if a != b => {
                    let (a, b) = (node(&mut topology, a), node(&mut topology, b));
                    topology.upsert_edge(a, b, edge(kind)).unwrap();
                }
                Step::Add(..) => {}
                Step::Remove(a, b, kind) => {
                    let (a, b) = (node(&mut topology, a), node(&mut topology, b));
                    topology.remove_edge(a, b, kind);
                }
                Step::RemoveNode(n) => {
                    let n = node(&mut topology, n);
                    topology.remove_node(n);
                }
                Step::Ask(n, h, w) => {
                    let n = node(&mut topology, n);
                    topology.closure(n, WAYS[w], HOPS[h]);
                }
            }
        }
        let roots: Vec<_> = topology.nodes().map(|(id, _)| id).collect();
        let components = topology.components();
        for root in roots {
            for (way, hops) in WAYS.into_iter().flat_map(|w| HOPS.map(|h| (w, h))) {
                let closure = topology.closure(root, way, hops);
                prop_assert_eq!(closure.revision, topology.revision());
                prop_assert!(!closure.saturated);
                prop_assert_eq!(as_map(&closure), by_hand(&topology, root, way, hops));
            }
            // Condensed: two nodes share a component exactly when each reaches the other.
            let all = topology.closure(root, Depends::Dependencies, Hops::All);
            for (other, _) in topology.nodes().filter(|(id, _)| *id != root) {
                let back = topology.closure(other, Depends::Dependencies, Hops::All);
                let mutual = all.contains(other) && back.contains(root);
                prop_assert_eq!(components.share(root, other), mutual);
                if all.contains(other) {
                    prop_assert!(components.of(other) <= components.of(root), "dependencies first");
                }
            }
        }
    }

    #[test]
    fn limits_only_ever_leave_nodes_out(
        edges in prop::collection::vec((0..NODES, 0..NODES), 1..60),
        max_nodes in 1_usize..8,
        max_fan in 1_usize..4,
    ) {
        let mut limited = Topology::new().with_closure_limits(max_nodes, max_fan);
        let mut free = Topology::new();
        for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
            for topology in [&mut limited, &mut free] {
                let (a, b) = (node(topology, a), node(topology, b));
                topology.upsert_edge(a, b, edge(EdgeKind::Calls)).unwrap();
                topology.closure(a, Depends::Dependencies, Hops::All);
            }
        }
        let nodes: Vec<_> = limited.nodes().map(|(id, _)| id).collect();
        for node in nodes {
            let cut = limited.closure(node, Depends::Dependencies, Hops::All);
            let whole = free.closure(node, Depends::Dependencies, Hops::All);
            prop_assert!(cut.len() <= max_nodes);
            prop_assert!(cut.reached().iter().all(|r| whole.contains(r.node)));
            if !cut.saturated {
                prop_assert_eq!(cut.reached(), whole.reached(), "an unmarked closure is complete");
            }
        }
    }
}

#[test]
fn a_stale_closure_tells_its_age_and_a_fresh_one_is_current() {
    let mut topology = Topology::new();
    let (a, b) = (node(&mut topology, 0), node(&mut topology, 1));
    topology.upsert_edge(a, b, edge(EdgeKind::Calls)).unwrap();
    let before = topology.closure(a, Depends::Dependencies, Hops::All);
    assert!(topology.stale_closure(b, Depends::Dependencies, Hops::All).is_none());

    topology.upsert_node("n0", NodeKind::Service, Timestamp::from_secs(60));
    topology.remove_edge(a, b, EdgeKind::Calls);
    let stale = topology.stale_closure(a, Depends::Dependencies, Hops::All).unwrap();
    assert_eq!((stale.contains(b), stale.revision), (true, before.revision));
    assert_eq!(stale.age(Timestamp::from_secs(60)).as_secs(), 60);
    let fresh = topology.closure(a, Depends::Dependencies, Hops::All);
    assert!(!fresh.contains(b) && fresh.revision == topology.revision());
}

#[test]
fn a_hub_is_reached_and_not_passed() {
    let mut topology = Topology::new().with_closure_limits(1_000, 5);
    let hub = topology.upsert_node("load-balancer", NodeKind::Service, Timestamp::EPOCH);
    let caller = node(&mut topology, 0);
    topology.upsert_edge(caller, hub, edge(EdgeKind::Calls)).unwrap();
    for n in 1..8 {
        let service = node(&mut topology, n);
        topology.upsert_edge(hub, service, edge(EdgeKind::Calls)).unwrap();
        topology.closure(caller, Depends::Dependencies, Hops::All);
    }
    let closure = topology.closure(caller, Depends::Dependencies, Hops::All);
    assert_eq!((closure.len(), closure.saturated), (1, true));
    assert_eq!(topology.closure(hub, Depends::Dependencies, Hops::All).len(), 7);
}

#[test]
fn a_very_long_chain_of_calls_needs_no_stack() {
    let mut topology = Topology::new();
    let nodes: Vec<NodeId> = (0..100_000).map(|n| node(&mut topology, n)).collect();
    for pair in nodes.windows(2) {
        topology.upsert_edge(pair[0], pair[1], edge(EdgeKind::Calls)).unwrap();
    }
    let components = topology.components();
    assert_eq!(components.members().len(), nodes.len());
    for pair in nodes.windows(2) {
        assert!(components.of(pair[0]) > components.of(pair[1]), "dependencies come first");
    }
    assert_eq!(topology.closure(nodes[0], Depends::Dependencies, Hops::All).len(), 99_999);
}
