//! A slow disk under a database makes a shop slow. Who is to blame: the gateway that users see, the
//! API that was deployed twenty minutes ago, or the database that nobody complained about?
//!
//! ```text
//! cargo run -p aiops-examples --example rank_root_causes
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]
use aiops_core::{
    Edge, EdgeKind, Event, EventKind, Evidence, Frame, MetricKind, NodeKind, SeriesKey, Timestamp,
    Topology,
};
use aiops_rca::{Advice, ConfidenceConfig, Context, DefaultConfig, MetricInfo, RootCauseAnalyzer};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Half an hour at one sample a second; the trouble begins in the database after 25 minutes.
    let (steps, trouble) = (1_800, 1_500);
    let mut series = vec![];
    let mut metrics = vec![];
    let mut values = vec![];
    for (service, metric, kind, level, rise, late) in [
        ("gateway", "latency_seconds", MetricKind::Latency, 0.30, 0.50, 12),
        ("gateway", "errors", MetricKind::Errors, 0.2, 4.0, 30),
        ("gateway", "requests", MetricKind::Throughput, 120.0, 0.0, 0),
        ("api", "latency_seconds", MetricKind::Latency, 0.20, 0.48, 5),
        ("api", "requests", MetricKind::Throughput, 110.0, 0.0, 0),
        ("api", "cpu", MetricKind::Cpu, 0.40, 0.0, 0),
        ("db", "latency_seconds", MetricKind::Latency, 0.02, 0.15, 0),
        ("db", "requests", MetricKind::Throughput, 330.0, 0.0, 0),
        ("db", "disk_busy", MetricKind::Saturation, 0.20, 0.78, 0),
        ("cache", "latency_seconds", MetricKind::Latency, 0.001, 0.0, 0),
    ] {
        let row = series.len() as u64;
        series.push(SeriesKey::new(metric, [("service", service)]));
        metrics.push(MetricInfo::new(service, kind));
        values.extend((0..steps).map(|t| {
            let noise = (t * 2_654_435_761 + row * 40_503) % 1_000;
            let up = if t >= trouble + late { rise } else { 0.0 };
            level * (1.0 + 0.1 * (noise as f64 / 1_000.0 - 0.5)) + up
        }));
    }
    let window = Frame::new(series, Timestamp::EPOCH, Duration::from_secs(1), values)?;

    let mut topology = Topology::new();
    for (caller, callee) in [("gateway", "api"), ("api", "db"), ("api", "cache")] {
        let [from, to] =
            [caller, callee].map(|n| topology.upsert_node(n, NodeKind::Service, Timestamp::EPOCH));
        topology.upsert_edge(from, to, Edge::new(EdgeKind::Calls, "traces", Timestamp::EPOCH))?;
    }
    let deploy = |minute: i64, title| {
        Event::new(EventKind::Deploy, Some("api"), title, Timestamp::from_secs(minute * 60))
    };
    let changes = [deploy(5, "deploy api 2.7.1")];

    // The gateway's alarm fired half a minute after the disk began to fail.
    let mut context =
        Context::new(&window, &metrics, &topology, Timestamp::from_secs(trouble as i64 + 30))?;
    let symptoms = [SeriesKey::new("latency_seconds", [("service", "gateway")])];
    context.symptoms = &symptoms;
    context.changes = &changes;
    let ranking = DefaultConfig::default().build()?.rank(&context)?;

    for candidate in &ranking.candidates {
        println!("{:5.1} %  {}", candidate.probability * 100.0, candidate.cause);
        for evidence in &candidate.evidence {
            match evidence {
                Evidence::Onset { after_first_s, .. } => {
                    println!("         began {after_first_s} s after the first sign");
                }
                Evidence::Magnitude { metric, expected, observed, .. } => {
                    println!("         {metric} went from {expected:.3} to {observed:.3}");
                }
                Evidence::Path { nodes } => println!("         {}", nodes.join(" -> ")),
                Evidence::Change { before_onset_s, .. } => {
                    println!("         made {before_onset_s} s before");
                }
                Evidence::Other { reason } => println!("         {reason}"),
                Evidence::Counterfactual { sentence } => println!("         {sentence}"),
                _ => {}
            }
        }
    }
    println!("{:5.1} %  something that is not measured", ranking.unknown * 100.0);

    assert_eq!(ranking.candidates[0].cause.service(), Some("db"));
    assert_eq!(ConfidenceConfig::default().judge(&ranking)?, Advice::Trust);
    Ok(())
}
