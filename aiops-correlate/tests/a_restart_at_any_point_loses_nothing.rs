//! A funnel that is saved and restored in the middle goes on exactly as one that never stopped.

use aiops_core::{Timestamp, Topology};
use aiops_correlate::sim::StormConfig;
use aiops_correlate::testing::small_storm;
use aiops_correlate::{
    BreakerConfig, Context, Correlator, CorrelatorExt, Funnel, FunnelConfig, InhibitRule, Silence,
    Update, When,
};
use proptest::prelude::*;

fn config() -> FunnelConfig {
    let at = Timestamp::from_secs;
    FunnelConfig {
        breaker: BreakerConfig { alerts_per_minute: 30, ..BreakerConfig::default() },
        inhibit: vec![InhibitRule {
            name: "saturated".into(),
            sources: vec!["name=DbConnSaturated".parse().expect("well formed")],
            target: "name=HighLatency".parse().expect("well formed"),
            equal: vec!["host".into()],
        }],
        silences: vec![Silence {
            name: "asked".into(),
            matcher: "name=QueueBacklog".parse().expect("well formed"),
            when: When::Once { from: at(600), until: at(3_000) },
        }],
        ..FunnelConfig::default()
    }
}

fn run(
    storm: &[aiops_core::Alert],
    topology: &Topology,
    cut: Option<usize>,
) -> (Funnel, Vec<Update>) {
    let mut funnel = config().build().expect("valid");
    let mut updates = Vec::new();
    for (at, alert) in storm.iter().enumerate() {
        if cut == Some(at) {
            let bytes = funnel.snapshot();
            funnel = config().restore(&bytes).expect("its own");
            assert_eq!(funnel.snapshot(), bytes, "restored, it is the same");
        }
        funnel.advance(alert.received_at, topology, &mut updates);
        funnel.ingest(alert, &Context::new(alert.received_at, topology));
    }
    funnel.advance(Timestamp::MAX, topology, &mut updates);
    (funnel, updates)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_came_before_and_comes_after(seed in 0..1_000_u64, share in 0.0..1.0_f64) {
        let config = StormConfig {
            services: 40,
            hours: 1.5,
            incidents_per_day: 200.0,
            noise_per_hour: 40.0,
            ..StormConfig::default()
        };
        let storm = config.generate(seed);
        let cut = (share * storm.alerts.len() as f64) as usize;
        let (whole, told) = run(&storm.alerts, &storm.topology, None);
        let (cut, told_cut) = run(&storm.alerts, &storm.topology, Some(cut));
        prop_assert_eq!(told, told_cut);
        prop_assert_eq!(whole.incidents(), cut.incidents());
        for alert in &storm.alerts {
            prop_assert_eq!(whole.decision(alert.id), cut.decision(alert.id));
        }
        for id in whole.incidents() {
            prop_assert_eq!(whole.incident(id), cut.incident(id));
        }
    }
}

#[test]
fn other_settings_and_damaged_bytes_are_refused() {
    let (topology, alerts, _) = small_storm();
    let mut funnel = FunnelConfig::default().build().unwrap();
    funnel.replay(&alerts, &topology);
    let bytes = funnel.snapshot();
    let other = FunnelConfig { link_nats: 1.0, ..FunnelConfig::default() };
    assert!(other.restore(&bytes).is_err());
    assert!(FunnelConfig::default().restore(&bytes[..bytes.len() - 1]).is_err());
    let mut bad = bytes.clone();
    bad[40] ^= 1;
    assert!(FunnelConfig::default().restore(&bad).is_err());
    assert!(FunnelConfig::default().restore(&bytes).is_ok());
}
