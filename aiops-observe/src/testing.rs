//! What every [`Decoder`] promises, as a function that a decoder's own tests and fuzz targets call.

use crate::decode::*;
use crate::digest::{DrainConfig, LogDigestConfig, TraceDigestConfig};
use crate::{Decoder, Inbox, Limits, NormaliserConfig, Rejection, Result, Sink, Tally, WireSeries};
use aiops_core::{Alert, Event, Sample, Timestamp};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Checks the promises of [`Decoder`] on one body, whatever it holds.
///
/// - It does not panic.
/// - It calls [`Sink::begin`] once, before anything else, if anything is delivered.
/// - What its tally, or the tally in its error, calls accepted is what the sink accepted.
/// - It keeps nothing of a body: the same body again gives the same.
/// - Equal identities have equal labels.
/// - A [`Normaliser`](crate::Normaliser) can take what it delivers.
///
/// ```
/// use aiops_observe::{decode::JsonLines, testing::check_decoder};
/// check_decoder(&mut JsonLines::default(), b"{\"name\": \"a\", \"value\": 1}\n{");
/// ```
///
/// # Panics
/// When a promise is broken.
pub fn check_decoder(decoder: &mut dyn Decoder, body: &[u8]) {
    let first = run(decoder, body);
    let second = run(decoder, body);
    assert_eq!(first, second, "the same body gives the same");

    let mut normaliser = NormaliserConfig::default().build().expect("the defaults are in range");
    let mut inbox = Inbox::default();
    let decoded = decoder.decode(body, NOW, &mut normaliser.sink(&mut inbox));
    let accepted = accepted(&decoded);
    let taken = inbox.batch().len() + inbox.alerts.len() + inbox.events.len();
    assert!(taken as u64 <= accepted, "{taken} came of {accepted}");
    for (id, _) in inbox.batch().iter() {
        assert!(normaliser.info(id).is_some() && normaliser.key(id).is_some());
    }
}

/// A wrapper that reads protobuf as it is: under snappy, a fuzzer would learn snappy.
struct Unpacked<D>(D);

impl Decoder for Unpacked<RemoteWriteV1> {
    fn format(&self) -> &'static str {
        self.0.format()
    }
    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        self.0.decode_protobuf(body, now, sink)
    }
}

impl Decoder for Unpacked<RemoteWriteV2> {
    fn format(&self) -> &'static str {
        self.0.format()
    }
    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        self.0.decode_protobuf(body, now, sink)
    }
}

/// A fresh digest that reads one body and hands over what it made of it.
struct Summed(Limits, Signal);

#[derive(Clone, Copy)]
enum Signal {
    Logs,
    LogsJson,
    Traces,
    TracesJson,
}

impl Decoder for Summed {
    fn format(&self) -> &'static str {
        "digest"
    }
    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        const FEW: usize = 4;
        let limits = self.0;
        if let Signal::Logs | Signal::LogsJson = self.1 {
            let drain =
                DrainConfig { max_templates: FEW, max_in_leaf: 2, ..DrainConfig::default() };
            let config = LogDigestConfig { drain, limits, max_series: FEW, ..Default::default() };
            let mut logs = config.build()?;
            let read = match self.1 {
                Signal::Logs => logs.read(body, now),
                _ => logs.read_json(body, now),
            };
            assert!(logs.len() <= FEW && logs.templates().len() <= FEW, "{logs:?}");
            assert!(logs.len() as u64 <= accepted(&read), "a series is made by a line");
            return Ok(logs.emit(now, sink));
        }
        let config = TraceDigestConfig {
            max_waiting: FEW,
            max_services: FEW,
            max_edges: FEW,
            limits,
            ..Default::default()
        };
        let mut traces = config.build()?;
        let read = match self.1 {
            Signal::Traces => traces.read(body, now),
            _ => traces.read_json(body, now),
        };
        assert!(traces.waiting() <= FEW && traces.edges().count() <= FEW, "{traces:?}");
        let calls: u64 = traces.edges().map(|edge| edge.calls).sum();
        assert!(calls <= accepted(&read), "an edge is made by a span: {traces:?}");
        Ok(traces.emit(now + Duration::from_secs(60), sink))
    }
}

/// The fuzz targets by name: one a decoder, `snappy` for the compression of two of them, and the
/// digests.
pub const TARGETS: [&str; 20] = [
    "remote_write_v1",
    "remote_write_v2",
    "snappy",
    "otlp",
    "otlp_json",
    "otlp_logs",
    "otlp_logs_json",
    "otlp_traces",
    "otlp_traces_json",
    "prometheus_text",
    "open_metrics",
    "query_range",
    "json_lines",
    "csv",
    "alertmanager_webhook",
    "alertmanager_api",
    "pagerduty",
    "cloud_events",
    "mapped",
    "changes",
];

