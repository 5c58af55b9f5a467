//! Clocks that jump.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::machine::Event;
use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery, Says, State};

use crate::common::{Bench, answer, library_of, one_write, situation};

const YEAR: Duration = Duration::from_secs(366 * 86_400);

/// Pass: a clock that is set back expires no approval early, fires nothing twice and gives no negative
/// duration; one that is set forward by a year lets the question expire rather than act late.
#[tokio::test]
async fn acceptance_19_clock_jumps() {
    let policy = |bench: &Bench| bench.config.approval.clone();
    // Back: the question still stands, and an answer counts.
    let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    let engine = bench.builder().build().unwrap();
    let (run, driver) = bench.ask(&engine).await;
    driver.abort();
    let back = bench.now() - YEAR;
    assert!(run.apply(Event::Tick, back, &policy(&bench), None).is_err(), "not over");
    let event = Event::Answered { answer: answer(&run, "ada", Says::Approve, back) };
    let approved = run.apply(event, back, &policy(&bench), None).unwrap().run;
    assert_eq!(approved.state, State::Approved);
    // Forward: it expires; nothing runs a year late.
    let forward = bench.now() + YEAR;
    let expired = run.apply(Event::Tick, forward, &policy(&bench), None).unwrap().run;
    assert_eq!(expired.ending(), Some(Ending::Expired));
    let late =
        approved.apply(Event::Claimed { fence: 1 }, forward, &policy(&bench), None).unwrap().run;
    assert_eq!(late.ending(), Some(Ending::Expired), "the approval is no longer valid");

    // Limits are not forgotten when the clock is set back after a run.
    let bench = Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    for jump in [Duration::ZERO, Duration::from_secs(3_600), YEAR] {
        // A second earlier: a plan made at the same instant would be the same plan.
        bench.manual.set(crate::common::START - jump - Duration::from_secs(1));
        let again = engine.execute(bench.plan(&engine).await).await.unwrap();
        assert_eq!(again.ending(), Some(Ending::Proposed), "{jump:?}");
        let reason = &again.because[0];
        assert_eq!(reason.code, "cooldown", "{jump:?}");
        assert!(serde_json::to_value(reason).unwrap()["facts"]["left_s"].as_i64() > Some(0));
    }
    assert_eq!(bench.effects().len(), 1, "nothing fired twice");
}
