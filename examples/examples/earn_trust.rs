//! A remedy earns to run without asking, and loses it with one bad outcome.
//!
//! ```text
//! cargo run -p aiops-examples --example earn_trust
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use aiops_act::testing::shop_incident;
use aiops_act::trust::{Counts, Ledger, Level, TrustKey, TrustPolicy};
use aiops_act::{Plan, Runbook, matcher};
use aiops_core::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

const RUNBOOK: &str = r#"
schema: aiops.runbook/v1
id: restart-worker
version: 1.0.0
title: Restart the worker
owner: platform
match: {services: [api]}
targets: {services: [api]}
safety: {risk: 1, auto: when_trusted}
steps: [{id: restart, uses: process, with: {argv: [restart]}, undo: {uses: nothing}}]
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (situation, _) = shop_incident("api", 0.8, NOW);
    let runbook = Runbook::parse(RUNBOOK.as_bytes())?;
    let fit = matcher::fit(&runbook, &situation, None, NOW).map_err(|r| format!("{r:?}"))?;
    let plan = Plan::new(&fit, &situation, &Default::default(), "engine", NOW)?;

    // Trust belongs to these document bytes, this executor version, these targets and this tier.
    let key = TrustKey::of(&plan, &["process@1".to_owned()]);
    let policy = TrustPolicy::default().build()?;
    let mut ledger = Ledger::default();
    println!("{} clean outcomes prove {:.0} %", policy.clean_needed(), policy.proof * 100.0);

    for _ in 0..58 {
        ledger.count(&key, Counts::Good, &policy, NOW);
    }
    let refused = ledger.set(&key, Level::Auto, "ada", &policy, NOW).err();
    println!("after 58: {}", refused.expect("one outcome is missing"));
    ledger.count(&key, Counts::Good, &policy, NOW);
    assert!(!ledger.runs_alone(&plan, &key, &policy, NOW), "a person must agree once");
    ledger.set(&key, Level::Auto, "ada", &policy, NOW)?;
    assert!(ledger.runs_alone(&plan, &key, &policy, NOW));
    println!("after 59, and with the consent of ada: it runs without asking");

    // One run made things worse: it is only suggested now, until a person looked.
    ledger.count(&key, Counts::Worse, &policy, NOW);
    assert_eq!(ledger.level(&key, &policy), Level::Suggest);
    assert!(ledger.set(&key, Level::Auto, "ada", &policy, NOW).is_err());
    println!("after one that made things worse: {:?}", ledger.level(&key, &policy));

    // Another version of the document has earned nothing.
    let edited = Runbook::parse(RUNBOOK.replace("[restart]", "[restart, now]").as_bytes())?;
    let fit = matcher::fit(&edited, &situation, None, NOW).map_err(|r| format!("{r:?}"))?;
    let plan = Plan::new(&fit, &situation, &Default::default(), "engine", NOW)?;
    let other = TrustKey::of(&plan, &["process@1".to_owned()]);
    assert_eq!(ledger.get(&other), None);
    Ok(())
}
