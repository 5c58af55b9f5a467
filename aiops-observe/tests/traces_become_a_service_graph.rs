//! Spans of OpenTelemetry to calls between services: by hand, and beside a plain count over messages
//! that a generated encoder wrote.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod collect;

use aiops_core::{MetricKind, Timestamp};
use aiops_observe::digest::{TraceDigest, TraceDigestConfig};
use aiops_observe::{Inbox, NormaliserConfig, Rejection};
use collect::Collected;
use proptest::prelude::*;
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { string_value: Some(value.to_owned()) });
    KeyValue { key: key.to_owned(), value }
}

fn span(kind: i32, id: u64, parent: u64, millis: u64, failed: bool) -> Span {
    let parent = if parent == 0 { Vec::new() } else { parent.to_be_bytes().to_vec() };
    Span {
        trace_id: vec![7; 16],
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: parent,
        name: "any".into(),
        kind,
        start: 5_000_000_000,
        end: 5_000_000_000 + millis * 1_000_000,
        attributes: Vec::new(),
        status: failed.then_some(Status { code: 2 }),
    }
}

fn request(service: &str, span: Span) -> Vec<u8> {
    let resource = Some(Resource { attributes: vec![text("service.name", service)] });
    let scope_spans = vec![ScopeSpans { spans: vec![span] }];
    Request { resource_spans: vec![ResourceSpans { resource, scope_spans }] }.encode_to_vec()
}

fn digest() -> TraceDigest {
    TraceDigestConfig::default().build().unwrap()
}

fn lines(digest: &mut TraceDigest, after: u64) -> Vec<String> {
    let mut sink = Collected::default();
    digest.emit(NOW + Duration::from_secs(after), &mut sink);
    sink.lines()
}

