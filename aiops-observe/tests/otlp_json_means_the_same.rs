//! The JSON form and the protobuf form of one request deliver the same.
#![allow(clippy::unwrap_used, reason = "a test may")]

use aiops_core::Timestamp;
use aiops_observe::decode::{Otlp, OtlpJson};
use aiops_observe::encode::{Said, otlp};
use aiops_observe::{Decoder, Inbox, NormaliserConfig};

/// Names, labels and values in the order of the body.
fn read(decoder: &mut dyn Decoder, body: &[u8]) -> (Vec<(String, Timestamp, f64)>, String) {
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let mut inbox = Inbox::default();
    let now = Timestamp::from_secs(1_700_000_060);
    let tally = decoder.decode(body, now, &mut normaliser.sink(&mut inbox)).unwrap();
    let rows = inbox
        .batch()
        .iter()
        .map(|(id, sample)| (normaliser.key(id).unwrap().to_string(), sample.time, sample.value));
    (rows.collect(), tally.to_string())
}

#[test]
fn gauges_of_both_forms_are_equal() {
    let series = aiops_core::SeriesKey::new("latency", [("service", "mail"), ("zone", "ü\"")]);
    let said = |secs, score| Said {
        series: &series,
        time: Timestamp::from_secs(secs),
        score,
        expected: 0.25,
        lower: f64::NAN,
        upper: f64::NAN,
        flagged: true,
    };
    let protobuf = otlp(&[said(1_700_000_000, 1.5), said(1_700_000_015, -2.0)]);
    let point = |secs: i64, value: f64| {
        format!(
            r#"{{"timeUnixNano": "{secs}000000000", "asDouble": {value}, "attributes": [
               {{"key": "service", "value": {{"stringValue": "mail"}}}},
               {{"key": "zone", "value": {{"stringValue": "\u00fc\""}}}},
               {{"key": "metric", "value": {{"stringValue": "latency"}}}}]}}"#
        )
    };
    let gauge = |name: &str, values: [f64; 2]| {
        let points = [point(1_700_000_000, values[0]), point(1_700_000_015, values[1])].join(", ");
        format!(r#"{{"name": "{name}", "gauge": {{"dataPoints": [{points}]}}}}"#)
    };
    let metrics = [
        gauge("aiops_anomaly", [1.0, 1.0]),
        gauge("aiops_expected", [0.25, 0.25]),
        gauge("aiops_score", [1.5, -2.0]),
    ];
    let json = format!(
        r#"{{"resourceMetrics": [{{"scopeMetrics": [{{"scope": {{"name": "aiops"}}, "metrics": [{}]}}]}}]}}"#,
        metrics.join(", ")
    );
    let (expected, tally) = read(&mut Otlp::default(), &protobuf);
    assert_eq!(expected.len(), 6);
    assert_eq!(read(&mut OtlpJson::default(), json.as_bytes()), (expected, tally));
}

#[test]
fn every_kind_of_point_is_read() {
    let body = include_bytes!("../fuzz/corpus/otlp_json/all_kinds.json");
    let (rows, tally) = read(&mut OtlpJson::default(), body);
    println!("{tally}\n{rows:#?}");
    for name in ["queue", "latency", "size", "gc"] {
        assert!(rows.iter().any(|(key, ..)| key.contains(name)), "{name}: {rows:?}");
    }
    assert!(rows.iter().all(|(key, ..)| key.contains("mail") && !key.contains("unknown")));
    let of = |name: &str| rows.iter().find(|(key, ..)| key.starts_with(name)).unwrap().2;
    assert_eq!(of("queue"), 7.0);
    assert!(!tally.contains("malformed"), "{tally}");
}
