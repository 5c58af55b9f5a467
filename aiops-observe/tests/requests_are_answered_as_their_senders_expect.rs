//! The intake and its server: routes, statuses, tokens, limits, back-pressure.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod collect;

use aiops_core::Timestamp;
use aiops_observe::digest::{LogDigestConfig, TraceDigestConfig};
use aiops_observe::http::HttpConfig;
use aiops_observe::{Intake, IntakeAnswer, IntakeRequest, Limits};
use collect::Collected;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

const NOW: Timestamp = Timestamp::from_secs(1_795_492_800);

fn post(
    intake: &mut Intake,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (IntakeAnswer, Collected) {
    let mut sink = Collected::default();
    let request = IntakeRequest { method: "POST", path, headers, body };
    (intake.handle(&request, NOW, &mut sink), sink)
}

/// `up{} 1` at one second.
fn remote_write() -> Vec<u8> {
    let mut body = vec![0x0a, 0x20, 0x0a, 0x0e, 0x0a, 0x08];
    body.extend(b"__name__\x12\x02up");
    body.extend([0x12, 0x0e, 0x09]);
    body.extend(1.0_f64.to_le_bytes());
    body.extend([0x10, 0xe8, 0x87, 0x80, 0x00]);
    body[1] = (body.len() - 2) as u8;
    snap::raw::Encoder::new().compress_vec(&body).unwrap()
}

#[test]
fn remote_write_by_its_content_type() {
    let mut intake = Intake::default();
    let encoding = ("Content-Encoding", "snappy");
    let headers = [encoding, ("content-type", "application/x-protobuf")];
    let (answer, sink) = post(&mut intake, "/api/v1/write", &headers, &remote_write());
    assert_eq!((answer.status, sink.lines()), (204, vec!["up{} 1 @ 1".to_owned()]));

    let v2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
    let empty = snap::raw::Encoder::new().compress_vec(&[]).unwrap();
    let headers = [encoding, ("content-type", v2)];
    let (answer, _) = post(&mut intake, "/api/v1/write", &headers, &empty);
    assert_eq!(answer.status, 204);
    let written = ("x-prometheus-remote-write-samples-written", "0".to_owned());
    assert!(answer.headers.contains(&written), "{answer:?}");

    let (answer, _) = post(&mut intake, "/api/v1/write", &[encoding], b"\x05hello");
    assert_eq!(answer.status, 400, "sending it again will not help");
    let (answer, _) = post(&mut intake, "/api/v1/write", &[("content-encoding", "zstd")], b"");
    assert_eq!(answer.status, 415);
}

#[test]
fn every_webhook_has_its_path() {
    let mut intake = Intake::default();
    let ce = r#"{"specversion": "1.0", "id": "1", "source": "/", "type": "deploy"}"#;
    let page = r#"{"event_action": "trigger", "payload": {"summary": "s", "severity": "error"}}"#;
    for (path, body, status) in [
        ("/api/v2/alerts", r#"[{"labels": {"alertname": "A"}}]"#, 200),
        ("/webhook/alertmanager", r#"{"version": "4", "alerts": [], "truncatedAlerts": 2}"#, 200),
        ("/webhook/grafana", r#"{"version": "1", "alerts": [{}]}"#, 400),
        ("/v2/enqueue", page, 202),
        ("/events", ce, 204),
        ("/events", "[]", 204),
        ("/changes", r#"{"kind": "deploy"}"#, 204),
        ("/samples.jsonl", r#"{"name": "a", "value": 1}"#, 204),
        ("/samples.csv", "time,name,value\n1,a,1\n", 204),
        ("/api/v1/import/prometheus", "up 1\n", 204),
        ("/api/v1/import/prometheus", "up one\n", 400),
        ("/elsewhere", "", 404),
    ] {
        let (answer, _) = post(&mut intake, path, &[], body.as_bytes());
        assert_eq!(answer.status, status, "{path} {body} {answer:?}");
    }
    let headers =
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/"), ("ce-type", "deploy")];
    let (answer, sink) = post(&mut intake, "/events", &headers, b"{}");
    assert_eq!((answer.status, sink.events.len()), (204, 1));
    let (answer, _) = post(
        &mut intake,
        "/api/v1/import/prometheus",
        &[("content-type", "application/openmetrics-text; version=1.0.0")],
        b"up 1\n",
    );
    assert_eq!(answer.status, 400, "cut short");
    let request = IntakeRequest { method: "GET", path: "/changes", headers: &[], body: &[] };
    assert_eq!(intake.handle(&request, NOW, &mut Collected::default()).status, 405);
}

#[test]
fn open_telemetry_is_told_what_was_rejected() {
    let mut intake = Intake::new(Limits { label_bytes: 3, ..Limits::default() });
    let kind = [("content-type", "application/x-protobuf")];
    let (answer, _) = post(&mut intake, "/v1/metrics", &kind, b"");
    assert_eq!((answer.status, answer.body.len()), (200, 0), "a full success is an empty message");
    // A gauge of one point whose name is longer than three bytes.
    let point = [0x0a, 0x09, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut metric = vec![0x0a, 0x04];
    metric.extend(b"long");
    metric.extend([0x2a, point.len() as u8]);
    metric.extend(point);
    let wrap = |tag: u8, inner: Vec<u8>| [vec![tag, inner.len() as u8], inner].concat();
    let body = wrap(0x0a, wrap(0x12, wrap(0x12, metric)));
    let (answer, _) = post(&mut intake, "/v1/metrics", &kind, &body);
    assert_eq!(answer.status, 200);
    assert_eq!(&answer.body[2..4], [0x08, 0x01], "one rejected");
    assert!(String::from_utf8_lossy(&answer.body).contains("1 label_too_long"));
    let (answer, _) = post(&mut intake, "/v1/metrics", &[("content-type", "text/plain")], b"{}");
    assert_eq!(answer.status, 415);

    let kind = [("content-type", "application/json")];
    let (answer, _) = post(&mut intake, "/v1/metrics", &kind, b"{}");
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"{}".as_slice()));
}

#[test]
fn logs_and_traces_go_into_digests_where_there_are_some() {
    let json = [("content-type", "application/json")];
    for path in ["/v1/logs", "/v1/traces"] {
        assert_eq!(post(&mut Intake::default(), path, &json, b"{}").0.status, 404);
    }
    let mut intake = Intake::default()
        .with_logs(LogDigestConfig::default().build().unwrap())
        .with_traces(TraceDigestConfig::default().build().unwrap());
    let record = r#"{"body": {"stringValue": "lost 3 peers"}}, {}"#;
    let logs = format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{record}]}}]}}]}}"#);
    let (answer, sink) = post(&mut intake, "/v1/logs", &json, logs.as_bytes());
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!((answer.status, sink.points.len()), (200, 0));
    assert!(text.contains(r#""rejectedLogRecords":"1""#) && text.contains("unsupported"), "{text}");
    let span = r#"{"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "kind": 2}"#;
    let traces = format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{span}]}}]}}]}}"#);
    let (answer, _) = post(&mut intake, "/v1/traces", &json, traces.as_bytes());
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains(r#""rejectedSpans":"1""#) && text.contains("missing_field"), "{text}");
    let protobuf = [("content-type", "application/x-protobuf")];
    assert_eq!(post(&mut intake, "/v1/traces", &protobuf, b"").0.status, 200);
    assert_eq!(post(&mut intake, "/v1/logs", &protobuf, b"\x0a\xff").0.status, 400);
    assert_eq!(post(&mut intake, "/v1/logs", &[("content-type", "text/plain")], b"").0.status, 415);
    let mut sink = Collected::default();
    assert_eq!(intake.emit(NOW, &mut sink).accepted(), 1);
    assert!(sink.lines()[0].starts_with("log_template_lines_total"), "{sink:?}");
}

