//! A small incident with known truth, for tests of any stage.

use crate::{
    Alert, Depends, Edge, EdgeKind, Event, EventKind, Hops, Labels, NodeKind, Severity, Timestamp,
    Topology,
};
use std::time::Duration;

/// An incident with its truth beside it.
#[derive(Debug, Clone)]
pub struct SyntheticIncident {
    /// What depends on what.
    pub topology: Topology,
    /// Alerts in order of arrival: the root's first, then its dependents'.
    pub alerts: Vec<Alert>,
    /// Changes before it, on services that are not the root.
    pub events: Vec<Event>,
    /// The service that is the root cause. **No stage may read this.**
    pub root: String,
    /// When it began. **No stage may read this.**
    pub onset: Timestamp,
}

/// A chain of `depth` services `s0 -> s1 -> ... `, each with one idle sibling; the last fails at
/// `onset`, and each dependent follows 30 s per hop later.
///
/// Deterministic: no random numbers. The siblings and a harmless deploy on one of them are there so
/// that "blame everything" and "blame the last change" are wrong answers.
///
/// ```
/// let incident = aiops_core::testing::synthetic_incident(3, aiops_core::Timestamp::from_secs(600));
/// assert_eq!(incident.root, "s2");
/// assert_eq!(incident.alerts.len(), 3);
/// ```
pub fn synthetic_incident(depth: usize, onset: Timestamp) -> SyntheticIncident {
    let start = Timestamp::EPOCH;
    let mut topology = Topology::new();
    let mut chain = Vec::with_capacity(depth);
    for i in 0..depth {
        let service = topology.upsert_node(&format!("s{i}"), NodeKind::Service, start);
        let sibling = topology.upsert_node(&format!("idle{i}"), NodeKind::Service, start);
        for (from, to) in
            chain.last().map(|&caller| (caller, service)).into_iter().chain([(service, sibling)])
        {
            topology
                .upsert_edge(from, to, Edge::new(EdgeKind::Calls, "synthetic", start))
                .expect("both ends were just made");
        }
        chain.push(service);
    }
    let Some(&root) = chain.last() else {
        let root = String::new();
        return SyntheticIncident { topology, alerts: vec![], events: vec![], root, onset };
    };
    let affected = topology.closure(root, Depends::Dependents, Hops::All);
    let mut alerts: Vec<_> = chain
        .iter()
        .map(|&service| {
            let hops = affected.hops_to(service).unwrap_or(0);
            let at = onset + Duration::from_secs(30) * hops;
            let name = topology.name(service).unwrap_or_default();
            let mut alert = Alert::new("HighLatency", Labels::from([("service", name)]), at);
            alert.severity = Severity::Critical;
            alert
        })
        .collect();
    alerts.sort_by_key(|alert| alert.starts_at);
    let deploy = Event::new(
        EventKind::Deploy,
        Some("idle0"),
        "deploy idle0 2.0",
        onset - Duration::from_secs(120),
    );
    let root = topology.name(root).unwrap_or_default().to_owned();
    SyntheticIncident { topology, alerts, events: vec![deploy], root, onset }
}
