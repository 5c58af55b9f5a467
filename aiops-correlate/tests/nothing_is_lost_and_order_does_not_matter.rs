//! Properties of the default correlator: no alert is ever lost, and with learning frozen the same
//! alerts end in the same groups in whatever order they arrive.

use aiops_core::{Alert, AlertId, Edge, EdgeKind, Labels, NodeKind, Timestamp, Topology};
use aiops_correlate::sim::StormConfig;
use aiops_correlate::{Context, Correlator, CorrelatorExt, Funnel, FunnelConfig, Hold};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn chain() -> Topology {
    let now = Timestamp::EPOCH;
    let mut topology = Topology::new();
    let ids: Vec<_> = ["web", "api", "db", "mail"]
        .map(|name| topology.upsert_node(name, NodeKind::Service, now))
        .into();
    for pair in ids[..3].windows(2) {
        let edge = Edge::new(EdgeKind::Calls, "test", now);
        topology.upsert_edge(pair[0], pair[1], edge).expect("both ends exist");
    }
    topology
}

/// Any alert of few series, so that they meet; any time within an hour, resolved or firing.
fn any_alert() -> impl Strategy<Value = (usize, usize, i64, bool, i64)> {
    (0..4_usize, 0..3_usize, 0..3_600_i64, any::<bool>(), 0..900_i64)
}

fn alerts(made: &[(usize, usize, i64, bool, i64)]) -> Vec<Alert> {
    let alert =
        |(number, &(service, name, at, end, late)): (usize, &(usize, usize, i64, bool, i64))| {
            let labels = Labels::from([("service", ["web", "api", "db", "mail"][service])]);
            let at = Timestamp::from_secs(1_000_000 + at);
            let mut alert = Alert::new(["Slow", "Errors", "Full"][name], labels, at);
            alert.id = AlertId::from_u64(number as u64 + 1);
            alert.ends_at = end.then_some(at);
            alert.received_at = at + std::time::Duration::from_secs(late as u64);
            alert
        };
    let mut alerts: Vec<_> = made.iter().enumerate().map(alert).collect();
    alerts.sort_by_key(|alert| alert.received_at);
    alerts
}

fn frozen() -> Funnel {
    let config = FunnelConfig { learn: false, hold: Hold::Never, ..FunnelConfig::default() };
    config.build().expect("the default is valid")
}

/// The groups as sets of the onsets' alerts, by fingerprint and onset: what people would see.
fn membership(funnel: &Funnel) -> BTreeSet<BTreeSet<AlertId>> {
    let ids = funnel.incidents();
    let groups = ids.iter().map(|id| funnel.decisions(*id).iter().map(|d| d.alert).collect());
    groups.filter(|group: &BTreeSet<AlertId>| !group.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_alert_is_lost_under_any_sequence(made in prop::collection::vec(any_alert(), 1..60)) {
        let topology = chain();
        let alerts = alerts(&made);
        let mut funnel = FunnelConfig::default().build().unwrap();
        funnel.replay(&alerts, &topology);
        let mut inside: BTreeMap<AlertId, usize> = BTreeMap::new();
        for id in funnel.incidents() {
            for decision in funnel.decisions(id) {
                *inside.entry(decision.alert).or_default() += 1;
            }
        }
        for alert in &alerts {
            let decision = funnel.decision(alert.id);
            prop_assert!(decision.is_some(), "alert {} is unknown", alert.id);
            let incident = decision.and_then(|d| d.incident);
            let times = inside.get(&alert.id).copied().unwrap_or(0);
            prop_assert!(times <= 1, "alert {} is in {times} incidents", alert.id);
            if let Some(incident) = incident {
                prop_assert!(funnel.incident(incident).is_some());
            }
        }
    }

    #[test]
    fn any_clock_and_any_order_of_calls_is_survived(
        made in prop::collection::vec(any_alert(), 1..40),
        clock in prop::collection::vec(0..10_000_i64, 40),
    ) {
        let topology = chain();
        let mut funnel = FunnelConfig::default().build().unwrap();
        let mut updates = Vec::new();
        for (alert, second) in alerts(&made).iter().zip(clock) {
            let ctx = Context::new(Timestamp::from_secs(995_000 + second), &topology);
            funnel.ingest(alert, &ctx);
            funnel.tick(&ctx, &mut updates);
        }
        prop_assert!(updates.is_sorted_by_key(|update| update.at));
    }
}

/// On onsets alone (no resends, no ends), arrivals permuted within the lateness bound.
#[test]
fn permuted_arrivals_end_in_the_same_groups() {
    for seed in 0..20_u64 {
        let config = StormConfig {
            services: 60,
            hours: 2.0,
            incidents_per_day: 60.0,
            noise_per_hour: 20.0,
            flapping_per_day: 0.0,
            ..StormConfig::default()
        };
        let storm = config.generate(seed);
        let mut seen = BTreeSet::new();
        let onsets: Vec<Alert> = storm
            .alerts
            .iter()
            .filter(|alert| alert.service.is_some() && !alert.is_resolved())
            .filter(|alert| seen.insert(alert.fingerprint))
            .cloned()
            .collect();
        let run = |stride: usize| {
            // All arrive at one time, in a different order for each stride.
            let end = Timestamp::from_secs(3 * 3_600);
            let mut funnel = frozen();
            let n = onsets.len();
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by_key(|at| (at * stride) % 1_009);
            for at in order {
                funnel.ingest(&onsets[at], &Context::new(end, &storm.topology));
            }
            membership(&funnel)
        };
        let first = run(1);
        for stride in [7, 101, 503] {
            assert_eq!(run(stride), first, "seed {seed}, stride {stride}");
        }
    }
}
