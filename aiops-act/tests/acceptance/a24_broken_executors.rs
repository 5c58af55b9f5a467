//! Executors that panic, hang and answer nonsense.

use std::sync::Arc;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::machine::Stuck;
use aiops_act::{Ending, FixedApprover, Run, State};
use serde_json::json;

use crate::common::{Bench, library_of, runbook, situation};

async fn run_with(hands: Scripted) -> (Bench, Run) {
    let library = library_of([runbook(
        "one",
        "match: {services: [api]}\ntargets: {services: [api]}\nsafety: {risk: 1, max_percent: 100}\n\
         steps:\n- {id: act, uses: hands, timeout: 50ms, undo: {uses: hands}, outputs: {size: /size}}\n",
    )]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![hands];
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    (bench, run)
}

/// Pass: a panic and a hang are unknown, and probed; a wrong type of output is a failure that is
/// undone; the engine and other runs go on.
#[tokio::test]
async fn acceptance_24_broken_executors() {
    for broken in [Reaction::Panics, Reaction::Hangs] {
        // It can be probed: it did not happen, so it is done once more.
        let hands = Scripted::new("hands").giving("act", json!({"size": 1}));
        let (_, run) = run_with(hands.on_run("act", [broken.clone()])).await;
        assert_eq!(run.state, State::NeedsHuman { over: Stuck::Verdict }, "done, not verified");
        assert_eq!((run.steps[0].attempts, run.steps[0].unknowns), (2, 1), "{broken:?}");

        // It cannot: a person.
        let (bench, run) =
            run_with(Scripted::new("hands").cannot_probe().on_run("act", [broken.clone()])).await;
        assert_eq!(run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } }, "{broken:?}");
        assert_eq!(bench.effects().len(), 1);
    }
    // The output is of another type than the runbook expects: it ran, so it is undone.
    let (bench, run) = run_with(Scripted::new("hands").giving("act", json!(["no", "size"]))).await;
    assert_eq!(run.ending(), Some(Ending::RolledBack));
    assert_eq!(bench.effects().len(), 2, "the step and its undo");
}
