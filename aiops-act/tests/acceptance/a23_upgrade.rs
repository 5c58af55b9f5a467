//! What an earlier version wrote.

use std::path::PathBuf;
use std::sync::Arc;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::{ApprovalPolicy, Ending, FixedApprover, JournalRecord, Run, StepError};
use serde::{Deserialize, Serialize};

use crate::common::{Bench, library_of, runbook, situation};

#[derive(Serialize, Deserialize)]
struct Stored {
    policy: ApprovalPolicy,
    events: Vec<JournalRecord>,
    run: Run,
}

fn fixture(version: &str) -> PathBuf {
    let name = format!("tests/fixtures/journal-{version}.json");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Pass: the journal of every released version loads, and applying its events again gives the run that
/// it stored.
#[tokio::test]
async fn acceptance_23_upgrade() {
    if std::env::var_os("AIOPS_WRITE_FIXTURES").is_some() {
        let stored = run_of_this_version().await;
        let text = serde_json::to_string_pretty(&stored).unwrap();
        std::fs::write(fixture(env!("CARGO_PKG_VERSION")), text + "\n").unwrap();
    }
    for version in ["0.1.0"] {
        let text = std::fs::read_to_string(fixture(version)).unwrap();
        let stored: Stored = serde_json::from_str(&text).unwrap();
        let mut run = Run::new(stored.run.plan.clone());
        for record in &stored.events {
            let Some(event) = &record.event else { continue };
            run = run.apply(event.clone(), record.at, &stored.policy, None).unwrap().run;
            assert_eq!(run.revision, record.revision);
        }
        assert_eq!(run, stored.run, "{version}");
        assert_eq!(run.ending(), Some(Ending::RolledBack));
        // The document it began with is still that document.
        let hash = run.plan.binding().document;
        assert_eq!(run.question.unwrap().binding.document, hash);
    }
    // And what this version writes does the same, without going through a file.
    let now = run_of_this_version().await;
    let text = serde_json::to_string(&now).unwrap();
    let read: Stored = serde_json::from_str(&text).unwrap();
    assert_eq!(read.run, now.run);
}

async fn run_of_this_version() -> Stored {
    let library = library_of([runbook(
        "all-kinds",
        "match: {services: [api]}\ntargets: {services: [api]}\nsafety: {risk: 1, max_percent: 100}\n\
         params: {size: {type: integer, default: 3}}\n\
         steps:\n\
         - {id: look, uses: hands, effect: read, outputs: {now: /now}}\n\
         - {id: grow, uses: hands, with: {to: '${{ params.size }}'}, undo: {uses: hands, with: {to: '${{ steps.look.outputs.now }}'}}}\n\
         - {id: skip, uses: hands, if: 'params.size > 10', undo: {uses: nothing}}\n\
         - {id: lose, uses: hands, undo: {uses: self}}\n\
         - {id: fail, uses: hands, idempotent: true, retry: {attempts: 2, delay: 1s}, undo: {uses: nothing}}\n",
    )]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![
        Scripted::new("hands")
            .giving("look", serde_json::json!({"now": 1}))
            .on_run("lose", [Reaction::HappensThenUnknown(serde_json::json!({"done": true}))])
            .on_run("fail", vec![Reaction::Fails(StepError::failed("no")); 2])
            .on_undo("lose", [Reaction::Fails(StepError::not_started("busy"))]),
    ];
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    let events = engine.history(run.plan.run).await.unwrap();
    Stored { policy: bench.config.approval.clone(), events, run }
}
