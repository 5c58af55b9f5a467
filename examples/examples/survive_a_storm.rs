//! A monitoring rule goes mad and raises 20,000 alerts in a minute; in the middle of it a database
//! fills up. The storm is one line with exact counts, and the database is not lost in it.
//!
//! `cargo run -p aiops-examples --example survive_a_storm`
#![allow(clippy::print_stdout, reason = "an example prints what a user would see")]

use aiops_core::{Alert, AlertId, Labels, Severity, Timestamp, Topology};
use aiops_correlate::{Action, Context, Correlator, CorrelatorExt, FunnelConfig, News};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Timestamp::from_secs(1_000_000);
    let topology = Topology::default();
    let alert = |number: u64, name: &str, service: String, at: Timestamp| {
        let mut alert = Alert::new(name, Labels::from([("service", service.as_str())]), at);
        alert.id = AlertId::from_u64(number + 1);
        alert
    };
    let mut storm: Vec<Alert> = (0..20_000)
        .map(|number| {
            let at = start + std::time::Duration::from_millis(number * 3);
            alert(number, "ProbeFailed", format!("svc-{}", number % 500), at)
        })
        .collect();
    let mut disk = alert(99_999, "DiskFull", "orders-db".to_owned(), storm[15_000].starts_at);
    disk.severity = Severity::Critical;
    storm.insert(15_000, disk.clone());

    let mut correlator = FunnelConfig::default().build()?;
    let mut updates = Vec::new();
    let mut sampled = 0;
    for alert in &storm {
        let ctx = Context::new(alert.received_at, &topology);
        sampled += u32::from(correlator.ingest(alert, &ctx).action == Action::Sampled);
        correlator.tick(&ctx, &mut updates);
    }
    correlator.advance(start + std::time::Duration::from_secs(1_200), &topology, &mut updates);

    let mut known = correlator.incidents().into_iter().filter_map(|id| correlator.incident(id));
    let meta = known.find(|i| i.title.starts_with("alert storm")).ok_or("a storm")?;
    println!("{}", meta.title);
    for entry in &meta.timeline {
        println!("  {}", entry.reason);
    }
    println!("{sampled} records were counted and not displayed");

    assert!(sampled > 9_000, "most repetitions are not displayed");
    let known = storm.iter().filter(|alert| correlator.decision(alert.id).is_some()).count();
    assert_eq!(known, storm.len(), "not one is lost");
    let disk = correlator.decision(disk.id).ok_or("it is known")?;
    let incident = disk.incident.ok_or("it is in an incident")?;
    let seen = |update: &aiops_correlate::Update| {
        update.incident == incident && update.news == News::Shown
    };
    assert!(updates.iter().any(seen), "the disk is seen in the middle of the storm");
    assert!(updates.iter().any(|u| u.incident == meta.id && u.news == News::Resolved), "and over");
    Ok(())
}
