//! Nothing looks ahead and nothing is dated back, on storms with everything that storms have.

use aiops_core::Timestamp;
use aiops_correlate::eval::{Placed, place};
use aiops_correlate::sim::StormConfig;
use aiops_correlate::{Funnel, FunnelConfig};

fn funnel() -> Funnel {
    FunnelConfig::default().build().expect("the default is valid")
}

#[test]
fn what_was_shown_by_a_time_does_not_depend_on_what_came_later() {
    let of = |stress: &str| {
        let base = StormConfig::stress(stress).expect("a known stress");
        StormConfig { hours: 3.0, services: 60, incidents_per_day: 160.0, ..base }
    };
    for (seed, stress) in [(21, "default"), (22, "late"), (23, "skew"), (24, "flapping")] {
        let storm = of(stress).generate(seed);
        let whole = place(&mut funnel(), &storm.alerts, &storm.topology);
        assert!(whole.iter().any(|placed| placed.first_shown.is_some()), "{stress}: all hidden");
        for (alert, placed) in storm.alerts.iter().zip(&whole) {
            let early = placed.first_shown.is_some_and(|shown| shown < alert.received_at);
            assert!(!early, "{stress}: {} was shown before it arrived", alert.id);
        }
        for part in [1, 2, 3] {
            let cut = storm.alerts.len() * part / 4;
            let now = storm.alerts[cut].received_at;
            let by_then = |all: &[Placed]| -> Vec<Option<Timestamp>> {
                all[..cut].iter().map(|p| p.first_shown.filter(|shown| *shown < now)).collect()
            };
            let first = place(&mut funnel(), &storm.alerts[..cut], &storm.topology);
            assert_eq!(by_then(&first), by_then(&whole), "{stress}, {part} of 4 parts");
        }
    }
}
