//! Two engines on one store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiops_act::{Ending, Engine, Error, FixedApprover, MetricFn, MetricQuery};

use crate::common::{Bench, Held, library_of, one_write, runbook, situation};

fn engine(bench: &Bench) -> Engine {
    bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap()
}

/// Pass: over many interleavings exactly one run is active, no key is called twice, and what the
/// loser writes late is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acceptance_03_two_engines_one_incident() {
    let rounds = if std::env::var_os("AIOPS_FULL").is_some() { 1_000 } else { 60 };
    for round in 0..rounds {
        let library = library_of([one_write("one", "")]);
        let bench = Arc::new(Bench::with_library(situation(&[("api", 0.9)]), library));
        let tasks: Vec<_> = (0..2_u32)
            .map(|who| {
                let bench = bench.clone();
                tokio::spawn(async move {
                    let engine = engine(&bench);
                    // The seed of the interleaving: who comes first, and by how much.
                    tokio::time::sleep(Duration::from_micros(u64::from(
                        (round * 37 + who * 53) % 97,
                    )))
                    .await;
                    engine.execute(bench.plan(&engine).await).await
                })
            })
            .collect();
        let mut succeeded = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(run) if run.ending() == Some(Ending::Succeeded) => succeeded += 1,
                // The other one was over before this one began: the cooldown holds it.
                Ok(run) => assert_eq!(run.because[0].code, "cooldown", "{:?}", run.because),
                Err(Error::AlreadyActive(_)) => {}
                Err(other) => panic!("round {round}: {other:?}"),
            }
        }
        assert_eq!(succeeded, 1, "round {round}");
        let mut calls: BTreeMap<_, u32> = BTreeMap::new();
        bench.effects().iter().for_each(|a| *calls.entry(a.key).or_default() += 1);
        assert_eq!(calls.values().copied().collect::<Vec<_>>(), [1], "round {round}");
    }
}

/// Pass: an engine that stood still while its lease moved has no further effect; its fencing token
/// is older than that of the engine that took over.
#[tokio::test]
async fn acceptance_04_paused_engine() {
    let library = library_of([runbook(
        "two",
        "match: {services: [api]}\ntargets: {services: [api]}\nsafety: {risk: 1, max_percent: 100}\n\
         steps:\n- {id: first, uses: hands, undo: {uses: nothing}}\n\
         - {id: second, uses: hands, undo: {uses: nothing}}\n",
    )]);
    let bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    let hands = bench.executors[0].clone();
    // The first engine stands still just before the second step, between look and intent.
    let held = Held::before_look(hands.clone(), "second");
    let paused = bench
        .builder()
        .executor(Arc::new(held.clone()))
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .build()
        .unwrap();
    let plan = bench.plan_quietly(&paused).await;
    let id = paused.submit(plan).await.unwrap();
    let driver = tokio::spawn({
        let paused = paused.clone();
        async move { paused.drive(id).await }
    });
    held.wait_until_held().await;
    let busy = engine(&bench).drive(id).await.unwrap_err();
    assert!(matches!(busy, Error::NotOurs(_)), "its lease still runs");

    bench.manual.advance(Duration::from_secs(60));
    let second = engine(&bench);
    assert_eq!(second.orphans().await.unwrap(), [id]);
    let run = second.drive(id).await.unwrap();
    let effects = hands.effects();
    assert_eq!(effects.iter().map(|a| a.step.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert!(effects[1].fence > effects[0].fence, "the token of the new owner is larger");

    held.release();
    let refused = driver.await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::NotOurs(_)), "{refused:?}");
    assert_eq!(hands.effects().len(), 2, "the paused engine did nothing more");
    assert_eq!(second.run(id).await.unwrap(), run, "and wrote nothing");
}
