//! A disk alert flaps all night while a checkout goes down: the flapping costs nobody a page, the
//! checkout does, and what was hidden says why.
//!
//! `cargo run -p aiops-examples --example suppress_flapping`
#![allow(clippy::print_stdout, reason = "an example prints what a user would see")]

use aiops_core::{Alert, Labels, Severity, Timestamp, Topology};
use aiops_correlate::{Context, Correlator, CorrelatorExt, FunnelConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Timestamp::from_secs(1_000_000);
    let after = |seconds: u64| start + std::time::Duration::from_secs(seconds);
    let topology = Topology::default();
    let record = |name: &str, service: &str, severity, from: u64, end: Option<u64>| {
        let mut alert = Alert::new(name, Labels::from([("service", service)]), after(from));
        alert.severity = severity;
        alert.ends_at = end.map(after);
        alert.received_at = after(end.unwrap_or(from));
        alert
    };

    // On for a minute, off for three, forty times.
    let mut night = Vec::new();
    for round in 0..40 {
        let from = round * 240;
        night.push(record("DiskSlow", "archive", Severity::Warning, from, None));
        night.push(record("DiskSlow", "archive", Severity::Warning, from, Some(from + 60)));
    }
    // In the middle of it, something real: it lasts.
    for again in 0..20 {
        night.push(record("CheckoutDown", "shop", Severity::Critical, 4_000 + again * 60, None));
    }
    night.sort_by_key(|alert| alert.received_at);

    let mut correlator = FunnelConfig::default().build()?;
    let mut updates = Vec::new();
    for alert in &night {
        correlator.advance(alert.received_at, &topology, &mut updates);
        correlator.ingest(alert, &Context::new(alert.received_at, &topology));
    }
    correlator.advance(after(12_000), &topology, &mut updates);

    let shown = correlator.shown();
    for incident in &shown {
        println!("shown: {}", incident.title);
    }
    let flap = correlator.decision(night[0].id).ok_or("no alert is ever lost")?;
    println!("{} records of DiskSlow hidden. The first one: {}", 80, flap.sentence());

    assert!(shown.iter().any(|incident| incident.title == "shop: CheckoutDown"));
    assert_eq!(shown.len(), 1, "forty times on and off, and nobody was woken");
    for alert in &night {
        assert!(correlator.decision(alert.id).is_some(), "hidden is not lost");
    }
    Ok(())
}
