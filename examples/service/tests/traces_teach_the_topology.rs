//! Spans that are sent become dependencies and series, log lines become series.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::sync::Arc;
use std::time::Duration;

use aiops_core::{EdgeKind, MemoryStore, Timestamp};
use aiops_observe::IntakeRequest;
use aiops_service::{Config, Stages};

fn span(service: &str, kind: u8, id: &str, parent: &str) -> String {
    format!(
        r#"{{"resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "{service}"}}}}]}},
            "scopeSpans": [{{"spans": [{{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "{id}",
            "parentSpanId": "{parent}", "kind": {kind}, "startTimeUnixNano": "0",
            "endTimeUnixNano": "20000000"}}]}}]}}"#
    )
}

#[test]
fn calls_in_traces_are_dependencies_and_lines_are_series() {
    let now = Timestamp::from_secs(1_760_000_100);
    let mut stages =
        Stages::open(Config::default(), Arc::new(MemoryStore::default()), now).unwrap();
    let mut send = |path: &str, body: &str| {
        let headers = &[("content-type", "application/json")];
        let body = body.as_bytes();
        let request = IntakeRequest { method: "POST", path, headers, body };
        assert_eq!(stages.receive(&request, now).status, 200);
    };
    let spans = [
        span("api", 3, "000000000000000a", ""),
        span("db", 2, "000000000000000b", "000000000000000a"),
    ];
    send("/v1/traces", &format!(r#"{{"resourceSpans": [{}]}}"#, spans.join(", ")));
    let line = r#"{"severityNumber": 17, "body": {"stringValue": "lost 3 peers"}}"#;
    send(
        "/v1/logs",
        &format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{line}]}}]}}]}}"#),
    );
    assert_eq!(stages.topology().len(), 0, "not summed up yet");
    for tick in 1..=2 {
        stages.tick(now + Duration::from_secs(10 * tick)).unwrap();
    }
    let topology = stages.topology();
    let (api, db) = (topology.require("api").unwrap(), topology.require("db").unwrap());
    assert!(topology.edge(api, db, EdgeKind::Calls).is_some());
    assert!(stages.series() >= 3, "rates of lines and calls, latencies: {}", stages.series());
}
