//! What every [`Correlator`] must do, as functions that an implementation calls in its own tests.

use aiops_core::{Alert, AlertId, Event, EventKind, Labels, Severity, Timestamp, Topology};
use aiops_core::{Edge, EdgeKind, NodeKind};
use std::collections::BTreeSet;

use crate::{Context, Correlator, CorrelatorExt, Update};

/// Judges a correlator by the manual of its trait. `make` must give equal, fresh values.
///
/// ```
/// use aiops_correlate::{FunnelConfig, testing::check_correlator};
/// check_correlator(|| FunnelConfig::default().build().expect("the default is valid"));
/// ```
///
/// # Panics
/// When the implementation breaks a rule; the message names it.
pub fn check_correlator<C: Correlator>(make: impl Fn() -> C) {
    let (topology, alerts, deploy) = small_storm();
    same_input_same_answer(&make, &topology, &alerts, &deploy);
    every_alert_stays_reachable(&make, &topology, &alerts);
    nothing_looks_ahead(&make, &topology, &alerts);
    clocks_may_jump_back(&make, &topology, &alerts);
    empty_input_is_quiet(&make, &topology);
}

/// A topology of four services, a little trouble, noise, duplicates and a deploy: what
/// [`check_correlator`] runs on.
pub fn small_storm() -> (Topology, Vec<Alert>, Event) {
    let start = Timestamp::from_secs(1_000_000);
    let mut topology = Topology::new();
    let mut node = |name| topology.upsert_node(name, NodeKind::Service, start);
    let [web, api, db, mail] = ["web", "api", "db", "mail"].map(&mut node);
    for (from, to) in [(web, api), (api, db)] {
        let edge = Edge::new(EdgeKind::Calls, "test", start);
        topology.upsert_edge(from, to, edge).expect("both ends exist");
    }
    let _ = mail;
    let mut alerts = Vec::new();
    let mut send = |name: &str, service: Option<&str>, at: i64, end: Option<i64>, late: i64| {
        let mut labels = Labels::from([("host", "h1")]);
        if let Some(service) = service {
            labels.insert("service", service);
        }
        let begin = start + std::time::Duration::from_secs(at as u64);
        let mut alert = Alert::new(name, labels, begin);
        alert.severity = if at % 3 == 0 { Severity::Critical } else { Severity::Warning };
        alert.ends_at = end.map(|end| start + std::time::Duration::from_secs(end as u64));
        let sent = end.unwrap_or(at) + late;
        alert.received_at = start + std::time::Duration::from_secs(sent as u64);
        alerts.push(alert);
    };
    send("HighLatency", Some("mail"), 10, None, 2);
    send("HighLatency", Some("mail"), 70, Some(70), 1);
    send("ConnectionsSaturated", Some("db"), 300, None, 3);
    send("ConnectionsSaturated", Some("db"), 301, None, 3);
    send("HighLatency", Some("api"), 330, None, 1);
    send("ErrorRate", Some("web"), 361, None, 40);
    send("Heartbeat", None, 365, None, 1);
    for at in [420, 480, 540, 600, 660, 720, 780, 840] {
        send("ConnectionsSaturated", Some("db"), at, None, 1);
        send("HighLatency", Some("api"), at, None, 200);
    }
    send("ErrorRate", Some("web"), 1_400, Some(1_400), 1);
    send("HighLatency", Some("api"), 1_400, Some(1_400), 1);
    send("ConnectionsSaturated", Some("db"), 1_400, Some(1_400), 600);
    send("QueueBacklog", Some("web"), 1_500, Some(1_500), 1);
    alerts.sort_by_key(|alert| alert.received_at);
    let at = start + std::time::Duration::from_secs(200);
    let deploy = Event::new(EventKind::Deploy, Some("db"), "deploy db 2", at);
    (topology, alerts, deploy)
}

