//! A server takes OpenTelemetry metrics, judges them, and sends scores and bands back as metrics.
//!
//! ```text
//! cargo run -p aiops-examples --example receive_otlp
//! ```
//! Point an exporter at such a server with `OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318`.
#![allow(clippy::print_stdout, reason = "an example shows what a user would see")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use aiops_core::{Clock, SystemClock};
use aiops_detect::{DetectorBank, tier1::RobustConfig};
use aiops_observe::encode::{Said, otlp};
use aiops_observe::{Inbox, Intake, NormaliserConfig, http::HttpConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Everything behind the socket is synchronous and lives in this one closure.
    let (mut intake, mut inbox) = (Intake::default(), Inbox::default());
    let mut normaliser = NormaliserConfig::default().build()?;
    let mut bank = RobustConfig::default().build_bank()?;
    let (mut scores, mut flagged) = (Vec::new(), Vec::new());
    let (report, flags) = mpsc::channel();
    let server = HttpConfig::default().build(move |request| {
        inbox.clear();
        let answer = intake.handle(request, SystemClock.now(), &mut normaliser.sink(&mut inbox));
        let batch = inbox.batch();
        scores.resize(batch.len(), 0.0);
        if bank.update(&batch, &mut scores, &mut flagged).is_err() {
            return answer; // a real service counts it
        }
        for flag in flagged.drain(..) {
            let (Some(series), verdict) = (normaliser.key(flag.id), flag.verdict) else { continue };
            let said = Said {
                series,
                time: batch.times()[flag.row],
                score: verdict.score,
                expected: verdict.expected,
                lower: verdict.lower,
                upper: verdict.upper,
                flagged: verdict.flagged,
            };
            // The body for `/v1/metrics` of your collector.
            let _ = report.send((series.to_string(), verdict.score, otlp(&[said])));
        }
        answer
    })?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || runtime.block_on(server.serve(listener)));

    // An exporter: a quiet queue that suddenly fills up.
    for minute in 0..200 {
        let depth = if minute == 199 { 900 } else { 20 + minute % 7 };
        let answer = post(address, &gauge(1_700_000_000 + 60 * minute, depth))?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let (series, score, body) = flags.try_iter().last().ok_or("nothing was flagged")?;
    println!("{series} scored {score:.1}; {} bytes go back to the collector", body.len());
    assert!(series.starts_with("queue") && series.contains("mail"), "{series}");
    Ok(())
}

/// A request of the kind that an SDK sends.
fn gauge(secs: i64, depth: i64) -> String {
    let point = format!(r#"{{"timeUnixNano": "{secs}000000000", "asInt": "{depth}"}}"#);
    format!(
        r#"{{"resourceMetrics": [{{
            "resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "mail"}}}}]}},
            "scopeMetrics": [{{"metrics": [{{"name": "queue.depth", "gauge": {{"dataPoints": [{point}]}}}}]}}]}}]}}"#
    )
}

fn post(address: SocketAddr, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close";
    let (kind, length) = ("content-type: application/json", body.len());
    write!(stream, "{head}\r\n{kind}\r\ncontent-length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
