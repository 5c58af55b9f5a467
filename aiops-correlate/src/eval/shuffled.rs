//! The same topology with its names dealt out anew.

use aiops_core::Topology;
use std::collections::BTreeMap;

/// The topology with its names dealt out anew: the same shape, every edge wrong. A correlator that
/// does as well with it is not using the topology.
pub fn shuffled(topology: &Topology, seed: u64) -> Topology {
    let mut names: Vec<&str> = topology.nodes().map(|(_, node)| node.name.as_str()).collect();
    let kinds: Vec<_> = topology.nodes().map(|(_, node)| node.kind).collect();
    let mut state = seed;
    for at in (1..names.len()).rev() {
        // SplitMix64 (Steele, Lea and Flood 2014), enough to deal cards. Only like with like:
        // a host stays a host.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = ((z ^ (z >> 31)) % (at as u64 + 1)) as usize;
        if kinds[at] == kinds[other] {
            names.swap(at, other);
        }
    }
    let renamed: BTreeMap<_, _> =
        topology.nodes().map(|(id, _)| id).zip(names.iter().copied()).collect();
    let now = topology.observed_at();
    let mut shuffled = Topology::new();
    for (id, node) in topology.nodes() {
        shuffled.upsert_node(renamed[&id], node.kind, now);
    }
    for (from, to, edge) in topology.edges() {
        let ends = (shuffled.node_id(renamed[&from]), shuffled.node_id(renamed[&to]));
        if let (Some(from), Some(to)) = ends {
            // Both ends exist and differ, so the edge is accepted.
            let _ = shuffled.upsert_edge(from, to, edge.clone());
        }
    }
    shuffled
}