fn same_input_same_answer<C: Correlator>(
    make: &impl Fn() -> C,
    topology: &Topology,
    alerts: &[Alert],
    deploy: &Event,
) {
    let run = || {
        let mut correlator = make();
        let mut decisions = Vec::new();
        let mut updates = Vec::new();
        for (at, alert) in alerts.iter().enumerate() {
            let ctx = Context::new(alert.received_at, topology);
            correlator.advance(alert.received_at, topology, &mut updates);
            if at == 2 {
                correlator.observe(deploy, &ctx);
                correlator.observe(deploy, &ctx);
            }
            decisions.push(correlator.ingest(alert, &ctx));
        }
        correlator.advance(Timestamp::MAX, topology, &mut updates);
        let incidents: Vec<_> =
            correlator.incidents().into_iter().map(|id| correlator.incident(id)).collect();
        (decisions, updates, incidents)
    };
    let (a, b) = (run(), run());
    assert_eq!(a.0, b.0, "same input: same decisions");
    assert_eq!(a.1, b.1, "same input: same updates");
    assert_eq!(a.2, b.2, "same input: same incidents");
    for decision in a.0 {
        assert!(!decision.because.is_empty(), "a decision has reasons: {decision:?}");
    }
    let times: Vec<_> = a.1.iter().map(|update| update.at).collect();
    assert!(times.is_sorted(), "updates come oldest first: {times:?}");
}

fn every_alert_stays_reachable<C: Correlator>(
    make: &impl Fn() -> C,
    topology: &Topology,
    alerts: &[Alert],
) {
    let mut correlator = make();
    let mut updates = Vec::new();
    let mut seen: Vec<AlertId> = Vec::new();
    for alert in alerts {
        correlator.advance(alert.received_at, topology, &mut updates);
        let ctx = Context::new(alert.received_at, topology);
        let decision = correlator.ingest(alert, &ctx);
        assert_eq!(decision.alert, alert.id, "a decision names its alert");
        if !seen.contains(&alert.id) {
            let known = correlator.decision(alert.id);
            assert_eq!(known.as_ref(), Some(&decision), "asked again, the same decision");
        }
        seen.push(alert.id);
        for id in &seen {
            let known = correlator.decision(*id);
            let known = known.unwrap_or_else(|| panic!("alert {id} was lost"));
            if let Some(incident) = known.incident {
                assert!(correlator.incident(incident).is_some(), "incident {incident} is unknown");
            }
        }
    }
    let mut inside = BTreeSet::new();
    for id in correlator.incidents() {
        let incident = correlator.incident(id).expect("a listed incident is known");
        assert_eq!(incident.id, id);
        for alert in &incident.alerts {
            assert!(inside.insert(*alert), "alert {alert} is in two incidents");
        }
        for decision in correlator.decisions(id) {
            let state = incident.state.name();
            assert!(!decision.because.is_empty(), "no reason in {state} incident {id}");
        }
    }
}

fn nothing_looks_ahead<C: Correlator>(
    make: &impl Fn() -> C,
    topology: &Topology,
    alerts: &[Alert],
) {
    let whole = make().replay(alerts, topology);
    for cut in 0..alerts.len() {
        let until = alerts[cut].received_at;
        let part = make().replay(&alerts[..cut], topology);
        let by_then = |updates: &[Update]| -> Vec<Update> {
            updates.iter().copied().filter(|update| update.at < until).collect()
        };
        assert_eq!(
            by_then(&part),
            by_then(&whole),
            "what was said before {until} depends on what came later"
        );
    }
}

fn clocks_may_jump_back<C: Correlator>(
    make: &impl Fn() -> C,
    topology: &Topology,
    alerts: &[Alert],
) {
    let mut correlator = make();
    let mut updates = Vec::new();
    for (at, alert) in alerts.iter().enumerate() {
        let now = if at % 2 == 0 { alert.received_at } else { Timestamp::EPOCH };
        let ctx = Context::new(now, topology);
        correlator.ingest(alert, &ctx);
        correlator.tick(&ctx, &mut updates);
    }
    assert!(updates.is_sorted_by_key(|update| update.at), "time never runs backwards in updates");
}

fn empty_input_is_quiet<C: Correlator>(make: &impl Fn() -> C, topology: &Topology) {
    let mut correlator = make();
    let mut updates = Vec::new();
    correlator.tick(&Context::new(Timestamp::from_secs(1), topology), &mut updates);
    assert!(updates.is_empty() && correlator.incidents().is_empty());
    assert_eq!(correlator.decision(AlertId::from_u64(1)), None);
}
