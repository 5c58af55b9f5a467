//! Watch one metric, sample by sample, and say in words what is wrong and since when.
//!
//! `cargo run -p aiops-examples --example online_detector`
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use aiops_core::{Interner, MetricKind, SampleBatch, SeriesKey, Timestamp};
use aiops_detect::{Change, PolicyConfig, Watcher, tier1::RobustConfig};

/// Latency of a service, in seconds: a little noise, and from second 400 a slow database.
fn latency(second: i64) -> f64 {
    let noise = 0.01 * ((second * 7919) % 11) as f64;
    if (400..460).contains(&second) { 1.8 + noise } else { 0.2 + noise }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = SeriesKey::new("latency_p99", [("service", "api")]);
    let mut interner = Interner::new(1_000);
    let mut watcher = Watcher::new(
        Box::new(RobustConfig::default().build_bank()?),
        PolicyConfig::default().build()?,
        Box::new(|_| MetricKind::Latency),
    );

    let mut told = Vec::new();
    let mut noticed = Vec::new();
    for second in 0..600 {
        let now = Timestamp::from_secs(second);
        let (ids, times, values) = ([interner.intern(&key, now)?], [now], [latency(second)]);
        let batch = SampleBatch::new(&ids, &times, &values)?;
        watcher.process(&batch, &interner, &mut noticed)?;
        for news in noticed.drain(..) {
            println!("second {second}: {:?}: {}", news.change, news.anomaly.reasons[0]);
            told.push((second, news.change, news.anomaly.onset.as_secs()));
        }
    }
    assert_eq!(told[0], (401, Change::Raised, 400), "told once, at the second bad sample");
    Ok(())
}
