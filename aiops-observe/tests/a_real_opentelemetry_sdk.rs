//! A real OpenTelemetry SDK exports to the server: run with `--ignored` where `PYTHON` (or `python3`)
//! has the packages `opentelemetry-sdk` and `opentelemetry-exporter-otlp-proto-http`.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod real;

use aiops_observe::{Form, Tally};
use real::serve;
use std::process::Command;

const EXPORTER: &str = r#"
import sys
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

exporter = OTLPMetricExporter(endpoint=sys.argv[1], compression=Compression.Gzip)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
provider = MeterProvider(resource=Resource.create({"service.name": "checkout"}), metric_readers=[reader])
meter = provider.get_meter("shop")
orders = meter.create_counter("orders", unit="{order}")
latency = meter.create_histogram("http.server.request.duration", unit="s")
meter.create_observable_gauge("queue.depth", [lambda _: [__import__("opentelemetry.metrics").metrics.Observation(7)]])
for round in range(2):
    orders.add(5, {"region": "eu"})
    latency.record(0.25)
    assert provider.force_flush()
provider.shutdown()
"#;

#[test]
#[ignore = "runs Python packages"]
fn its_metrics_arrive_with_service_form_and_values() {
    let (port, requests) = serve(|answer, inbox, normaliser| {
        let samples: Vec<_> = (inbox.batch().iter())
            .filter_map(|(id, sample)| {
                let key = normaliser.key(id)?.clone();
                Some((key, normaliser.info(id)?.form, sample.value))
            })
            .collect();
        (answer.status, answer.tally.clone().unwrap_or_default(), samples)
    });
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let endpoint = format!("http://127.0.0.1:{port}/v1/metrics");
    let output = Command::new(python).args(["-c", EXPORTER, &endpoint]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let (mut total, mut samples) = (Tally::default(), Vec::new());
    for (status, tally, found) in requests.try_iter() {
        assert_eq!(status, 200, "{tally}");
        total += &tally;
        samples.extend(found);
    }
    println!("{total}");
    assert_eq!(total.rejected(), 0, "{total}");
    assert!(samples.iter().all(|(key, ..)| key.service() == Some("checkout")), "{samples:?}");
    let depth = samples.iter().find(|(key, ..)| key.name.contains("queue")).unwrap();
    assert_eq!((depth.1, depth.2), (Form::Gauge, 7.0));
    let orders = samples.iter().find(|(key, ..)| key.name.contains("orders")).unwrap();
    assert_eq!((orders.0.labels.get("region"), orders.1), (Some("eu"), Form::Counter));
    assert!(samples.iter().any(|(key, ..)| key.name.contains("duration")), "{samples:?}");
}