/// [`check_decoder`] on the decoder of one of the [`TARGETS`], within small limits.
///
/// # Panics
/// When a promise is broken, or there is no such target.
pub fn check_by_name(target: &str, body: &[u8]) {
    let limits = Limits { body_bytes: 1 << 20, items: 64, labels: 8, label_bytes: 64 };
    let mapping = Mapping {
        name: "/name".into(),
        starts_at: "/at".into(),
        ends_at: "/end".into(),
        resolved: "/status".into(),
        resolved_words: vec!["ok".into()],
        dedup_key: "/key".into(),
        labels: [("zone".into(), "/tags/zone".into())].into(),
        ..Mapping::default()
    };
    let mut decoder: Box<dyn Decoder> = match target {
        "remote_write_v1" => Box::new(Unpacked(RemoteWriteV1::new(limits))),
        "remote_write_v2" => Box::new(Unpacked(RemoteWriteV2::new(limits))),
        "snappy" => Box::new(RemoteWriteV1::new(limits)),
        "otlp" => Box::new(Otlp::new(limits)),
        "otlp_json" => Box::new(OtlpJson::new(limits)),
        "otlp_logs" => Box::new(Summed(limits, Signal::Logs)),
        "otlp_logs_json" => Box::new(Summed(limits, Signal::LogsJson)),
        "otlp_traces" => Box::new(Summed(limits, Signal::Traces)),
        "otlp_traces_json" => Box::new(Summed(limits, Signal::TracesJson)),
        "prometheus_text" => Box::new(Exposition::text().with_limits(limits)),
        "open_metrics" => Box::new(Exposition::open_metrics().with_limits(limits)),
        "query_range" => Box::new(QueryRange::new(limits).named("q")),
        "json_lines" => Box::new(JsonLines::new(limits)),
        "csv" => Box::new(CsvSamples::new(limits)),
        "alertmanager_webhook" => Box::new(AlertmanagerWebhook::new(limits)),
        "alertmanager_api" => Box::new(AlertmanagerApi::new(limits)),
        "pagerduty" => Box::new(PagerDuty::new(limits)),
        "cloud_events" => Box::new(CloudEvents::new(limits)),
        "mapped" => Box::new(Mapped::new(mapping).expect("it has a name").with_limits(limits)),
        "changes" => Box::new(Changes::new(limits)),
        _ => panic!("no fuzz target {target:?}"),
    };
    check_decoder(decoder.as_mut(), body);
}

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn run(decoder: &mut dyn Decoder, body: &[u8]) -> (String, u64) {
    let mut sink = Witness::default();
    let decoded = decoder.decode(body, NOW, &mut sink);
    assert_eq!(accepted(&decoded), sink.accepted, "{decoded:?}");
    (format!("{decoded:?}"), sink.digest)
}

fn accepted(decoded: &Result<Tally>) -> u64 {
    match decoded {
        Ok(tally) => tally.accepted(),
        Err(error) => error.before().map_or(0, Tally::accepted),
    }
}

/// Takes everything whose labels can be read, and remembers it as one number.
#[derive(Default)]
struct Witness {
    begun: bool,
    accepted: u64,
    digest: u64,
    /// Identities seen, with a digest of their labels.
    seen: std::collections::BTreeMap<Vec<u8>, u64>,
}

impl Witness {
    fn note(&mut self, bytes: &[u8]) {
        assert!(self.begun, "begin comes first");
        self.digest = xxh3_64_with_seed(bytes, self.digest);
    }
}

impl Sink for Witness {
    fn begin(&mut self, _format: &'static str, _now: Timestamp) {
        assert!(!std::mem::replace(&mut self.begun, true), "begin comes once");
    }

    fn points(&mut self, series: &WireSeries<'_>, points: &[Sample], tally: &mut Tally) {
        let mut labels = 0;
        let visited = series.labels.visit(&mut |name, value| {
            labels = xxh3_64_with_seed(name.as_bytes(), labels);
            labels = xxh3_64_with_seed(value.as_bytes(), labels);
        });
        if let Err(reason) = visited {
            return tally.reject(reason, points.len());
        }
        let known = *self.seen.entry(series.identity.to_vec()).or_insert(labels);
        assert_eq!(known, labels, "one identity, two lists of labels");
        self.note(&labels.to_le_bytes());
        for point in points {
            self.note(&point.time.as_nanos().to_le_bytes());
            self.note(&point.value.to_bits().to_le_bytes());
        }
        self.accepted += points.len() as u64;
        tally.accept(points.len());
    }

    fn alert(&mut self, alert: Alert) -> Result<(), Rejection> {
        self.note(format!("{alert:?}").as_bytes());
        self.accepted += 1;
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Rejection> {
        self.note(format!("{event:?}").as_bytes());
        self.accepted += 1;
        Ok(())
    }
}
