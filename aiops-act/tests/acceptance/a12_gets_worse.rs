//! Verification after the action: worse, inconclusive, and data that is not there.

use std::sync::Arc;

use aiops_act::machine::Stuck;
use aiops_act::verify::Judged;
use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery, Run, State};
use aiops_core::{Outcome, Timestamp};

use crate::common::{Bench, START, library_of, one_write, situation};

async fn run_with(values: fn(f64) -> Option<f64>) -> (Bench, Run) {
    let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(move |_: &MetricQuery, at: Timestamp| {
            values(at.seconds_after(START))
        })))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    (bench, run)
}

fn undone(bench: &Bench) -> bool {
    bench.effects().iter().any(|a| a.step == "act/undo")
}

/// Pass: "worse" rolls back within one interval after the failure limit; inconclusive (no data, NaN,
/// never good enough) goes to a person, never to "ok".
#[tokio::test]
async fn acceptance_12_gets_worse() {
    // Worse: the first bad measurement, with a failure limit of 0, starts the rollback.
    let (bench, run) = run_with(|_| Some(0.9)).await;
    assert_eq!((run.ending(), run.outcome), (Some(Ending::RolledBack), Some(Outcome::Worse)));
    assert_eq!(run.progress.taken.len(), 1);
    assert_eq!(run.progress.taken[0].judged, Judged::Bad);
    assert!(undone(&bench));

    // No data, NaN and infinity: a person, and nothing is undone without one.
    for values in [|_| None, |_| Some(f64::NAN), |_| Some(f64::NEG_INFINITY)] {
        let (bench, run) = run_with(values).await;
        assert_eq!(run.state, State::NeedsHuman { over: Stuck::Verdict });
        assert_eq!(run.outcome, Some(Outcome::Inconclusive));
        assert!(run.progress.taken.iter().all(|m| m.judged == Judged::NoData));
        assert!(!undone(&bench));
    }
    // Better, but never good enough.
    let (_, run) = run_with(|_| Some(0.2)).await;
    assert_eq!(run.outcome, Some(Outcome::Inconclusive));
    // Good, with a gap in between: the row of good ones begins anew.
    let (_, run) = run_with(|s| (s != 10.0).then_some(0.0)).await;
    assert_eq!((run.ending(), run.outcome), (Some(Ending::Succeeded), Some(Outcome::Ok)));
    assert_eq!(run.progress.taken.len(), 4, "good, no data, good, good");
}
