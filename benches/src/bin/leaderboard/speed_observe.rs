//! Speed rows of ingestion: wire bytes to samples, and wire bytes to verdicts, beside unhardened
//! loops: no limits, no checks, no staleness, slices that panic.
//!
//! Bodies hold 10,000 series of one sample each with eight labels (the scrape shape). Every scrape is
//! encoded before the clock runs and used once, so that times grow as they do in production.

use std::{collections::HashMap, hint::black_box};

use aiops_core::{Sample, Timestamp};
use aiops_detect::{
    DetectorBank,
    tier1::{EwmaConfig, GuardConfig},
};
use aiops_observe::{
    Decoder, Inbox, NormaliserConfig, Sink, Tally, WireSeries,
    decode::{Exposition, Otlp, RemoteWriteV1, RemoteWriteV2},
};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::compare,
};

macro_rules! row {
    ($id:literal, $baseline:literal, $measure:expr) => {
        SpeedRow {
            id: $id,
            unit: Unit::PerSecond("samples/s"),
            baseline_is: $baseline,
            measure: $measure,
        }
    };
}

pub(crate) const ROWS: &[SpeedRow] = &[
    row!("rw1_decode", "snappy, unchecked walk, xxh3 of label bytes", rw1_decode),
    row!("rw2_decode", "snappy and prost", rw2_decode),
    row!("otlp_decode", "prost", otlp_decode),
    row!("text_decode", "lines split and unescaped into owned labels", text_decode),
    row!(
        "rw1_to_verdict_100k",
        "snappy, unchecked walk, labels compared with the last scrape's, EWMA record",
        |quick| rw1_to_verdict(100_000, quick)
    ),
    row!(
        "rw1_to_verdict_1m",
        "snappy, unchecked walk, labels compared with the last scrape's, EWMA record",
        |quick| rw1_to_verdict(1_000_000, quick)
    ),
];

const PER_BODY: usize = 10_000;

