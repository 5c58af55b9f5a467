//! Approvals that come too late.

use std::time::Duration;

use aiops_act::machine::Event;
use aiops_act::{Ending, Error, Says, State};

use crate::common::{Bench, answer, library_of, one_write, situation};

fn bench() -> Bench {
    let library = library_of([one_write("one", "approvals: {count: 1, timeout: 5m}")]);
    Bench::with_library(situation(&[("api", 0.9)]), library)
}

/// Pass: after the timeout an approval is refused with the reason and the run stays expired; approve
/// and timeout in the same tick have one winner, by journal order.
#[tokio::test]
async fn acceptance_05_late_approval() {
    let bench = bench();
    let engine = bench.builder().build().unwrap();
    let (run, driver) = bench.ask(&engine).await;
    assert_eq!(run.state, State::Asking);
    let id = run.plan.run;

    // The question expires; a replay waits for people for ever, so the tick comes from the test.
    driver.abort();
    bench.manual.advance(Duration::from_secs(300));
    let expired = run.apply(Event::Tick, bench.now(), &bench.config.approval, None).unwrap().run;
    assert_eq!(expired.ending(), Some(Ending::Expired));

    // The answer arrives in the same tick. Journaled before the tick, it is too late by its time,
    // and is not counted; the question is over all the same.
    let late = answer(&run, "ada", Says::Approve, bench.now());
    let after = engine.answer(id, late.clone()).await.unwrap();
    assert_eq!(after.ending(), Some(Ending::Expired));
    assert!(after.answers.is_empty());

    // Journaled after it: refused, with the reason.
    let refused = engine.answer(id, late).await.unwrap_err();
    assert!(
        matches!(&refused, Error::TooLate { reason } if reason.contains("Expired")),
        "{refused}"
    );
    assert_eq!(engine.run(id).await.unwrap().ending(), Some(Ending::Expired));
    assert!(bench.effects().is_empty());

    // An answer from just before the end that is committed first wins, and the tick is late.
    let in_time = answer(&run, "ada", Says::Approve, bench.now() - Duration::from_nanos(1));
    let event = Event::Answered { answer: in_time };
    let approved = run.apply(event, bench.now(), &bench.config.approval, None).unwrap().run;
    assert_eq!(approved.state, State::Approved);
    assert!(approved.apply(Event::Tick, bench.now(), &bench.config.approval, None).is_err());
}
