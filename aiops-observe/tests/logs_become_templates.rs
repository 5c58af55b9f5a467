//! Log records of OpenTelemetry, as protobuf and as JSON, to counts per template.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod collect;

use aiops_core::{MetricKind, Timestamp};
use aiops_observe::digest::{DrainConfig, LogDigest, LogDigestConfig};
use aiops_observe::{Inbox, Limits, NormaliserConfig, Rejection};
use collect::Collected;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// A request of one service, with text bodies.
fn request(service: &str, severity: u8, lines: &[&str]) -> String {
    let record = |line: &&str| serde_json::json!({"severityNumber": severity, "body": {"stringValue": line}});
    let records: Vec<_> = lines.iter().map(record).collect();
    serde_json::json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeLogs": [{"logRecords": records}],
    }]})
    .to_string()
}

fn digest(config: LogDigestConfig) -> LogDigest {
    config.build().unwrap()
}

/// See `data/drain/README.md`.
#[test]
fn they_equal_those_of_drain3() {
    let lines: Vec<_> = include_str!("data/drain/lines.txt").lines().collect();
    let mut logs = digest(LogDigestConfig::default());
    let tally = logs.read_json(request("all", 9, &lines).as_bytes(), NOW).unwrap();
    assert_eq!((tally.accepted(), tally.rejected()), (lines.len() as u64, 0));
    let found = logs.templates().into_iter().map(|t| format!("{} {}", t.lines, t.text));
    let expected = include_str!("data/drain/templates.txt").replace("<*>", "*");
    assert_eq!(found.collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
}

#[test]
fn a_series_is_a_service_a_template_and_a_severity() {
    let mut logs = digest(LogDigestConfig::default());
    for (service, severity, line) in
        [("db", 17, "lost 3 peers"), ("db", 17, "lost 4 peers"), ("db", 9, "lost 4 peers")]
    {
        logs.read_json(request(service, severity, &[line]).as_bytes(), NOW).unwrap();
    }
    logs.read_json(request("api", 0, &["lost 4 peers"]).as_bytes(), NOW).unwrap();
    let template = logs.templates()[0].id;
    let mut sink = Collected::default();
    let tally = logs.emit(NOW, &mut sink);
    let line = |service: &str, severity: &str, count: u8| {
        format!(
            "log_template_lines_total{{service={service:?},severity={severity:?},\
             template=\"{template}\"}} {count} @ 1700000000"
        )
    };
    let expected = [line("api", "unset", 1), line("db", "error", 2), line("db", "info", 1)];
    assert_eq!((sink.lines(), tally.accepted()), (expected.into(), 3));
}

#[test]
fn the_first_lines_of_a_new_error_have_a_rate() {
    let mut logs = digest(LogDigestConfig::default());
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let mut inbox = Inbox::default();
    for tick in 0..3 {
        let now = NOW + Duration::from_secs(10 * tick);
        if tick == 1 {
            let lines = ["disk sda1 failed"; 30];
            logs.read_json(request("db", 17, &lines).as_bytes(), now).unwrap();
        }
        logs.emit(now, &mut normaliser.sink(&mut inbox));
    }
    assert_eq!(inbox.batch().values(), [3.0, 0.0], "thirty in ten seconds, then none");
    let (id, _) = inbox.batch().iter().next().unwrap();
    let info = normaliser.info(id).unwrap();
    assert_eq!(info.kind, MetricKind::LogTemplateCount);
    assert_eq!(normaliser.key(id).unwrap().service(), Some("db"));
}

#[test]
fn what_is_no_line_is_counted() {
    let mut logs = digest(LogDigestConfig {
        limits: Limits { items: 6, label_bytes: 8, ..Limits::default() },
        ..Default::default()
    });
    let records = r#"{"body": {"kvlistValue": {"values": []}}}, {}, {"eventName": "session.start"},
        {"body": {"stringValue": "  "}}"#;
    let body = format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{records}]}}]}}]}}"#);
    let tally = logs.read_json(body.as_bytes(), NOW).unwrap();
    assert_eq!((tally.accepted(), tally.rejected_as(Rejection::Unsupported)), (1, 3));
    assert_eq!(logs.templates()[0].text, "session.start");
    let tally = logs.read_json(request("a long name", 9, &["x"]).as_bytes(), NOW).unwrap();
    assert_eq!(tally.rejected_as(Rejection::LabelTooLong), 1);
    let error = logs.read_json(request("a", 9, &["x"; 7]).as_bytes(), NOW).unwrap_err();
    assert_eq!(error.before().unwrap().accepted(), 6, "{error}");
    assert!(error.to_string().contains("limit of 6"), "{error}");
}

#[test]
fn whoever_sends_nonsense_fills_only_what_there_is_for_it() {
    let drain = DrainConfig { max_templates: 50, ..DrainConfig::default() };
    let config = LogDigestConfig { drain, max_series: 60, ..Default::default() };
    let mut logs = digest(config);
    logs.read_json(request("shop", 9, &["order placed"]).as_bytes(), NOW).unwrap();
    let later = NOW + Duration::from_secs(60);
    let letters = |mut i: usize| {
        let mut word = String::new();
        while i > 0 {
            word.push(char::from(b'a' + (i % 26) as u8));
            i /= 26;
        }
        word
    };
    let mut tally = aiops_observe::Tally::default();
    for i in 1..2_000 {
        let line = format!("{} {}", letters(i * 7_919), letters(i));
        let service = if i % 2 == 0 { "hostile".to_owned() } else { format!("hostile-{i}") };
        tally += &logs.read_json(request(&service, 9, &[&line]).as_bytes(), later).unwrap();
    }
    assert_eq!((logs.templates().len(), logs.len()), (50, 60));
    assert_eq!(tally.items(), 1_999);
    assert!(tally.rejected_as(Rejection::SeriesLimit) > 900, "{tally}");
    // What was known before still counts, and what fell silent makes room.
    let day = later + Duration::from_secs(24 * 3_600);
    let tally = logs.read_json(request("shop", 9, &["order placed"]).as_bytes(), day).unwrap();
    assert_eq!(tally.accepted(), 1);
    logs.emit(day + Duration::from_secs(1), &mut Collected::default());
    assert_eq!((logs.templates().len(), logs.len()), (1, 1));
}
