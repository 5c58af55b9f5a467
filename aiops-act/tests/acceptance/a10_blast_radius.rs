//! Whom an action can hurt, over chains, diamonds, cycles and hubs.

use std::collections::BTreeSet;
use std::time::Duration;

use aiops_act::{Blast, Ending, Says, State};
use aiops_core::{Edge, EdgeKind, NodeKind, Timestamp, Topology};

use crate::common::{Bench, START, answer, library_of, runbook, situation};

/// Calls from caller to callee, by number.
fn graph(edges: &[(u32, u32)]) -> Topology {
    let mut topology = Topology::new();
    for (from, to) in edges {
        let [from, to] =
            [from, to].map(|n| topology.upsert_node(&format!("s{n}"), NodeKind::Service, START));
        topology.upsert_edge(from, to, Edge::new(EdgeKind::Calls, "test", START)).unwrap();
    }
    topology
}

/// Everyone who reaches a target over at most `hops` calls, by walking every path.
fn brute_force(edges: &[(u32, u32)], targets: &[u32], hops: u32) -> BTreeSet<String> {
    let mut reached: BTreeSet<u32> = targets.iter().copied().collect();
    for _ in 0..hops {
        let callers: Vec<u32> =
            edges.iter().filter(|(_, to)| reached.contains(to)).map(|(from, _)| *from).collect();
        reached.extend(callers);
    }
    reached.into_iter().map(|n| format!("s{n}")).collect()
}

/// Pass: the count equals brute force on chains, diamonds, cycles, hubs and random graphs; a limit of
/// N stops N + 1; of two runs that are too much together the second waits; a stale topology, a closure
/// cut short and an unknown target are unbounded.
#[tokio::test]
async fn acceptance_10_transitive_blast_radius() {
    let chain: Vec<(u32, u32)> = (0..9).map(|n| (n, n + 1)).collect();
    let diamond = vec![(0, 1), (0, 2), (1, 3), (2, 3), (4, 0)];
    let cycle = vec![(0, 1), (1, 2), (2, 0), (3, 1)];
    let hub: Vec<(u32, u32)> = (1..40).map(|n| (n, 0)).collect();
    let mut graphs = vec![chain, diamond, cycle, hub];
    // Random graphs from a small generator with a fixed seed.
    let mut state = 7_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for _ in 0..40 {
        let edges = (0..random(40) + 5).map(|_| (random(16), random(16)));
        graphs.push(edges.filter(|(a, b)| a != b).collect());
    }
    for edges in &graphs {
        let topology = graph(edges);
        for hops in [0, 1, 2, 3, 9] {
            for target in edges.iter().map(|(_, to)| *to).take(6) {
                let names = [format!("s{target}")];
                let names = names.iter().map(String::as_str);
                let blast = Blast::of(&topology, names, hops, Duration::from_secs(60), START);
                assert_eq!(blast.services, brute_force(edges, &[target], hops), "{edges:?} {hops}");
                assert_eq!(blast.unbounded, []);
            }
        }
    }

    // What is not bounded.
    let of = |topology: &Topology, target: &str, now: Timestamp| {
        Blast::of(topology, [target], 3, Duration::from_secs(60), now).unbounded
    };
    let small = graph(&[(0, 1)]);
    assert_eq!(of(&small, "s9", START)[0].code, "unknown_target");
    assert_eq!(of(&small, "s1", START + Duration::from_secs(61))[0].code, "stale_topology");
    let capped = graph(&graphs[3]).with_closure_limits(8, 8);
    assert_eq!(of(&capped, "s0", START)[0].code, "saturated");

    // The limit, at N and at N + 1: the API, and the gateway that calls it.
    for (limit, opens) in [(2, true), (1, false)] {
        let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([on("api", limit)]));
        let engine = bench.builder().build().unwrap();
        let plan = bench.plan(&engine).await;
        assert_eq!(plan.blast.services.len(), 2);
        let report = engine.check_gates(&plan).await.unwrap();
        let decisive = report.decisive().map(|c| c.reason.code.to_string());
        assert_eq!(decisive, (!opens).then(|| "blast_radius".to_owned()));
    }
}

fn on(service: &str, limit: u32) -> aiops_act::Runbook {
    runbook(
        &format!("on-{service}"),
        &format!(
            "match: {{services: [{service}]}}\ntargets: {{services: [{service}]}}\n\
             safety: {{risk: 1, max_percent: 100, max_services: {limit}}}\n\
             steps: [{{id: act, uses: hands, undo: {{uses: nothing}}}}]\n"
        ),
    )
}

/// Pass (second part of 10): two runs that are each within the limit and together above it: the second
/// waits until the first is over.
#[tokio::test]
async fn acceptance_10_concurrent_runs_share_the_limit() {
    // gateway -> api -> {postgres, redis}: an action on either can hurt three, both four.
    let first =
        Bench::with_library(situation(&[("postgres", 0.9)]), library_of([on("postgres", 3)]));
    let engine = first.builder().build().unwrap();
    let (run, driver) = first.ask(&engine).await;
    engine.answer(run.plan.run, answer(&run, "ada", Says::Approve, first.now())).await.unwrap();
    let stuck = driver.await.unwrap().unwrap();
    assert!(matches!(stuck.state, State::NeedsHuman { .. }), "it is not verified, so it stays");

    let mut second =
        Bench::with_library(situation(&[("redis", 0.9)]), library_of([on("redis", 3)]));
    second.store = first.store.clone();
    second.manual = first.manual.clone();
    second.clock = first.clock.clone();
    let mut other = situation(&[("redis", 0.9)]);
    other.incident.id = aiops_core::IncidentId::from_u64(99);
    second.situation = other.clone();
    second.world.change(|w| w.situation = other);
    let engine = second.builder().build().unwrap();
    let plan = second.plan(&engine).await;
    assert_eq!(plan.blast.services.len(), 3);
    let report = engine.check_gates(&plan).await.unwrap();
    assert_eq!(report.decisive().unwrap().reason.code, "blast_radius_shared");
    assert_eq!(report.passage(), aiops_act::Passage::Wait);

    // The first is closed: the second may go.
    engine.resolve(run.plan.run, "ada", aiops_act::Resolution::CloseAsFixed).await.unwrap();
    assert_eq!(engine.check_gates(&plan).await.unwrap().decisive(), None);
    let run = engine.run(run.plan.run).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::ClosedByPerson));
}
