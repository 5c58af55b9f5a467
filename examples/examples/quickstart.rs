//! Four stages in one page: two services slow down, and the one to blame is named.
//!
//! `cargo run --example quickstart`. The reference pipeline (`examples/pipeline`) does the same with
//! a recorded incident, changes, runbooks and a report.
#![allow(clippy::print_stdout, reason = "an example tells its story")]

use std::error::Error;
use std::time::Duration;

use aiops_core::{AlertRule, Edge, EdgeKind, NodeKind, Topology};
use aiops_core::{Frame, Interner, MetricKind, SampleBatch, SeriesKey, Timestamp};
use aiops_correlate::{CorrelatorExt, FunnelConfig};
use aiops_detect::{Change, PolicyConfig, Watcher, tier1::RobustConfig};
use aiops_rca::{Context, DefaultConfig, MetricInfo, RootCauseAnalyzer};

/// Seconds of telemetry, and when the database and then its caller slow down.
const SECONDS: i64 = 900;
const TROUBLE: [(&str, i64); 2] = [("db", 700), ("api", 712)];

fn main() -> Result<(), Box<dyn Error>> {
    // Who depends on whom.
    let mut topology = Topology::new();
    let node = |t: &mut Topology, name| t.upsert_node(name, NodeKind::Service, Timestamp::EPOCH);
    let (api, db) = (node(&mut topology, "api"), node(&mut topology, "db"));
    topology.upsert_edge(api, db, Edge::new(EdgeKind::Calls, "declared", Timestamp::EPOCH))?;

    // Detect: samples in, anomalies out, and alerts from those that were just raised.
    let mut interner = Interner::new(1_000);
    let mut watcher = Watcher::new(
        Box::new(RobustConfig::default().build_bank()?),
        PolicyConfig::default().build()?,
        Box::new(|_| MetricKind::Latency),
    );
    let (mut noticed, mut anomalies, mut alerts) = (vec![], vec![], vec![]);
    for second in 0..SECONDS {
        let now = Timestamp::from_secs(second);
        for (service, from) in TROUBLE {
            let id = interner.intern(&series(service), now)?;
            let batch = [latency(second, from)];
            watcher.process(&SampleBatch::new(&[id], &[now], &batch)?, &interner, &mut noticed)?;
        }
        for raised in noticed.drain(..).filter(|n| n.change == Change::Raised) {
            println!("{now:>5}  {}: {}", raised.anomaly.series, raised.anomaly.reasons[0]);
            alerts.push(AlertRule::default().alert(&raised.anomaly, now));
            anomalies.push(raised.anomaly);
        }
    }

    // Correlate: both alerts are one incident.
    let mut correlator = FunnelConfig::default().build()?;
    correlator.replay(&alerts, &topology);
    let [incident] = correlator.shown().try_into().map_err(|_| "one incident was expected")?;
    println!("\n{} alerts, one incident: {}", alerts.len(), incident.title);

    // Rank: which of the two is to blame.
    let keys: Vec<_> = TROUBLE.iter().map(|(service, _)| series(service)).collect();
    let infos: Vec<_> = keys.iter().map(|k| MetricInfo::of(k, MetricKind::Latency)).collect();
    let rows = TROUBLE.iter().flat_map(|(_, from)| (0..SECONDS).map(|s| latency(s, *from)));
    let window = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), rows.collect())?;
    let context = Context {
        anomalies: &anomalies,
        incident: Some(incident.id),
        ..Context::new(&window, &infos, &topology, incident.onset)?
    };
    let ranking = DefaultConfig::default().build()?.rank(&context)?;
    for candidate in &ranking.candidates {
        println!("{:>5.1} %  {}", candidate.probability * 100.0, candidate.cause);
    }
    println!("{:>5.1} %  something else", ranking.unknown * 100.0);

    assert_eq!(ranking.top().and_then(|top| top.cause.service()), Some("db"));
    Ok(())
}

fn series(service: &str) -> SeriesKey {
    SeriesKey::new("latency_seconds_p95", [("service", service)])
}

/// About 0.2 s with a little noise, and 1.5 s once trouble has come.
fn latency(second: i64, trouble_from: i64) -> f64 {
    let noise = 0.01 * ((second * 7_919) % 13) as f64 / 13.0;
    noise + if second < trouble_from { 0.2 } else { 1.5 }
}
