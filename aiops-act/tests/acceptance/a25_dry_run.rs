//! A proposal over the whole library has no effect.

use std::collections::BTreeMap;

use aiops_act::{Passage, matcher};
use aiops_core::{Cause, EventId};

use crate::common::{Bench, situation};

/// Pass: proposing every runbook of the repository calls only what reads, and says of the gates what
/// the real run then finds.
#[tokio::test]
async fn acceptance_25_dry_run() {
    let mut proposed = 0;
    for service in ["api", "postgres", "redis", "gateway"] {
        for change in [false, true] {
            let mut situation = situation(&[(service, 0.9)]);
            if change {
                situation.ranking.candidates[0].cause = Cause::Change {
                    service: Some(service.to_owned()),
                    event: EventId::from_u64(1),
                    title: format!("deploy {service} 1.2.3"),
                };
            }
            let bench = Bench::new(situation);
            let engine = bench.builder().build().unwrap();
            for runbook in bench.library.iter() {
                let Ok(fit) = matcher::fit(runbook, &bench.situation, None, bench.now()) else {
                    continue;
                };
                let proposal =
                    engine.propose(&fit, &bench.situation, &BTreeMap::new()).await.unwrap();
                proposed += 1;
                let asked = bench.executors.iter().flat_map(|e| e.asked());
                assert!(asked.into_iter().all(|a| a.method == "plan"), "{}", runbook.id());
                let stored = engine.runs(None, 10).await.unwrap();
                assert!(!stored.contains(&proposal.plan.run), "nothing is stored");
                // What the gates say of the proposal is what they say of the run.
                let predicted = proposal.gates.passage();
                let id = engine.submit(proposal.plan).await.unwrap();
                let run = engine.run(id).await.unwrap();
                let found = engine.check_gates(&run.plan).await.unwrap();
                assert_eq!(found, proposal.gates);
                assert_eq!(predicted, Passage::Open, "{}: {:?}", runbook.id(), proposal.gates);
                engine.cancel(id, "test").await.unwrap();
            }
        }
    }
    assert!(proposed >= 3, "the library is for this shop");
}
