//! Many incidents at once, over many restarts.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery};
use aiops_core::IncidentId;

use crate::common::{Bench, library_of, one_write, shop, situation};

/// Pass: of 500 matching incidents within two hours, over 20 restarts, no more run than rate and
/// budget allow; with bad outcomes the breaker opens at once; the book stays small.
#[tokio::test]
async fn acceptance_14_storm() {
    for (value, allowed) in [(0.0, 2 * 3 + 1), (0.9, 3)] {
        let library = library_of([one_write("one", "rate: {runs: 3, per: 1h}")]);
        let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
        let mut ran = 0;
        for restart in 0..20_u64 {
            let engine = bench
                .builder()
                .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
                .metrics(Arc::new(MetricFn(move |_: &MetricQuery, _| Some(value))))
                .build()
                .unwrap();
            for n in 0..25_u64 {
                bench.manual.advance(Duration::from_secs(14));
                bench.situation.incident.id = IncidentId::from_u64(1 + restart * 25 + n);
                let (situation, now) = (bench.situation.clone(), bench.now());
                bench.world.change(|w| {
                    w.situation = situation;
                    w.topology = Arc::new(shop(now));
                });
                let run = engine.execute(bench.plan(&engine).await).await.unwrap();
                match run.ending() {
                    Some(Ending::Succeeded | Ending::RolledBack) => ran += 1,
                    Some(Ending::Proposed) => {
                        let code = &*run.because[0].code;
                        assert!(
                            ["rate", "cooldown", "breaker_open", "not_trusted"].contains(&code)
                        );
                    }
                    other => panic!("{other:?}: {:?}", run.because),
                }
            }
        }
        assert!(ran >= 1 && ran <= allowed, "{ran} of 500 ran, {allowed} may");
        let size = bench.store.get(b"act/book").unwrap().unwrap().value.len();
        assert!(size < 8_192, "the book has {size} bytes");
    }
}
