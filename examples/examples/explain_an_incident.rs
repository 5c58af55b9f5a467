//! A connection pool runs dry, three services suffer, a noisy job fires next to it: one incident is
//! shown, and every alert says why it is where it is.
//!
//! `cargo run -p aiops-examples --example explain_an_incident`
#![allow(clippy::print_stdout, reason = "an example prints what a user would see")]

use aiops_core::{Alert, Edge, EdgeKind, Event, EventKind, Labels, NodeKind, Timestamp, Topology};
use aiops_correlate::{Action, Because, Context, Correlator, CorrelatorExt, FunnelConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Timestamp::from_secs(1_000_000);
    let after = |seconds: u64| start + std::time::Duration::from_secs(seconds);

    // web calls api, api calls db; mail stands apart.
    let mut topology = Topology::new();
    let [web, api, db, _mail] = ["web", "api", "db", "mail"]
        .map(|name| topology.upsert_node(name, NodeKind::Service, start));
    for (caller, callee) in [(web, api), (api, db)] {
        topology.upsert_edge(caller, callee, Edge::new(EdgeKind::Calls, "declared", start))?;
    }

    let fires = |name: &str, service: &str, severity: &str, second: u64| {
        let labels = Labels::from([("service", service), ("severity", severity)]);
        Alert::new(name, labels, after(second))
    };
    let storm = [
        fires("QueueSlow", "mail", "warning", 10),
        fires("PoolExhausted", "db", "critical", 20),
        fires("HighLatency", "api", "warning", 50),
        fires("ErrorRate", "web", "critical", 75),
    ];

    let mut correlator = FunnelConfig::default().build()?;
    let deploy = Event::new(EventKind::Deploy, Some("db"), "deploy db 2.1", start);
    correlator.observe(&deploy, &Context::new(start, &topology));
    let mut updates = Vec::new();
    for alert in &storm {
        correlator.ingest(alert, &Context::new(alert.received_at, &topology));
    }
    // The queue recovers by itself; nobody needed to know.
    let mut over = storm[0].clone();
    over.ends_at = Some(after(80));
    over.received_at = after(80);
    correlator.ingest(&over, &Context::new(after(80), &topology));
    correlator.advance(after(600), &topology, &mut updates);

    let shown = correlator.shown();
    for incident in &shown {
        println!("{} ({} alerts)", incident.title, incident.alerts.len());
        for entry in &incident.timeline {
            println!("  {}  {}", entry.at, entry.reason);
        }
    }
    for alert in &storm {
        let decision = correlator.decision(alert.id).ok_or("no alert is ever lost")?;
        println!("{:<14} {}", alert.name, decision.sentence());
    }

    assert_eq!(shown.len(), 1, "four alerts, one incident");
    assert_eq!(shown[0].events, [deploy.id], "the deploy before it is attached");
    let web = correlator.decision(storm[3].id).ok_or("no alert is ever lost")?;
    assert_eq!(web.action, Action::Joined);
    assert_eq!(web.because[0], Because::DependsOn { service: "api".into(), hops: 1 });
    let mail = correlator.decision(storm[0].id).ok_or("no alert is ever lost")?;
    assert!(matches!(mail.because[1], Because::EndedByItself { .. }), "hidden, and says why");
    Ok(())
}
