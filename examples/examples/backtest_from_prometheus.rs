//! What would this detector have told last night? Asked of the history that Prometheus has.
//!
//! ```text
//! curl 'http://prometheus:9090/api/v1/query_range?query=...&start=...&end=...&step=60' > answer.json
//! cargo run -p aiops-examples --example backtest_from_prometheus -- answer.json
//! ```
//! Without a file it reads an answer that it makes itself, with an outage of half an hour.
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::collections::HashMap;

use aiops_core::{Interner, Timestamp};
use aiops_detect::{PolicyConfig, Watcher, backtest, testing::Noise, tier1::RobustConfig};
use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::QueryRange};

const OUTAGE: std::ops::Range<i64> = 900..930;

/// Twelve hours of the p99 of two services, as `/api/v1/query_range` answers with a step of 60 s.
fn answer() -> String {
    let mut noise = Noise::new(7);
    let series = ["api", "checkout"].map(|service| {
        let values = (0..1_000).map(|minute| {
            let bad = service == "checkout" && OUTAGE.contains(&minute);
            let value = 0.2 + 0.01 * noise.normal() + if bad { 1.5 } else { 0.0 };
            format!("[{}, \"{value:.4}\"]", 60 * minute)
        });
        let values: Vec<_> = values.collect();
        format!(
            r#"{{"metric": {{"__name__": "http_request_duration_seconds_p99", "job": "shop/{service}"}}, "values": [{}]}}"#,
            values.join(", ")
        )
    });
    let data = format!(r#"{{"resultType": "matrix", "result": [{}]}}"#, series.join(", "));
    format!(r#"{{"status": "success", "data": {data}}}"#)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1);
    let body = file.as_ref().map_or_else(|| Ok(answer()), std::fs::read_to_string)?;

    // The same normaliser as in production: service, kind and unit come out the same.
    let mut normaliser = NormaliserConfig::default().build()?;
    let mut inbox = Inbox::default();
    let now = Timestamp::from_secs(86_400);
    let tally =
        QueryRange::default().decode(body.as_bytes(), now, &mut normaliser.sink(&mut inbox))?;
    println!("{tally}");

    // An answer is by series; a detector wants it by time.
    let mut samples: Vec<_> = inbox.batch().iter().collect();
    samples.sort_by_key(|(_, sample)| sample.time);
    let history =
        samples.into_iter().filter_map(|(id, sample)| Some((normaliser.key(id)?.clone(), sample)));

    let kinds: HashMap<_, _> =
        normaliser.series().map(|(_, key, info)| (key.clone(), info.kind)).collect();
    let mut watcher = Watcher::new(
        Box::new(RobustConfig::default().build_bank()?),
        PolicyConfig::default().build()?,
        Box::new(move |key| kinds.get(key).copied().unwrap_or_default()),
    );
    let told = backtest(&mut watcher, &mut Interner::new(10_000), history)?;
    for anomaly in &told.raised {
        println!("{} {}: {}", anomaly.onset, anomaly.series, anomaly.reasons[0]);
    }
    println!("{:.1} a day", told.per_day());
    if file.is_none() {
        let first = Timestamp::from_secs(60 * OUTAGE.start);
        let outage = told.raised.iter().find(|anomaly| anomaly.onset == first);
        assert_eq!(outage.and_then(|anomaly| anomaly.series.service()), Some("checkout"));
        assert!(told.per_day() < 5.0, "nobody reads more than that");
    }
    Ok(())
}
