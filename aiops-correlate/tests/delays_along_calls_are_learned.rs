#![allow(clippy::unwrap_used, reason = "a test")]

//! What the links of incidents teach about the delay of each call.

use aiops_core::{Alert, Edge, EdgeKind, Labels, NodeKind, Severity, Timestamp, Topology};
use aiops_correlate::{Context, Correlator, CorrelatorExt, Funnel, FunnelConfig};

/// Two services that call one database.
fn topology() -> Topology {
    let now = Timestamp::EPOCH;
    let mut topology = Topology::new();
    let db = topology.upsert_node("db", NodeKind::Service, now);
    for caller in ["batch", "web"] {
        let caller = topology.upsert_node(caller, NodeKind::Service, now);
        topology.upsert_edge(caller, db, Edge::new(EdgeKind::Calls, "test", now)).unwrap();
    }
    topology
}

fn alert(name: &str, service: &str, begins: i64, ends: Option<i64>) -> Alert {
    let mut alert =
        Alert::new(name, Labels::from([("service", service)]), Timestamp::from_secs(begins));
    alert.severity = if name == "Down" { Severity::Critical } else { Severity::Warning };
    alert.ends_at = ends.map(Timestamp::from_secs);
    alert.received_at = Timestamp::from_secs(ends.unwrap_or(begins));
    alert.id = aiops_core::AlertId::from_u64((begins * 2 + i64::from(ends.is_some())) as u64);
    alert
}

/// An incident of the database that reaches `caller` after `gap` seconds, and its end.
fn incident(funnel: &mut Funnel, caller: &str, start: i64, gap: i64) {
    let topology = topology();
    let mut updates = Vec::new();
    let end = start + 1_500;
    let records = [
        alert("Down", "db", start, None),
        alert("Slow", caller, start + gap, None),
        alert("Down", "db", start, Some(end)),
        alert("Slow", caller, start + gap, Some(end + 5)),
    ];
    for record in &records {
        funnel.advance(record.received_at, &topology, &mut updates);
        funnel.ingest(record, &Context::new(record.received_at, &topology));
    }
    funnel.advance(Timestamp::from_secs(end + 10_000), &topology, &mut updates);
}

#[test]
fn a_slow_call_is_learned_from_what_ended_together() {
    let mut funnel = FunnelConfig::default().build().unwrap();
    assert_eq!(funnel.delay("batch", "db"), None, "never heard of");
    for round in 0..15 {
        let start = 1_000_000 + round * 40_000;
        incident(&mut funnel, "batch", start, 150);
        incident(&mut funnel, "web", start + 20_000, 25);
    }
    let seconds = |caller| funnel.delay(caller, "db").unwrap().as_secs_f64();
    let (slow, quick) = (seconds("batch"), seconds("web"));
    assert!(slow > 90.0 && quick < 50.0, "{slow:.0} s and {quick:.0} s");
}
