//! Many incidents at once, over many restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery, match_runbooks};
use aiops_core::IncidentId;

use crate::common::{Bench, library_of, one_write, shop, situation};

/// Pass: of 10,000 alerts within two hours, 500 of them matching, over 20 restarts, no more run than
/// rate and budget allow; with bad outcomes the breaker opens at once; book and memory stay small.
#[tokio::test]
async fn acceptance_14_storm() {
    for (value, allowed) in [(0.0, 2 * 3 + 1), (0.9, 3)] {
        let library = library_of([one_write("one", "rate: {runs: 3, per: 1h}")]);
        let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
        let (mut ran, mut alerts) = (0, 0);
        let before = resident_kb();
        for restart in 0..20_u64 {
            let engine = bench
                .builder()
                .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
                .metrics(Arc::new(MetricFn(move |_: &MetricQuery, _| Some(value))))
                .build()
                .unwrap();
            for n in 0..25_u64 {
                bench.manual.advance(Duration::from_secs(14));
                // Nineteen alerts of something that no runbook is for, and one that one is for.
                for other in 0..19 {
                    let mut stray = situation(&[("redis", 0.9)]);
                    stray.incident.id = IncidentId::from_u64(1_000_000 + alerts + other);
                    let none = BTreeMap::new();
                    let matches = match_runbooks(&bench.library, &stray, &none, bench.now());
                    assert!(matches.best().is_none());
                }
                alerts += 20;
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
        assert_eq!(alerts, 10_000);
        assert!(ran >= 1 && ran <= allowed, "{ran} of 500 ran, {allowed} may");
        let grown = resident_kb().saturating_sub(before);
        assert!(grown < 64 * 1024, "memory grew by {grown} kB, the store's content included");
        let size = bench.store.get(b"act/book").unwrap().unwrap().value.len();
        assert!(size < 8_192, "the book has {size} bytes");
    }
}

/// Memory of this process; 0 where it cannot be known.
fn resident_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}