/// The labels of a series: twenty metrics a host, as a scrape sends them.
fn labels(series: usize) -> [(&'static str, String); 8] {
    let (host, metric) = (series / 20, series % 20);
    [
        ("__name__", format!("node_filesystem_avail_bytes_{metric}")),
        ("cluster", format!("prod-eu-{}", host % 4)),
        ("device", format!("/dev/nvme{}n1", metric % 3)),
        ("instance", format!("10.{}.{}.{}:9100", host >> 16, (host >> 8) & 255, host & 255)),
        ("job", "node".to_owned()),
        ("mountpoint", format!("/var/lib/data{metric}")),
        ("service", format!("shard-{}", host % 50)),
        ("zone", format!("eu-west-1{}", ["a", "b", "c"][host % 3])),
    ]
}

fn value(series: usize, scrape: usize) -> f64 {
    let mixed = ((series * 31 + scrape) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    50.0 + (mixed >> 44) as f64 / 1_000.0
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Label fields of every series, encoded once.
fn label_fields(series: usize) -> Vec<Vec<u8>> {
    let fields = (0..series).map(|series| {
        let mut out = Vec::new();
        for (name, value) in labels(series) {
            let mut label = Vec::new();
            put_bytes(&mut label, 0x0a, name.as_bytes());
            put_bytes(&mut label, 0x12, value.as_bytes());
            put_bytes(&mut out, 0x0a, &label);
        }
        out
    });
    fields.collect()
}

/// One scrape of all series as compressed bodies.
fn scrape(fields: &[Vec<u8>], scrape: usize) -> Result<Vec<Vec<u8>>> {
    let mut encoder = snap::raw::Encoder::new();
    let mut bodies = Vec::new();
    for (chunk, fields) in fields.chunks(PER_BODY).enumerate() {
        let mut body = Vec::new();
        for (i, labels) in fields.iter().enumerate() {
            let mut sample = vec![0x09];
            sample.extend(value(chunk * PER_BODY + i, scrape).to_le_bytes());
            sample.push(0x10);
            put_varint(&mut sample, 1_700_000_000_000 + 10_000 * scrape as u64);
            let mut series = labels.clone();
            put_bytes(&mut series, 0x12, &sample);
            put_bytes(&mut body, 0x0a, &series);
        }
        bodies.push(encoder.compress_vec(&body)?);
    }
    Ok(bodies)
}

/// Does with a series what the baseline does.
#[derive(Default)]
struct Hash {
    hash: u64,
    sum: f64,
}

impl Sink for Hash {
    fn points(&mut self, series: &WireSeries<'_>, points: &[Sample], tally: &mut Tally) {
        self.hash ^= xxh3_64(series.identity);
        self.sum += points.iter().map(|point| point.value).sum::<f64>();
        tally.accept(points.len());
    }
}

/// One decoder beside a plain one over the same bodies of 10,000 series.
fn decode(
    mut decoder: impl Decoder,
    bodies: &[Vec<u8>],
    quick: bool,
    mut plain: impl FnMut(&[u8]),
) -> Result<Measured> {
    let repeat = if quick { 2 } else { 200 / bodies.len() };
    let mut sink = Hash::default();
    let mut accepted = 0;
    let mut failed = None;
    let (ours, baseline) = compare(
        5,
        || {
            accepted = 0;
            for body in (0..repeat).flat_map(|_| bodies) {
                match decoder.decode(body, Timestamp::MAX, &mut sink) {
                    Ok(tally) => accepted += tally.accepted(),
                    Err(error) => failed = Some(error),
                }
            }
            black_box((sink.hash, sink.sum));
        },
        || (0..repeat).flat_map(|_| bodies).for_each(|body| plain(body)),
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    let samples = repeat * bodies.len() * PER_BODY;
    if accepted != samples as u64 {
        return Err(format!("{accepted} of {samples} samples were decoded").into());
    }
    let baseline = Some(samples as f64 / baseline);
    Ok(Measured { ours: samples as f64 / ours, baseline, bytes_per_series: None })
}

fn rw1_decode(quick: bool) -> Result<Measured> {
    let bodies = scrape(&label_fields(10 * PER_BODY), 0)?;
    let mut plain = Plain::default();
    decode(RemoteWriteV1::default(), &bodies, quick, |body| {
        let (mut hash, mut sum) = (0, 0.0);
        plain.walk(body, |labels, value, _| {
            hash ^= xxh3_64(labels);
            sum += value;
        });
        black_box((hash, sum));
    })
}

fn rw2_decode(quick: bool) -> Result<Measured> {
    let mut request = v2::Request { symbols: vec![String::new()], timeseries: Vec::new() };
    let mut numbers = HashMap::new();
    for series in 0..PER_BODY {
        let mut labels_refs = Vec::new();
        let labels = labels(series);
        for text in labels.iter().flat_map(|(name, value)| [*name, value.as_str()]) {
            let next = request.symbols.len() as u32;
            let number = *numbers.entry(text.to_owned()).or_insert(next);
            if number == next {
                request.symbols.push(text.to_owned());
            }
            labels_refs.push(number);
        }
        let samples = vec![v2::Sample { value: value(series, 0), timestamp: 1_700_000_000_000 }];
        request.timeseries.push(v2::TimeSeries { labels_refs, samples });
    }
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec())?;
    let mut decoder = snap::raw::Decoder::new();
    decode(RemoteWriteV2::default(), &[body], quick, |body| {
        let unpacked = decoder.decompress_vec(body).unwrap_or_default();
        black_box(v2::Request::decode(unpacked.as_slice()).ok());
    })
}

fn otlp_decode(quick: bool) -> Result<Measured> {
    let text = |key: &str, text: &str| otlp::KeyValue {
        key: key.to_owned(),
        value: Some(otlp::AnyValue { value: Some(otlp::Value::Text(text.to_owned())) }),
    };
    // A resource a host, twenty points each, as an agent's collector batches them.
    let resources = (0..PER_BODY / 20).map(|host| {
        let points = (0..20).map(|metric| {
            let labels = labels(host * 20 + metric);
            let point = otlp::Point {
                attributes: vec![text("device", &labels[2].1), text("mountpoint", &labels[5].1)],
                time: 1_700_000_000_000_000_000,
                value: Some(otlp::Number::Double(value(host * 20 + metric, 0))),
            };
            let gauge = otlp::Gauge { data_points: vec![point] };
            let data = Some(otlp::Data::Gauge(gauge));
            otlp::Metric { name: labels[0].1.clone(), unit: "By".into(), data }
        });
        let names = [(1, "cluster"), (3, "host.name"), (6, "service.name"), (7, "zone")];
        let labels = labels(host * 20);
        let attributes = names.map(|(place, name)| text(name, &labels[place].1)).into();
        otlp::ResourceMetrics {
            resource: Some(otlp::Resource { attributes }),
            scope_metrics: vec![otlp::ScopeMetrics { metrics: points.collect() }],
        }
    });
    let body = otlp::Request { resource_metrics: resources.collect() }.encode_to_vec();
    decode(Otlp::default(), &[body], quick, |body| {
        black_box(otlp::Request::decode(body).ok());
    })
}

fn text_decode(quick: bool) -> Result<Measured> {
    let mut body = String::new();
    for series in 0..PER_BODY {
        let labels = labels(series);
        let pairs = labels[1..].iter().map(|(name, value)| format!("{name}=\"{value}\""));
        let pairs = pairs.collect::<Vec<_>>().join(",");
        body += &format!("{}{{{pairs}}} {} 1700000000000\n", labels[0].1, value(series, 0));
    }
    decode(Exposition::text(), &[body.into_bytes()], quick, |body| {
        let lines = std::str::from_utf8(body).unwrap_or_default().lines();
        black_box(lines.filter_map(plain_line).collect::<Vec<_>>());
    })
}

type Labels = Vec<(String, String)>;

/// What one writes first for the text format: no escapes in names, commas in values cut them.
fn plain_line(line: &str) -> Option<(String, Labels, f64, i64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, rest) = rest.rsplit_once("} ")?;
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').replace("\\\"", "\"")))
    };
    let (value, time) = rest.split_once(' ')?;
    let labels = labels.split(',').filter_map(pair).collect();
    Some((name.to_owned(), labels, value.parse().ok()?, time.parse().ok()?))
}

/// Messages for prost, as a generator would write them.
mod v2 {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(string, repeated, tag = "4")]
        pub(super) symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub(super) timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub(super) labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub(super) samples: Vec<Sample>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sample {
        #[prost(double, tag = "1")]
        pub(super) value: f64,
        #[prost(int64, tag = "2")]
        pub(super) timestamp: i64,
    }
}

