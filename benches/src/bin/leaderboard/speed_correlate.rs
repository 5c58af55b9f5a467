//! Speed rows of correlation: parsed alerts to decisions, beside a plain loop that only groups by
//! service.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use aiops_core::{Alert, AlertId, Edge, EdgeKind, Labels, NodeKind, Timestamp, Topology};
use aiops_correlate::{Context, Correlator, Funnel, FunnelConfig};

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    speed_act::resident_bytes,
    stopwatch::{compare, cpu_seconds, wall_seconds},
};

const BASELINE: &str =
    "one hash map by fingerprint and one by service, 5-minute windows, no topology";

pub(crate) const ROWS: &[SpeedRow] = &[
    SpeedRow {
        id: "correlate_20k",
        unit: Unit::PerSecond("alerts/s"),
        baseline_is: BASELINE,
        measure: |quick| burst(if quick { 2_000 } else { 20_000 }, 1),
    },
    SpeedRow {
        id: "correlate_1m",
        unit: Unit::PerSecond("alerts/s"),
        baseline_is: BASELINE,
        measure: |quick| burst(if quick { 2_500 } else { 50_000 }, 20),
    },
    SpeedRow {
        id: "correlate_p99",
        unit: Unit::Seconds,
        baseline_is: "50 us, what the slowest of a hundred decisions may take",
        measure: |quick| slowest_percent(if quick { 2_000 } else { 20_000 }),
    },
    SpeedRow {
        id: "correlate_10x_open",
        unit: Unit::PerSecond("x the cost per alert with a tenth of the open groups"),
        baseline_is: "1.5, what ten times the open groups may cost",
        measure: ten_times_open,
    },
];

const SERVICES: usize = 2_000;

fn service(number: usize) -> String {
    format!("svc-{number:04}")
}

/// Three layers of services; each calls two of the next layer.
fn topology(services: usize) -> Topology {
    let now = Timestamp::EPOCH;
    let mut topology = Topology::new();
    let ids: Vec<_> =
        (0..services).map(|s| topology.upsert_node(&service(s), NodeKind::Service, now)).collect();
    let third = services / 3;
    for at in 0..2 * third {
        for step in [1, 7] {
            let to = (at / third + 1) * third + (at * step) % third;
            let edge = Edge::new(EdgeKind::Calls, "bench", now);
            // Both ends exist and lie in different layers.
            let _ = topology.upsert_edge(ids[at], ids[to], edge);
        }
    }
    topology
}

/// `series` different alerts within a minute, each sent `times` times, a minute apart.
fn alerts(series: usize, times: usize, services: usize) -> Vec<Alert> {
    let mut made = Vec::with_capacity(series * times);
    let step = Duration::from_nanos(60_000_000_000 / series as u64);
    for round in 0..times {
        for number in 0..series {
            let labels = Labels::from([
                ("service", service(number * 7 % services)),
                ("pod", format!("pod-{number}")),
            ]);
            let at = Timestamp::from_secs(1_000_000 + 60 * round as i64) + step * number as u32;
            let name = ["HighLatency", "HighErrorRate", "QueueBacklog", "CrashLoop"][number % 4];
            let mut alert = Alert::new(name, labels, at);
            alert.id = AlertId::from_u64((round * series + number) as u64 + 1);
            made.push(alert);
        }
    }
    made
}

fn run(alerts: &[Alert], topology: &Topology) -> Funnel {
    run_through(FunnelConfig::default(), alerts, topology)
}

fn run_through(config: FunnelConfig, alerts: &[Alert], topology: &Topology) -> Funnel {
    let mut funnel = config.build().expect("the settings are valid");
    let mut updates = Vec::new();
    for (number, alert) in alerts.iter().enumerate() {
        let ctx = Context::new(alert.received_at, topology);
        black_box(funnel.ingest(alert, &ctx));
        if number % 1_024 == 0 {
            updates.clear();
            funnel.tick(&ctx, &mut updates);
        }
    }
    funnel
}