#[test]
fn a_token_is_asked_for_and_not_shown() {
    let mut intake = Intake::default().with_token("sesame").unwrap();
    assert!(Intake::default().with_token("").is_err());
    assert!(!format!("{intake:?}").contains("sesame"));
    let mut with = |value| post(&mut intake, "/changes", &[("Authorization", value)], b"").0.status;
    assert_eq!(with("Bearer sesame"), 204);
    assert_eq!(with("bearer sesame"), 204);
    for wrong in ["Bearer sesam", "Bearer sesame!", "Bearer ", "Basic sesame", "sesame"] {
        assert_eq!(with(wrong), 401, "{wrong}");
    }
}

/// Sends a request over a socket and returns the head of the answer.
fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn request(path: &str, body: &str) -> Vec<u8> {
    let head = format!("POST {path}?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn a_server_carries_it_and_pushes_back() {
    let (entered, inside) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let mut intake = Intake::default();
    let config = HttpConfig { queue: 1, body_bytes: 100, ..HttpConfig::default() };
    let server = config.build(move |request| {
        if request.path == "/slow" {
            entered.send(()).unwrap();
            released.recv().unwrap();
        }
        intake.handle(request, NOW, &mut Collected::default())
    });
    let server = server.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        runtime.block_on(async move {
            // Dropped, and so ended, when the test is over.
            let _ =
                tokio::time::timeout(std::time::Duration::from_secs(20), server.serve(listener))
                    .await;
        });
    });
    assert!(
        send(address, &request("/changes", r#"{"kind": "deploy"}"#)).starts_with("HTTP/1.1 204")
    );
    assert!(send(address, &request("/changes", &"x".repeat(101))).starts_with("HTTP/1.1 413"));

    // One in the worker, one in the queue; the third is told to wait.
    let slow = std::thread::spawn(move || send(address, &request("/slow", "")));
    inside.recv().unwrap();
    let mut queued = TcpStream::connect(address).unwrap();
    queued.write_all(&request("/changes", "")).unwrap();
    let busy = loop {
        // Until the queued one has arrived, this one takes its place; it then waits like it.
        let mut probe = TcpStream::connect(address).unwrap();
        probe.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        probe.write_all(&request("/changes", "")).unwrap();
        let mut answer = String::new();
        if probe.read_to_string(&mut answer).is_ok() {
            break answer;
        }
    };
    assert!(busy.starts_with("HTTP/1.1 503"), "{busy}");
    assert!(busy.to_ascii_lowercase().contains("retry-after: 1"), "{busy}");
    release.send(()).unwrap();
    assert!(slow.join().unwrap().starts_with("HTTP/1.1 404"));
    drop(serving);
}
