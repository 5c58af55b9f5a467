//! A person approves a remedy, it makes things worse, and what was done is undone.
//!
//! ```text
//! cargo run -p aiops-examples --example approve_and_roll_back
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::sync::Arc;

use aiops_act::executor::scripted::Scripted;
use aiops_act::testing::shop_incident;
use aiops_act::{
    ApprovalPolicy, Ending, Engine, EngineConfig, FixedApprover, Library, MetricFn, MetricQuery,
    ReplayClock, Runbook, StillWorld, match_runbooks,
};
use aiops_core::{ManualClock, MemoryStore, Outcome, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const RUNBOOK: &str = r#"
schema: aiops.runbook/v1
id: raise-pool-limit
version: 1.0.0
title: Raise the API's connection-pool limit
owner: platform
match: {services: [api]}
params: {limit: {type: integer, default: 24}}
targets: {services: ["${{ cause.service }}"]}
safety: {risk: 1, max_percent: 75}
steps:
  - {id: read, uses: http, effect: read, with: {get: /pool}, outputs: {limit: /limit}}
  - id: raise
    uses: http
    with: {put: /pool, limit: "${{ params.limit }}"}
    idempotent: true
    undo: {uses: http, with: {put: /pool, limit: "${{ steps.read.outputs.limit }}"}}
verify:
  metrics: {errors: {metric: error_ratio, service: gateway, guard: {worse: up}}}
  success_when: now.errors < 0.05
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (situation, topology) = shop_incident("api", 0.8, NOW);
    let mut library = Library::new();
    library.add(Runbook::parse(RUNBOOK.as_bytes())?)?;

    let manual = Arc::new(ManualClock::new(NOW));
    let clock = Arc::new(ReplayClock(manual.clone()));
    let http = Scripted::new("http").giving("read", serde_json::json!({"limit": 8}));
    // Errors were at 10 % before the run, and are at 30 % after it.
    let errors = |_: &MetricQuery, at: Timestamp| Some(if at > NOW { 0.3 } else { 0.1 });
    let watch = manual.clone();
    let engine = Engine::builder(
        EngineConfig {
            approval: ApprovalPolicy::default().with_person("ada", &["oncall"]),
            ..EngineConfig::default()
        },
        Arc::new(MemoryStore::with_clock(manual)),
        clock.clone(),
        Arc::new(StillWorld::new(situation.clone(), topology)),
    )
    .executor(Arc::new(http.clone()))
    .approver(Arc::new(FixedApprover::approving("ada", clock)))
    .metrics(Arc::new(MetricFn(move |query: &MetricQuery, at| {
        watch.advance(std::time::Duration::from_secs(1)); // the replay goes on
        errors(query, at)
    })))
    .build()?;

    let matches = match_runbooks(&library, &situation, &Default::default(), NOW);
    let fit = matches.best().ok_or("no runbook fits")?;
    println!("{} fits: {}", fit.runbook.id(), fit.reasons[0]);
    let proposal = engine.propose(fit, &situation, &Default::default()).await?;
    let run = engine.execute(proposal.plan).await?;

    for record in engine.audit(0, 100).await? {
        println!("{:>3} {:<12} {}", record.seq, record.what, record.body["state"]["is"]);
    }
    assert_eq!(run.outcome, Some(Outcome::Worse));
    assert_eq!(run.ending(), Some(Ending::RolledBack));
    let limits: Vec<_> =
        http.effects().iter().filter_map(|a| a.with.get("limit").cloned()).collect();
    assert_eq!(limits, [24, 8], "raised, and set back to what was read before");
    Ok(())
}