#[test]
fn two_sides_in_any_order_are_one_call() {
    for turn in [false, true] {
        let mut digest = digest();
        let mut bodies = vec![
            request("api", span(CLIENT, 1, 9, 30, false)),
            request("db", span(SERVER, 2, 1, 20, true)),
            request("db", span(1, 3, 2, 10, false)), // inside the server
        ];
        if turn {
            bodies.reverse();
        }
        for body in bodies {
            digest.read(&body, NOW).unwrap();
        }
        assert_eq!(digest.waiting(), 0);
        let lines = lines(&mut digest, 1);
        let edge = r#"client="api",server="db",service="db""#;
        let mut found = lines.iter().map(|line| line.rsplit_once(" @ ").unwrap().0);
        assert_eq!(
            found.next().unwrap(),
            format!("traces_service_graph_request_total{{{edge}}} 1")
        );
        let failed = format!("traces_service_graph_request_failed_total{{{edge}}} 1");
        assert_eq!(found.next().unwrap(), failed);
        // 20 ms, which the bucket of 1 % width says as 0.01992.
        for quantile in ["0.5", "0.95", "0.99"] {
            let line = found.next().unwrap();
            let name = "traces_service_graph_request_server_seconds";
            let expected = format!(
                "{name}{{client=\"api\",quantile=\"{quantile}\",server=\"db\",service=\"db\"}} "
            );
            let seconds: f64 = line.strip_prefix(&expected).unwrap().parse().unwrap();
            assert!((seconds - 0.02).abs() < 0.0002, "{line}");
        }
        assert_eq!(found.next().unwrap(), r#"traces_service_request_total{service="db"} 1"#);
        assert_eq!(found.count(), 4);
        assert_eq!(self::lines(&mut digest, 2).len(), 4, "latencies only where there were calls");
    }
}

#[test]
fn a_client_whose_server_is_not_traced_names_it() {
    let mut digest = digest();
    let mut call = span(CLIENT, 1, 0, 30, false);
    call.attributes = vec![text("peer.service", "orders"), text("db.system", "postgresql")];
    digest.read(&request("api", call), NOW).unwrap();
    assert!(lines(&mut digest, 1).is_empty(), "the server may still come");
    lines(&mut digest, 11);
    let edges: Vec<_> = digest.edges().map(|e| (e.client, e.server, e.calls, e.failed)).collect();
    assert_eq!(edges, [("api", "orders", 1, 0)]);
}

#[test]
fn spans_that_cannot_be_placed_are_counted() {
    let mut digest = digest();
    let mut short = span(SERVER, 1, 0, 1, false);
    short.trace_id.pop();
    for (body, reason) in [
        (request("api", short), Rejection::Malformed),
        (request("", span(SERVER, 1, 0, 1, false)), Rejection::MissingField),
        (request(&"x".repeat(5_000), span(SERVER, 1, 0, 1, false)), Rejection::LabelTooLong),
    ] {
        let tally = digest.read(&body, NOW).unwrap();
        assert_eq!((tally.rejected_as(reason), tally.items()), (1, 1), "{reason}");
    }
    let body = request("api", span(SERVER, 1, 0, 1, false));
    assert!(digest.read(&body[..body.len() - 1], NOW).is_err());
}

#[test]
fn calls_become_rates_latencies_and_errors_behind_the_normaliser() {
    let mut digest = digest();
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let mut inbox = Inbox::default();
    for tick in [1, 2] {
        for call in 0..30 {
            let server = span(SERVER, tick * 1_000 + call, 0, 5, call < 3);
            digest.read(&request("api", server), NOW).unwrap();
        }
        digest.emit(NOW + Duration::from_secs(10 * tick), &mut normaliser.sink(&mut inbox));
    }
    let of = |name: &str| {
        let named = |(id, sample): (_, aiops_core::Sample)| {
            let key = normaliser.key(id)?;
            (key.name == name).then(|| (normaliser.info(id).unwrap().kind, sample.value))
        };
        inbox.batch().iter().filter_map(named).last().unwrap()
    };
    assert_eq!(of("traces_service_request_total"), (MetricKind::Throughput, 3.0));
    let (kind, failed) = of("traces_service_request_failed_total");
    assert_eq!((kind, (failed * 10.0).round()), (MetricKind::Errors, 3.0));
    assert_eq!(of("traces_service_request_seconds").0, MetricKind::Latency);
}

proptest! {
    /// Whatever the order and the bodies: calls are pairs of a client and the server it is parent of.
    #[test]
    fn edges_equal_a_plain_count(
        calls in prop::collection::vec((0..4usize, 0..4usize, any::<bool>(), any::<bool>()), 1..30),
        order in any::<u64>(),
        split in 1..8usize,
    ) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let mut spans = Vec::new();
        let mut expected = BTreeMap::new();
        for (id, &(client, server, fails, failed)) in (1u64..).zip(&calls) {
            spans.push((NAMES[client], span(CLIENT, id, 0, 3, fails)));
            spans.push((NAMES[server], span(SERVER, id + 1_000, id, 2, failed)));
            if client != server {
                let sum: &mut (u64, u64) = expected.entry((NAMES[client], NAMES[server])).or_default();
                *sum = (sum.0 + 1, sum.1 + u64::from(fails || failed));
            }
        }
        let mix = |id: &[u8]| {
            let id = id.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            (id ^ order).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        spans.sort_by_key(|(_, span)| mix(&span.span_id));
        let mut digest = digest();
        for body in spans.chunks(split) {
            let resource_spans = body.iter().map(|(service, span)| ResourceSpans {
                resource: Some(Resource { attributes: vec![text("service.name", service)] }),
                scope_spans: vec![ScopeSpans { spans: vec![span.clone()] }],
            });
            let request = Request { resource_spans: resource_spans.collect() }.encode_to_vec();
            let tally = digest.read(&request, NOW).unwrap();
            prop_assert_eq!(tally.accepted(), body.len() as u64);
        }
        let found: BTreeMap<_, _> = digest
            .edges()
            .map(|edge| ((edge.client, edge.server), (edge.calls, edge.failed)))
            .collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(digest.waiting(), 0);
    }
}
