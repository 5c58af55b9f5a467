//! Before going live: what would this configuration have told last week, and how often?
//!
//! `cargo run -p aiops-examples --example backtest`
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use aiops_core::{Interner, MetricKind, Sample, SeriesKey, Timestamp};
use aiops_detect::{PolicyConfig, Watcher, backtest, testing::Noise, tier1::RobustConfig};

/// A week of error rates of two services, a sample a minute, with one outage of half an hour.
fn history() -> impl Iterator<Item = (SeriesKey, Sample)> {
    let keys = ["api", "checkout"].map(|name| SeriesKey::new("error_rate", [("service", name)]));
    let mut noise = Noise::new(4);
    (0..7 * 24 * 60).flat_map(move |minute| {
        let outage = (5_000..5_030).contains(&minute);
        let now = Timestamp::from_secs(minute * 60);
        let mut rate =
            |bad: bool| (2.0 + 0.3 * noise.normal() + if bad { 20.0 } else { 0.0 }).max(0.0);
        let samples = [rate(false), rate(outage)].map(|value| Sample::new(now, value));
        keys.clone().into_iter().zip(samples)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for false_positive_rate in [1e-2, 1e-3] {
        let config = RobustConfig { false_positive_rate, ..RobustConfig::default() };
        let mut watcher = Watcher::new(
            Box::new(config.build_bank()?),
            PolicyConfig::default().build()?,
            Box::new(|_| MetricKind::Errors),
        );
        let answer = backtest(&mut watcher, &mut Interner::new(100), history())?;
        println!(
            "rate {false_positive_rate}: {} anomalies in {:.1} days, {:.2} a day",
            answer.raised.len(),
            answer.span.as_secs_f64() / 86_400.0,
            answer.per_day()
        );
        let outage = answer.raised.iter().find(|a| a.onset == Timestamp::from_secs(5_000 * 60));
        let outage = outage.ok_or("the outage was not told")?;
        println!("  the outage: {}", outage.reasons[0]);
        assert_eq!(outage.series.service(), Some("checkout"));
        assert!(answer.per_day() < 5.0, "nobody reads more than that");
    }
    Ok(())
}
