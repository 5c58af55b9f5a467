//! Logs and traces become series: an error that nobody has seen before stands out, and calls between
//! services become a topology.
//!
//! ```text
//! cargo run -p aiops-examples --example logs_and_traces
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::time::Duration;

use aiops_core::Timestamp;
use aiops_observe::digest::{LogDigestConfig, TraceDigestConfig};
use aiops_observe::{Inbox, Intake, IntakeRequest, NormaliserConfig};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut intake = Intake::default()
        .with_logs(LogDigestConfig::default().build()?)
        .with_traces(TraceDigestConfig::default().build()?);
    let mut normaliser = NormaliserConfig::default().build()?;
    let mut inbox = Inbox::default();

    // Two minutes in which `api` asks `db`; in the last ten seconds the disk of `db` fails.
    let start = Timestamp::from_secs(1_700_000_000);
    let mut loudest = (0.0, String::new());
    for tick in 0..12_u64 {
        let now = start + Duration::from_secs(10 * tick);
        let mut lines = vec![(9, format!("checkpoint complete: wrote {} buffers", 300 + tick))];
        for call in 1..=20 {
            let id = 100 * tick + call;
            send(&mut intake, "/v1/traces", &call_of(id), now);
            lines.push((9, format!("query {id} took {} ms", 3 + id % 4)));
        }
        if tick == 11 {
            lines.extend((0..50).map(|i| (17, format!("could not write block {i}: disk full"))));
        }
        send(&mut intake, "/v1/logs", &records(&lines), now);

        inbox.clear();
        intake.emit(now, &mut normaliser.sink(&mut inbox));
        for (id, sample) in inbox.batch().iter() {
            let Some(key) = normaliser.key(id) else { continue };
            if key.name == "log_template_lines_total" && sample.value > loudest.0 {
                loudest = (sample.value, key.labels.get("template").unwrap_or_default().to_owned());
            }
        }
    }

    let templates = intake.logs().ok_or("it has logs")?.templates();
    let new = templates.iter().find(|template| template.id.to_string() == loudest.1);
    let new = new.ok_or("the template is known")?;
    println!("{} lines a second: {}", loudest.0, new.text);
    assert_eq!((loudest.0, new.text.as_str()), (5.0, "could not write block * disk full"));

    // What `ServiceGraph::read_calls` of `aiops-knowledge` makes dependencies of.
    for edge in intake.traces().ok_or("it has traces")?.edges() {
        println!(
            "{} -> {}: {} calls, {} failed",
            edge.client, edge.server, edge.calls, edge.failed
        );
        assert_eq!((edge.client, edge.server, edge.calls), ("api", "db", 240));
    }
    Ok(())
}

fn send(intake: &mut Intake, path: &str, body: &Value, now: Timestamp) {
    let (headers, body) = (&[("content-type", "application/json")], body.to_string());
    let request = IntakeRequest { method: "POST", path, headers, body: body.as_bytes() };
    // Nothing goes on at once: a digest waits for `emit`.
    let answer = intake.handle(&request, now, &mut Refusing);
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
}

struct Refusing;
impl aiops_observe::Sink for Refusing {}

fn resource(service: &str) -> Value {
    json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]})
}

/// Both sides of a call, as the two services would export them.
fn call_of(id: u64) -> Value {
    let span = |kind: u8, id: u64, parent: String| {
        json!({"traceId": format!("{id:032x}"), "spanId": format!("{id:016x}"),
            "parentSpanId": parent, "kind": kind,
            "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1004000000"})
    };
    let of = |service: &str, span: Value| json!({"resource": resource(service), "scopeSpans": [{"spans": [span]}]});
    let client = span(3, id, String::new());
    let mut server = span(2, id, format!("{id:016x}"));
    server["spanId"] = json!(format!("{:016x}", id + 1_000_000));
    json!({"resourceSpans": [of("api", client), of("db", server)]})
}

fn records(lines: &[(u8, String)]) -> Value {
    let record = |(severity, line): &(u8, String)| json!({"severityNumber": severity, "body": {"stringValue": line}});
    let records: Vec<_> = lines.iter().map(record).collect();
    json!({"resourceLogs": [{"resource": resource("db"), "scopeLogs": [{"logRecords": records}]}]})
}
