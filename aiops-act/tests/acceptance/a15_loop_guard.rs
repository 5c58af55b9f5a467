//! A remedy that raises its own trigger.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::machine::NoticeKind;
use aiops_act::{Ending, FixedApprover, LineNotifier, MetricFn, MetricQuery};
use aiops_core::IncidentId;

use crate::common::{Bench, Lines, library_of, one_write, situation};

/// Pass: a runbook whose effect raises its own trigger stops at the cooldown, and people hear of it.
#[tokio::test]
async fn acceptance_15_loop_guard() {
    let mut bench =
        Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    let lines = Lines::default();
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .notifier(Arc::new(LineNotifier::new("log", Box::new(lines.clone()))))
        .build()
        .unwrap();
    let mut endings = Vec::new();
    for n in 0..6 {
        // Each success is followed by the same trouble, as a new incident.
        bench.manual.advance(Duration::from_secs(20));
        bench.situation.incident.id = IncidentId::from_u64(n + 1);
        let situation = bench.situation.clone();
        bench.world.change(|w| w.situation = situation);
        let run = engine.execute(bench.plan(&engine).await).await.unwrap();
        endings.push(run.ending().unwrap());
    }
    assert_eq!(endings[0], Ending::Succeeded);
    assert!(endings[1..].iter().all(|e| *e == Ending::Proposed), "{endings:?}");
    assert_eq!(bench.effects().len(), 1);
    engine.deliver().await.unwrap();
    let proposals = lines.messages().into_iter().filter(|m| m.kind == NoticeKind::Proposal);
    let reasons: Vec<_> = proposals.map(|m| m.because[0].code.to_string()).collect();
    assert_eq!(reasons, ["cooldown"; 5]);
}
