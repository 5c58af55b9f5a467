//! What changes while people think.

use std::sync::Arc;

use aiops_act::{Ending, Mode, Says};
use aiops_core::{Edge, EdgeKind, IncidentState, NodeKind, Topology};

use crate::common::{Bench, MovingWorld, START, answer, library_of, one_write, shop, situation};

/// Pass: incident closed, cause changed, more services exposed, kill switch pressed: an approval
/// executes nothing.
#[tokio::test]
async fn acceptance_07_world_moved_while_waiting() {
    type Move = fn(&MovingWorld);
    let moves: [(&str, Ending, Move); 7] = [
        ("incident_over", Ending::Refused, |w| {
            w.change(|w| w.situation.incident.state = IncidentState::Resolved);
        }),
        ("incident_unknown", Ending::Refused, |w| {
            w.change(|w| w.situation.incident.id = aiops_core::IncidentId::from_u64(1));
        }),
        ("other_service", Ending::Refused, |w| {
            w.change(|w| w.situation.ranking = situation(&[("redis", 0.9)]).ranking);
        }),
        ("low_confidence", Ending::Proposed, |w| {
            w.change(|w| w.situation.ranking = situation(&[("api", 0.4)]).ranking);
        }),
        ("blast_grew", Ending::Refused, |w| w.change(|w| w.topology = Arc::new(with_a_caller()))),
        ("suggest_only", Ending::Proposed, |w| w.change(|w| w.mode = Mode::SuggestOnly)),
        ("no_acting", Ending::Refused, |w| w.change(|w| w.mode = Mode::NotifyOnly)),
    ];
    for (code, ending, change) in moves {
        let bench =
            Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
        let engine = bench.builder().build().unwrap();
        let (run, driver) = bench.ask(&engine).await;
        change(&bench.world);
        engine.answer(run.plan.run, answer(&run, "ada", Says::Approve, bench.now())).await.unwrap();
        let run = driver.await.unwrap().unwrap();
        assert_eq!(run.ending(), Some(ending), "{code}");
        assert_eq!(run.because[0].code, code);
        assert!(bench.effects().is_empty(), "{code}");
    }

    // The kill switch, pressed while people think.
    let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    let engine = bench.builder().build().unwrap();
    let (run, driver) = bench.ask(&engine).await;
    engine.pause("grace", "maintenance of the network").await.unwrap();
    engine.answer(run.plan.run, answer(&run, "ada", Says::Approve, bench.now())).await.unwrap();
    let run = driver.await.unwrap().unwrap();
    assert_eq!((run.ending(), &*run.because[0].code), (Some(Ending::Refused), "paused"));
    assert!(bench.effects().is_empty());
    engine.resume("grace").await.unwrap();
    assert_eq!(engine.paused().await.unwrap(), None);
}

/// The shop, with a second service that calls the API.
fn with_a_caller() -> Topology {
    let mut topology = shop(START);
    let batch = topology.upsert_node("batch", NodeKind::Service, START);
    let api = topology.node_id("api").unwrap();
    topology.upsert_edge(batch, api, Edge::new(EdgeKind::Calls, "test", START)).unwrap();
    topology
}
