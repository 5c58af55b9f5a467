//! Trust is earned slowly and lost at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aiops_act::{
    Ending, Engine, Error, FixedApprover, Level, MetricFn, MetricQuery, Run, Runbook, TrustPolicy,
};
use aiops_core::Fingerprint;

use crate::common::{Bench, library_of, one_write, situation};

const SAFETY: &str = "auto: when_trusted, rate: {runs: 1000, per: 1h}";

/// Runs the bench's runbook once, on a fresh incident, long after the last run.
async fn once(bench: &mut Bench, engine: &Engine, number: u64) -> Run {
    bench.manual.advance(Duration::from_secs(2 * 3_600));
    let id = aiops_core::IncidentId::of("", Fingerprint::from_u64(number), bench.now());
    bench.situation.incident.id = id;
    let situation = bench.situation.clone();
    let now = bench.now();
    bench.world.change(|w| {
        w.situation = situation;
        w.topology = Arc::new(crate::common::shop(now));
    });
    engine.execute(bench.plan(engine).await).await.unwrap()
}

/// Pass: 59 clean outcomes promote at 95 %, 58 do not; one "worse" demotes; an edited comment
/// changes nothing, an edited value begins anew; tier 3 never.
#[tokio::test]
async fn acceptance_27_trust_ledger() {
    let library = library_of([one_write("one", SAFETY)]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    let hurts = Arc::new(AtomicBool::new(false));
    let measured = hurts.clone();
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(move |_: &MetricQuery, _| {
            Some(if measured.load(Ordering::SeqCst) { 0.9 } else { 0.0 })
        })))
        .build()
        .unwrap();
    let key = engine.trust_key(&bench.plan(&engine).await).unwrap();

    for number in 0..58 {
        let run = once(&mut bench, &engine, number).await;
        assert_eq!(run.ending(), Some(Ending::Succeeded), "{:?}", run.because);
        assert_eq!(run.answers.len(), 1, "people are asked");
    }
    let refused = engine.set_trust(&key, Level::Auto, "ada").await.unwrap_err();
    assert!(matches!(refused, Error::NotEarned { .. }), "58 do not suffice");
    once(&mut bench, &engine, 58).await;
    // Enough, and still a person must agree once.
    assert_eq!(once(&mut bench, &engine, 59).await.answers.len(), 1);
    engine.set_trust(&key, Level::Auto, "ada").await.unwrap();
    let run = once(&mut bench, &engine, 60).await;
    assert_eq!((run.ending(), run.answers.len()), (Some(Ending::Succeeded), 0), "nobody is asked");

    // One "worse" ends it, and more: it is only suggested until a person looked.
    hurts.store(true, Ordering::SeqCst);
    assert_eq!(once(&mut bench, &engine, 61).await.ending(), Some(Ending::RolledBack));
    hurts.store(false, Ordering::SeqCst);
    let record = engine.trust().await.unwrap().remove(0);
    assert_eq!((record.level, record.clean, record.good, record.bad), (Level::Suggest, 0, 61, 1));
    let run = once(&mut bench, &engine, 62).await;
    assert_eq!((run.ending(), &*run.because[0].code), (Some(Ending::Proposed), "not_trusted"));
    assert!(matches!(
        engine.set_trust(&key, Level::Auto, "ada").await,
        Err(Error::NotEarned { .. })
    ));
    engine.set_trust(&key, Level::Approve, "ada").await.unwrap();
    assert_eq!(once(&mut bench, &engine, 63).await.ending(), Some(Ending::Succeeded));

    // What the record belongs to.
    let text = serde_json::to_string(one_write("one", SAFETY).document()).unwrap();
    let commented = format!("# reviewed again\n{}", text.replace(",\"", ", \n \""));
    let same = Runbook::parse(commented.as_bytes()).unwrap();
    assert_eq!(same.hash(), one_write("one", SAFETY).hash());
    let edited = Runbook::parse(text.replace("\"count\":2", "\"count\":3").as_bytes()).unwrap();
    assert_ne!(edited.hash(), same.hash());

    let mut tier_3 = key;
    tier_3.risk = aiops_act::Risk::Irreversible;
    let policy = TrustPolicy { proof: 0.01, confidence: 0.01, ..TrustPolicy::default() };
    let mut ledger = aiops_act::trust::Ledger::default();
    ledger.count(&tier_3, aiops_act::trust::Counts::Good, &policy, bench.now());
    assert!(ledger.set(&tier_3, Level::Auto, "ada", &policy, bench.now()).is_err());
}
