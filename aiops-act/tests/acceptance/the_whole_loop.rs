//! Match, propose, ask, run, verify, audit: the loop that the reference pipeline walks.

use std::sync::Arc;

use crate::common::{Bench, pool_situation};
use aiops_act::machine::StepStatus;
use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery, audit, match_runbooks};
use aiops_core::Timestamp;

#[tokio::test]
async fn an_approved_plan_runs_and_its_success_is_verified() {
    let bench = Bench::new(pool_situation());
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|query: &MetricQuery, _: Timestamp| {
            Some(if query.metric.contains("error") { 0.0 } else { 0.1 })
        })))
        .build()
        .unwrap();

    let matches =
        match_runbooks(&bench.library, &bench.situation, &Default::default(), bench.now());
    let best = matches.best().unwrap();
    assert_eq!(best.runbook.id(), "raise-pool-limit");
    let proposal = engine.propose(best, &bench.situation, &Default::default()).await.unwrap();
    assert!(bench.effects().is_empty(), "a proposal has no effect");

    let run = engine.execute(proposal.plan).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded), "{run:#?}");
    assert!(run.steps.iter().all(|s| s.status == StepStatus::Succeeded));
    let effects: Vec<String> = bench.effects().into_iter().map(|a| a.step).collect();
    assert_eq!(effects, ["alive", "raise"]);

    let records = engine.audit(0, 1_000).await.unwrap();
    let head = engine.audit_head().await.unwrap();
    assert_eq!(audit::verify(&records, Some(head)), Ok(head));
    let story: Vec<&str> = records.iter().map(|r| r.what.as_str()).collect();
    assert_eq!(story[..5], ["proposed", "gated", "answered", "claimed", "baselined"]);
}

#[tokio::test]
async fn a_rejected_plan_has_no_effect() {
    let bench = Bench::new(pool_situation());
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::rejecting("ada", bench.clock.clone())))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Rejected));
    assert!(bench.effects().is_empty());
}
