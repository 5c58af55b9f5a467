//! JSON that a released version wrote keeps loading: one fixture per noun and version.
//!
//! A fixture is never edited. When a noun grows, add a file under the new version; the old one must
//! still load. Fixtures hold every field, so that a renamed field fails here and not in somebody's
//! database.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use aiops_core::{
    Alert, AlertRule, Anomaly, Event, Feedback, Incident, MetricKind, Ranking, Reason, Shard,
    TopologyDocument,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::Path;

fn check<T: DeserializeOwned + Serialize + PartialEq + Debug>(file: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v0.1").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
    let noun: T = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
    let written: serde_json::Value = serde_json::to_value(&noun).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written, read, "{file}: every field is known and written back as it was");
    noun
}

#[test]
fn version_0_1() {
    let alert: Alert = check("alert.json");
    assert_eq!(alert.service.as_deref(), Some("api"));
    assert!(alert.is_resolved());
    let anomaly: Anomaly = check("anomaly.json");
    assert_eq!(anomaly.kind, MetricKind::Latency);
    let event: Event = check("event.json");
    assert_eq!(event.title, "deploy api 1.4.2");
    let incident: Incident = check("incident.json");
    assert_eq!(incident.alerts, [alert.id]);
    let ranking: Ranking = check("ranking.json");
    assert_eq!(ranking.candidates.len(), 3);
    assert_eq!(ranking.candidates[0].evidence.len(), 7, "one of each kind of evidence");
    let topology: TopologyDocument = check("topology.json");
    assert!(aiops_core::Topology::try_from(topology).is_ok());
    let _: Vec<Feedback> = check("feedback.json");
    let _: AlertRule = check("alert_rule.json");
    let _: Vec<Reason> = check("reasons.json");
    let _: Vec<Shard> = check("shards.json");
}

#[test]
fn a_shard_beyond_the_last_is_refused() {
    assert!(serde_json::from_str::<Shard>("1024").is_err());
    assert!(serde_json::from_str::<Shard>("1023").is_ok());
}

#[test]
fn unknown_fields_of_a_newer_version_are_ignored() {
    let alert = r#"{"id":"0000000000000001","fingerprint":"0000000000000002","name":"x",
        "starts_at":1,"received_at":2,"invented_in_0_9":true}"#;
    assert!(serde_json::from_str::<Alert>(alert).is_ok());
}