/// The part of OpenTelemetry's messages that a gauge needs.
mod otlp {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, repeated, tag = "1")]
        pub(super) resource_metrics: Vec<ResourceMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        pub(super) resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub(super) scope_metrics: Vec<ScopeMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub(super) attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScopeMetrics {
        #[prost(message, repeated, tag = "2")]
        pub(super) metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metric {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "3")]
        pub(super) unit: String,
        #[prost(oneof = "Data", tags = "5")]
        pub(super) data: Option<Data>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Data {
        #[prost(message, tag = "5")]
        Gauge(Gauge),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Gauge {
        #[prost(message, repeated, tag = "1")]
        pub(super) data_points: Vec<Point>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Point {
        #[prost(message, repeated, tag = "7")]
        pub(super) attributes: Vec<KeyValue>,
        #[prost(fixed64, tag = "3")]
        pub(super) time: u64,
        #[prost(oneof = "Number", tags = "4, 6")]
        pub(super) value: Option<Number>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(super) enum Number {
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(sfixed64, tag = "6")]
        Int(i64),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct KeyValue {
        #[prost(string, tag = "1")]
        pub(super) key: String,
        #[prost(message, optional, tag = "2")]
        pub(super) value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct AnyValue {
        #[prost(oneof = "Value", tags = "1")]
        pub(super) value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
    }
}

fn rw1_to_verdict(series: usize, quick: bool) -> Result<Measured> {
    let per_round = if quick { 1 } else { (400_000 / series).max(1) };
    let rounds = if quick || series > 100_000 { 2 } else { 5 };
    let fields = label_fields(series);
    let scrapes = (0..per_round * (rounds + 1)).map(|at| scrape(&fields, at));
    let scrapes = scrapes.collect::<Result<Vec<_>>>()?;
    drop(fields);

    let mut decoder = RemoteWriteV1::default();
    let mut normaliser = NormaliserConfig::default().build()?;
    let mut inbox = Inbox::default();
    let dynamic = EwmaConfig { warm_up: 1, ..EwmaConfig::default() };
    let mut bank = GuardConfig { dynamic, ..GuardConfig::default() }.build_bank()?;
    let (mut scores, mut flagged) = (vec![0.0; PER_BODY], Vec::new());
    let mut ours_at = scrapes.chunks(per_round);
    let mut failed: Option<String> = None;

    let mut plain = Plain::default();
    let mut plain_bank = PlainBank::default();
    let mut plain_at = scrapes.chunks(per_round);
    let now = Timestamp::MAX;
    let (ours, baseline) = compare(
        rounds,
        || {
            for body in ours_at.next().into_iter().flatten().flatten() {
                inbox.clear();
                flagged.clear();
                let decoded = decoder.decode(body, now, &mut normaliser.sink(&mut inbox));
                let judged = bank.update(&inbox.batch(), &mut scores, &mut flagged);
                let error = decoded.map_err(|error| error.to_string()).err();
                failed =
                    failed.take().or(error).or(judged.map_err(|error| error.to_string()).err());
            }
            black_box(&scores);
        },
        || {
            for scrape in plain_at.next().into_iter().flatten() {
                plain_bank.next = 0;
                for body in scrape {
                    plain.walk(body, |labels, value, time| plain_bank.update(labels, value, time));
                }
            }
            black_box(plain_bank.flagged);
        },
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    if normaliser.len() != series {
        return Err(format!("{} series of {series} were interned", normaliser.len()).into());
    }
    let samples = (series * per_round) as f64;
    let state = normaliser.memory() as f64 / series as f64 + bank.bytes_per_series() as f64;
    Ok(Measured {
        ours: samples / ours,
        baseline: Some(samples / baseline),
        bytes_per_series: Some(state),
    })
}

/// The walk one writes when all senders are friends.
#[derive(Default)]
struct Plain {
    decoder: snap::raw::Decoder,
    body: Vec<u8>,
}

impl Plain {
    fn walk(&mut self, block: &[u8], mut each: impl FnMut(&[u8], f64, i64)) {
        let len = snap::raw::decompress_len(block).unwrap_or(0);
        self.body.resize(self.body.len().max(len), 0);
        let len = self.decoder.decompress(block, &mut self.body).unwrap_or(0);
        let body = &self.body[..len];
        let mut at = 0;
        while at < body.len() {
            at += 1;
            let end = length(body, &mut at) + at;
            let labels = at;
            while body[at] == 0x0a {
                at += 1;
                at += length(body, &mut at);
            }
            let labels = &body[labels..at];
            at += 3; // tag and length of the sample, tag of its value
            let mut value = [0; 8];
            value.copy_from_slice(&body[at..at + 8]);
            at += 9;
            let (mut time, mut shift) = (0_i64, 0);
            while at < end {
                time |= i64::from(body[at] & 0x7f) << shift;
                shift += 7;
                at += 1;
            }
            each(labels, f64::from_le_bytes(value), time);
        }
    }
}

#[inline]
fn length(body: &[u8], at: &mut usize) -> usize {
    let (mut len, mut shift) = (0, 0);
    loop {
        let byte = body[*at];
        *at += 1;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return len;
        }
    }
}

/// Records in the order of the first scrape, their labels beside them.
#[derive(Default)]
struct PlainBank {
    labels: Vec<u8>,
    ends: Vec<usize>,
    records: Vec<Record>,
    next: usize,
    flagged: usize,
}

struct Record {
    mean: f64,
    variance: f64,
    last: i64,
    violations: u8,
}

impl PlainBank {
    #[inline]
    fn update(&mut self, labels: &[u8], value: f64, time: i64) {
        const ALPHA: f64 = 0.011_486_4;
        let at = self.next;
        self.next += 1;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        if at == self.records.len() {
            self.labels.extend_from_slice(labels);
            self.ends.push(self.labels.len());
            self.records.push(Record { mean: value, variance: 1.0, last: time, violations: 0 });
            return;
        }
        assert_eq!(
            &self.labels[start..self.ends[at]],
            labels,
            "the order of scrapes is fixed here"
        );
        let record = &mut self.records[at];
        if time <= record.last {
            return;
        }
        record.last = time;
        let d = value - record.mean;
        let score = d * d / (record.variance + 1e-18);
        record.violations = if score >= 61.0 { record.violations.saturating_add(1) } else { 0 };
        self.flagged += usize::from(record.violations >= 3);
        record.mean += ALPHA * d;
        record.variance = (1.0 - ALPHA) * (record.variance + ALPHA * d * d);
    }
}
