//! What the stages say of themselves reaches whoever listens. A file of its own, because there is
//! one recorder and one subscriber for a process.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod synthetic;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use aiops_pipeline::recording::Recording;
use aiops_pipeline::{Approval, Settings, bundled_runbooks, carry_out, replay};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tracing::span;

/// Remembers the targets of all events.
#[derive(Clone, Default)]
struct Targets(Arc<Mutex<BTreeSet<String>>>);

impl tracing::Subscriber for Targets {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().insert(event.metadata().target().to_owned());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_replay_is_counted_and_told() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().unwrap();
    let targets = Targets::default();
    tracing::subscriber::set_global_default(targets.clone()).unwrap();

    let recording = Recording::open(&synthetic::pool_incident().write("telemetry")).unwrap();
    let library = bundled_runbooks().unwrap();
    let mut story = replay(&recording, &library, &Settings::default(), &mut |_| {}).unwrap();
    carry_out(&mut story, &library, Approval::Deny).unwrap();

    let mut counted = std::collections::BTreeMap::<String, u64>::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if let DebugValue::Counter(n) = value {
            *counted.entry(key.key().name().to_owned()).or_default() += n;
        }
    }
    assert!(counted["aiops_detect_samples_total"] >= story.funnel.samples, "{counted:?}");
    assert!(counted["aiops_correlate_alerts_total"] >= story.funnel.alerts(), "{counted:?}");
    for name in [
        "aiops_detect_anomalies_total",
        "aiops_correlate_incidents_total",
        "aiops_rca_rankings_total",
    ] {
        assert!(counted[name] > 0, "{name} in {counted:?}");
    }
    assert!(counted["aiops_act_transitions_total"] >= 1, "{counted:?}");
    let told = targets.0.lock().unwrap();
    for target in ["aiops_detect", "aiops_correlate", "aiops_rca", "aiops_act"] {
        assert!(told.contains(target), "{target} in {told:?}");
    }
}
