//! The effect happened, or it did not, and nobody wrote down which.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::machine::Stuck;
use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery, Resolution, Run, State, StepError};
use serde_json::json;

use crate::common::{Bench, On, library_of, one_write, situation};

async fn run_with(hands: Scripted, on: On) -> (Bench, Run) {
    let library = library_of([one_write("one", "")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library).on(on);
    bench.executors = vec![hands];
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    (bench, run)
}

fn methods(bench: &Bench) -> Vec<&'static str> {
    let asked = bench.executors[0].asked();
    asked.iter().map(|a| a.method).filter(|m| *m != "plan").collect()
}

/// Pass: the probe says "done": no second call; it says "not done": one call; there is no probe: a
/// person.
#[tokio::test]
async fn acceptance_02_crash_between_effect_and_result() {
    for on in On::BOTH {
        between_effect_and_result(on).await;
    }
}

async fn between_effect_and_result(on: On) {
    // The effect happened and the answer was lost: asked, and not done again.
    let lost = Reaction::HappensThenUnknown(json!(1));
    let (bench, run) = run_with(Scripted::new("hands").on_run("act", [lost.clone()]), on).await;
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(methods(&bench), ["run", "probe"]);

    // It did not happen: done once more, with the same key.
    let nothing = Reaction::Fails(StepError::unknown("connection reset"));
    let (bench, run) = run_with(Scripted::new("hands").on_run("act", [nothing]), on).await;
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(methods(&bench), ["run", "probe", "run"]);
    let keys: Vec<_> = bench.effects().iter().map(|a| a.key).collect();
    assert_eq!(keys[0], keys[1], "the key is the same over all attempts");

    // Nobody can tell: a person.
    let hands = Scripted::new("hands").cannot_probe().on_run("act", [lost]);
    let (mut bench, run) = run_with(hands, on).await;
    assert_eq!(run.state, State::NeedsHuman { over: Stuck::Step { step: 0 } });
    assert_eq!(methods(&bench), ["run", "probe"], "never blindly repeated");

    // The person says that it happened: the run goes on from there, in another process.
    bench.restart();
    let engine = bench
        .builder()
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap();
    bench.manual.advance(Duration::from_secs(60));
    engine.resolve(run.plan.run, "ada", Resolution::Happened).await.unwrap();
    let run = engine.drive(run.plan.run).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(bench.effects().len(), 1);
}
