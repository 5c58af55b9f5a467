//! A real Prometheus sends remote write to the server: run with `--ignored` where one is installed
//! (Debian's package `prometheus`; checked with 2.42).
#![allow(clippy::unwrap_used, reason = "a test may")]

mod real;

use aiops_core::MetricKind;
use aiops_observe::{Form, Rejection, Tally};
use real::{Folder, Running, free_port, serve};
use std::process::Command;
use std::time::Duration;

/// What the worker saw by the end of one request.
struct Seen {
    status: u16,
    tally: Tally,
    series: usize,
    /// The value of one gauge; kind, form and rate of one counter.
    up: Option<f64>,
    counter: Option<(MetricKind, Form, f64)>,
}

#[test]
#[ignore = "starts /usr/bin/prometheus"]
fn its_scrapes_arrive_as_samples_and_rates() {
    let (intake_port, requests) = serve(|answer, inbox, normaliser| {
        let batch = inbox.batch();
        let named = |name: &str| {
            batch.iter().find(|(id, _)| normaliser.key(*id).is_some_and(|key| key.name == name))
        };
        let counter = named("prometheus_tsdb_head_samples_appended_total").map(|(id, sample)| {
            let info = normaliser.info(id).unwrap();
            (info.kind, info.form, sample.value)
        });
        Seen {
            status: answer.status,
            tally: answer.tally.clone().unwrap_or_default(),
            series: normaliser.len(),
            up: named("up").map(|(_, sample)| sample.value),
            counter,
        }
    });
    let port = free_port();
    let folder = Folder::new("prometheus");
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]
remote_write:
  - url: http://127.0.0.1:{intake_port}/api/v1/write
    queue_config: {{batch_send_deadline: 1s}}
    metadata_config: {{send_interval: 1s}}
"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let prometheus = Running::start(
        Command::new("/usr/bin/prometheus")
            .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}")),
    );

    let mut total = Tally::default();
    let (mut up, mut counter, mut series) = (None, None, 0);
    while up.is_none() || counter.is_none() {
        let seen = requests.recv_timeout(Duration::from_secs(60)).expect("Prometheus sends");
        assert!(matches!(seen.status, 200 | 204), "{} {}", seen.status, seen.tally);
        total += &seen.tally;
        (up, series) = (up.or(seen.up), seen.series);
        counter = counter.or(seen.counter.filter(|(_, _, rate)| *rate > 0.0));
    }
    drop(prometheus);
    let (kind, form, rate) = counter.unwrap();
    println!("{total}; {series} series; up {up:?}; {rate} samples appended a second");
    assert_eq!(up, Some(1.0));
    assert_eq!((kind, form), (MetricKind::Throughput, Form::Counter));
    assert!(series > 300, "{series}");
    let lost = total.rejected() - total.rejected_as(Rejection::Unsupported);
    assert_eq!(lost, 0, "{total}");
}