/// What the same work needs at the very least: find the firing, find the service's group.
fn plain(alerts: &[Alert]) -> usize {
    let mut firings: HashMap<u64, (Timestamp, u32, u32)> = HashMap::new();
    let mut groups: HashMap<&str, (Timestamp, u32)> = HashMap::new();
    let mut records: HashMap<u64, u32> = HashMap::new();
    let window = Duration::from_secs(300);
    let mut next = 0;
    for alert in alerts {
        let service = alert.service.as_deref().unwrap_or_default();
        let group = groups.entry(service).or_insert((alert.starts_at, u32::MAX));
        if group.1 == u32::MAX || group.0 + window < alert.starts_at {
            group.1 = next;
            next += 1;
        }
        group.0 = alert.starts_at;
        let firing =
            firings.entry(alert.fingerprint.as_u64()).or_insert((alert.starts_at, 0, group.1));
        firing.0 = alert.starts_at;
        firing.1 += 1;
        records.insert(alert.id.as_u64(), firing.2);
    }
    records.len() + next as usize
}

fn burst(series: usize, times: usize) -> Result<Measured> {
    let topology = topology(SERVICES);
    let alerts = alerts(series, times, SERVICES);
    // First of all, before freed memory of other runs is there to be used again.
    let before = resident_bytes();
    let kept = black_box(run(&alerts, &topology));
    let bytes = (resident_bytes() - before) / series as f64;
    drop(kept);
    let rounds = if alerts.len() > 100_000 { 2 } else { 5 };
    let (ours, baseline) = compare(
        rounds,
        || drop(black_box(run(&alerts, &topology))),
        || {
            black_box(plain(&alerts));
        },
    );
    let n = alerts.len() as f64;
    Ok(Measured { ours: n / ours, baseline: Some(n / baseline), bytes_per_series: Some(bytes) })
}

/// The 99th percentile of the time that one decision takes in a burst, the best of five runs.
fn slowest_percent(series: usize) -> Result<Measured> {
    let topology = topology(SERVICES);
    let alerts = alerts(series, 1, SERVICES);
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let mut funnel = FunnelConfig::default().build()?;
        let mut times: Vec<f64> = alerts
            .iter()
            .map(|alert| {
                let ctx = Context::new(alert.received_at, &topology);
                wall_seconds(|| {
                    black_box(funnel.ingest(alert, &ctx));
                })
            })
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        best = best.min(times[times.len() * 99 / 100]);
    }
    Ok(Measured { ours: best, baseline: Some(50e-6), bytes_per_series: None })
}

/// The same thousand alerts, resent and new, with few and with ten times as many groups open.
fn ten_times_open(quick: bool) -> Result<Measured> {
    let few = if quick { 200 } else { 2_000 };
    let services = few * 20;
    let topology = topology(services);
    let fresh = alerts(1_000, 4, services);
    let cost = |open: usize| {
        // One alert on each of so many services, an hour before: nothing links, all stay open.
        let mut standing = alerts(open, 1, services);
        for (number, alert) in standing.iter_mut().enumerate() {
            alert.starts_at = Timestamp::from_secs(996_400);
            alert.received_at = Timestamp::from_secs(996_400);
            alert.service = Some(service(number * (services / open)));
        }
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            // Long enough that the standing groups are not over when the new alerts come.
            let mut config = FunnelConfig::default();
            config.dedup.gap_without_end = Duration::from_secs(4 * 3_600);
            let mut funnel = run_through(config, &standing, &topology);
            // What comes due of the standing groups until then is none of the new alerts' work.
            let until = Timestamp::from_secs(1_000_000 + 59);
            funnel.tick(&Context::new(until, &topology), &mut Vec::new());
            let spent = cpu_seconds(|| {
                for alert in &fresh {
                    let at = alert.received_at + Duration::from_secs(60);
                    black_box(funnel.ingest(alert, &Context::new(at, &topology)));
                }
            });
            best = best.min(spent / fresh.len() as f64);
        }
        best
    };
    let (one, ten) = (cost(few), cost(few * 10));
    Ok(Measured { ours: ten / one, baseline: Some(1.5), bytes_per_series: None })
}
