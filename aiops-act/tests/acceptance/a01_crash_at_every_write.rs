//! Crashes at every write, of the run and of its recovery.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::machine::UndoStatus;
use aiops_act::testing::{CrashPoint, CrashingStore};
use aiops_act::{Ending, Engine, FixedApprover, Library, Run, Runbook, StepError, audit};
use aiops_core::Store;
use serde_json::json;

use crate::common::{Bench, On, situation};

/// Six steps; the last one fails, and what was done is undone. None may be repeated.
const SIX_STEPS: &str = r#"
schema: aiops.runbook/v1
id: six-steps
version: 1.0.0
title: Six steps
owner: tests
match: {services: [api]}
targets: {services: [api]}
safety: {risk: 2, max_percent: 100}
steps:
  - {id: look, uses: hands, effect: read, outputs: {size: /size}}
  - {id: drain, uses: hands, with: {size: "${{ steps.look.outputs.size }}"}, undo: {uses: hands, with: {back: drain}}}
  - {id: stop, uses: hands, needs: [drain], undo: {uses: hands, with: {back: stop}}}
  - {id: change, uses: hands, needs: [stop], undo: {uses: hands, with: {back: change}}}
  - {id: start, uses: hands, needs: [change], undo: {uses: hands, with: {back: start}}}
  - {id: fill, uses: hands, needs: [start], undo: {uses: hands, with: {back: fill}}}
"#;

fn library() -> Library {
    let mut library = Library::new();
    library.add(Runbook::parse(SIX_STEPS.as_bytes()).unwrap()).unwrap();
    library
}

fn bench() -> Bench {
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library());
    let hands = Scripted::new("hands")
        .giving("look", json!({"size": 3}))
        .on_run("fill", vec![Reaction::Fails(StepError::failed("no space")); 8]);
    bench.executors = vec![hands];
    bench
}

fn engine(bench: &Bench, store: Arc<dyn Store>) -> Engine {
    let mut builder =
        Engine::builder(bench.config.clone(), store, bench.clock.clone(), bench.world.clone())
            .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())));
    for executor in &bench.executors {
        builder = builder.executor(Arc::new(executor.clone()));
    }
    builder.build().unwrap()
}

/// Starts the run, or goes on with what an earlier process left.
async fn go_on(bench: &Bench, store: Arc<dyn Store>) -> aiops_act::Result<Run> {
    let engine = engine(bench, store);
    // An engine that has been silent for the lease time is gone.
    bench.manual.advance(Duration::from_secs(60));
    let left = engine.runs(None, 10).await?;
    match left.as_slice() {
        [] => engine.execute(bench.plan(&engine).await).await,
        [run] => engine.drive(*run).await,
        more => panic!("one incident has one run, found {more:?}"),
    }
}

fn summary(run: &Run) -> String {
    let steps: Vec<String> =
        run.steps.iter().map(|s| format!("{}:{:?}/{:?}", s.id, s.status, s.undo)).collect();
    format!("{:?} {}", run.state, steps.join(" "))
}

/// What must hold whatever was crashed when.
async fn check(bench: &Bench, run: &Run, what: &str) {
    let expected = "Ended { ending: RolledBack } look:Succeeded/Pending drain:Succeeded/Done \
                    stop:Succeeded/Done change:Succeeded/Done start:Succeeded/Done fill:Failed/Done";
    assert_eq!(summary(run), expected, "{what}");
    // Undos are idempotent by default, steps are not; `fill` fails, so a probe says "not done".
    let mut calls: BTreeMap<_, u32> = BTreeMap::new();
    for asked in bench.effects() {
        *calls.entry(asked.key).or_default() += 1;
    }
    for (index, step) in run.steps.iter().enumerate().skip(1).take(4) {
        assert_eq!(calls.get(&Some(run.key(index))), Some(&1), "{what}: {} ran once", step.id);
    }
    let engine = engine(bench, bench.store.clone());
    let records = engine.audit(0, 10_000).await.unwrap();
    let head = engine.audit_head().await.unwrap();
    assert_eq!(audit::verify(&records, Some(head)), Ok(head), "{what}");
}

/// Pass: after a crash at any store write of a six-step run with approval, failure and rollback, and
/// after a second crash at any write of its recovery, the run ends as the uncrashed one, and no step
/// that may not be repeated was called twice.
#[tokio::test]
async fn acceptance_01_crash_at_every_write() {
    // Every pair in the long check; in the short one every write, and a third of the pairs.
    crash_at_every_write(On::Memory, 1, if is_long() { 1 } else { 3 }).await;
}

/// Pass: the same on redb, where every crash is a file that is opened anew; all pairs in the long
/// check.
#[tokio::test]
async fn acceptance_01_crash_at_every_write_and_in_recovery_on_redb() {
    let (firsts, seconds) = if is_long() { (1, 1) } else { (7, 9) };
    crash_at_every_write(On::Redb, firsts, seconds).await;
}

fn is_long() -> bool {
    std::env::var_os("AIOPS_FULL").is_some()
}

/// Crashes before and after every write, `firsts` apart, and again at writes of the recovery, `seconds`
/// apart, others for each first crash.
async fn crash_at_every_write(on: On, firsts: usize, seconds: usize) {
    let bench0 = bench().on(on);
    let counting = Arc::new(CrashingStore::counting(bench0.store.clone()));
    let run = go_on(&bench0, counting.clone()).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::RolledBack));
    assert_eq!(run.steps[1].undo, UndoStatus::Done);
    check(&bench0, &run, "no crash").await;
    let writes = counting.writes();
    assert!(writes >= 22, "a six-step run with its rollback is {writes} writes");

    for point in [CrashPoint::Before, CrashPoint::After] {
        for first in (0..writes).step_by(firsts) {
            // The recovery without a second crash tells how many writes it has.
            let recovery = crash_twice(on, first, point, None).await;
            for second in (0..recovery).skip(first as usize % seconds).step_by(seconds) {
                crash_twice(on, first, point, Some(second)).await;
            }
        }
    }
}

/// Crashes at write `first`, and at write `second` of the recovery; returns the recovery's writes.
async fn crash_twice(on: On, first: u32, point: CrashPoint, second: Option<u32>) -> u32 {
    let what = format!("{on:?}: crash {point:?} write {first}, then {second:?}");
    let mut bench = bench().on(on);
    let dying: Arc<dyn Store> = Arc::new(CrashingStore::new(bench.store.clone(), first, point));
    go_on(&bench, dying).await.expect_err(&what);
    bench.restart();
    if let Some(second) = second {
        let dying = Arc::new(CrashingStore::new(bench.store.clone(), second, point));
        let died = go_on(&bench, dying).await;
        // The crash may hit the last write, or one whose result nobody waits for.
        assert!(died.is_err() || second > 0, "{what}");
        bench.restart();
    }
    let counting = Arc::new(CrashingStore::counting(bench.store.clone()));
    let run = go_on(&bench, counting.clone()).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
    check(&bench, &run, &what).await;
    counting.writes()
}
