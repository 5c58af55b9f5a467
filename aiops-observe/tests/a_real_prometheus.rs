//! A real Prometheus sends remote write to the server: run with `--ignored` where one is installed
//! (Debian's package `prometheus`; checked with 2.42).
#![allow(clippy::unwrap_used, reason = "a test may")]

use aiops_core::{Clock, MetricKind, SystemClock};
use aiops_observe::http::HttpConfig;
use aiops_observe::{Form, Inbox, Intake, NormaliserConfig, Rejection, Tally};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Ends the process when the test does, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    let (seen, requests) = mpsc::channel();
    let mut intake = Intake::default();
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let mut inbox = Inbox::default();
    let server = HttpConfig::default().build(move |request| {
        inbox.clear();
        let now = SystemClock.now();
        let answer = intake.handle(request, now, &mut normaliser.sink(&mut inbox));
        let batch = inbox.batch();
        let named = |name: &str| {
            batch.iter().find(|(id, _)| normaliser.key(*id).is_some_and(|key| key.name == name))
        };
        let counter = named("prometheus_tsdb_head_samples_appended_total").map(|(id, sample)| {
            let info = normaliser.info(id).unwrap();
            (info.kind, info.form, sample.value)
        });
        let _ = seen.send(Seen {
            status: answer.status,
            tally: answer.tally.clone().unwrap_or_default(),
            series: normaliser.len(),
            up: named("up").map(|(_, sample)| sample.value),
            counter,
        });
        answer
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let intake_port = listener.local_addr().unwrap().port();
    let server = server.unwrap();
    std::thread::spawn(move || runtime.block_on(server.serve(listener)));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let folder = std::env::temp_dir().join(format!("aiops-observe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs: [{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]
remote_write:
  - url: http://127.0.0.1:{intake_port}/api/v1/write
    queue_config: {{batch_send_deadline: 1s}}
    metadata_config: {{send_interval: 1s}}
"
    );
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    let started = Command::new("/usr/bin/prometheus")
        .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let prometheus = Running(started.expect("the package `prometheus` is installed"));

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
    let _ = std::fs::remove_dir_all(&folder);
    let (kind, form, rate) = counter.unwrap();
    println!("{total}; {series} series; up {up:?}; {rate} samples appended a second");
    assert_eq!(up, Some(1.0));
    assert_eq!((kind, form), (MetricKind::Throughput, Form::Counter));
    assert!(series > 300, "{series}");
    let lost = total.rejected() - total.rejected_as(Rejection::Unsupported);
    assert_eq!(lost, 0, "{total}");
}
