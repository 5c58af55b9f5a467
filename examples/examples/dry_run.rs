//! What would a runbook do, and why may it not? Found out by reading alone.
//!
//! ```text
//! cargo run -p aiops-examples --example dry_run
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::path::Path;
use std::sync::Arc;

use aiops_act::executor::scripted::Scripted;
use aiops_act::testing::shop_incident;
use aiops_act::{Engine, EngineConfig, Library, Passage, ReplayClock, StillWorld, match_runbooks};
use aiops_core::{ManualClock, MemoryStore, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (situation, topology) = shop_incident("api", 0.8, NOW);
    let library = Library::load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks"))?;

    // Which runbooks fit, and why the others do not.
    let matches = match_runbooks(&library, &situation, &Default::default(), NOW);
    for misfit in &matches.misfits {
        println!("  {:<20} no: {}", misfit.runbook, misfit.reasons[0]);
    }
    for fit in &matches.fits {
        println!("  {:<20} fits: {}", fit.runbook.id(), fit.reasons[0]);
    }

    let manual = Arc::new(ManualClock::new(NOW));
    let executors = Scripted::dry_run(&library);
    let mut world = StillWorld::new(situation.clone(), topology);
    world.calibrated = false; // nobody has checked this ranking on labelled incidents yet
    let mut builder = Engine::builder(
        EngineConfig::default(),
        Arc::new(MemoryStore::with_clock(manual.clone())),
        Arc::new(ReplayClock(manual)),
        Arc::new(world),
    );
    for executor in &executors {
        builder = builder.executor(Arc::new(executor.clone()));
    }
    let engine = builder.build()?;

    let fit = matches.best().ok_or("no runbook fits")?;
    let proposal = engine.propose(fit, &situation, &Default::default()).await?;
    println!("\n{} on {:?}", fit.runbook.document().title, proposal.plan.targets);
    for step in &proposal.steps {
        let what = match &step.preview {
            Some(Ok(preview)) => preview.summary.clone(),
            Some(Err(error)) => error.to_string(),
            None => "depends on an earlier step".to_owned(),
        };
        println!("  {:<10} {what}", step.id);
    }
    for check in &proposal.gates.checks {
        println!("  {:<14} {:?}: {}", format!("{:?}", check.gate), check.passage, check.reason);
    }

    // One gate says why nothing would run; nothing was run to find that out.
    assert_eq!(proposal.gates.passage(), Passage::Propose);
    assert_eq!(proposal.gates.decisive().map(|c| &*c.reason.code), Some("uncalibrated"));
    assert!(executors.iter().all(|executor| executor.effects().is_empty()));
    assert!(engine.runs(None, 1).await?.is_empty());
    Ok(())
}
