//! Webhooks and APIs of other systems, as alerts and events. The bodies are written from the schemas
//! of the senders; what was not checked against a running sender says so.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod collect;

use aiops_core::{Alert, EventKind, Severity, Timestamp};
use aiops_observe::decode::{
    AlertmanagerApi, AlertmanagerWebhook, Changes, CloudEvents, Mapped, MappedInto, Mapping,
    PagerDuty, QueryRange,
};
use aiops_observe::{Decoder, Error, Limits, Rejection, Tally};
use collect::Collected;

/// 2026-11-24T04:00:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_795_492_800);

fn read(mut decoder: impl Decoder, body: &str) -> (Collected, Tally) {
    let mut sink = Collected::default();
    let tally = decoder.decode(body.as_bytes(), NOW, &mut sink).unwrap();
    (sink, tally)
}

fn annotation<'a>(alert: &'a Alert, name: &str) -> Option<&'a str> {
    alert.annotations.get(name)
}

const WEBHOOK: &str = r#"{"receiver": "hook", "status": "firing", "version": "4", "truncatedAlerts": 3,
    "groupKey": "{}:{}", "groupLabels": {}, "commonLabels": {}, "externalURL": "http://am.example",
    "notification_reason": "a field of a later version",
    "alerts": [
        {"status": "firing", "labels": {"alertname": "HighLatency", "service": "checkout",
            "severity": "page", "empty": ""}, "annotations": {"summary": "p99 > 500ms\nfor 5 min – 告警"},
            "startsAt": "2026-11-24T03:32:25.183Z", "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prom.example/graph", "fingerprint": "f5efd3892e38a21c"},
        {"status": "resolved", "labels": {"alertname": "HighLatency", "service": "checkout",
            "severity": "page"}, "annotations": {}, "startsAt": "2026-11-24T03:32:25.183+00:00",
            "endsAt": "2026-11-24T03:40:00Z", "generatorURL": "", "fingerprint": "f5efd3892e38a21c"},
        {"status": "firing", "labels": {"service": "nameless"}, "startsAt": "2026-11-24T03:32:25Z"},
        {"status": "firing", "labels": {"alertname": "A"}, "startsAt": "later"},
        {"status": "firing", "labels": ["alertname"]}
    ]}"#;

#[test]
fn alertmanager_webhook() {
    let (sink, tally) = read(AlertmanagerWebhook::default(), WEBHOOK);
    let [firing, resolved] = &sink.alerts[..] else { panic!("{:?}", sink.alerts) };
    assert_eq!((firing.name.as_str(), firing.severity), ("HighLatency", Severity::Critical));
    assert_eq!(firing.labels.to_string(), r#"{service="checkout", severity="page"}"#);
    assert_eq!(firing.starts_at, NOW - std::time::Duration::from_millis(1_654_817));
    assert_eq!((firing.ends_at, firing.received_at), (None, NOW));
    assert_eq!(annotation(firing, "source_fingerprint"), Some("f5efd3892e38a21c"));
    assert_eq!(annotation(firing, "receiver"), Some("hook"));
    assert_eq!(resolved.ends_at, Some(NOW - std::time::Duration::from_secs(1_200)));
    assert_eq!(firing.fingerprint, resolved.fingerprint);
    assert_eq!(firing.id, resolved.id, "the same firing, delivered twice");
    let expected = [
        (Rejection::Malformed, 1),
        (Rejection::MissingField, 1),
        (Rejection::BadTime, 1),
        (Rejection::CutBySender, 3),
    ];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);
}

#[test]
fn grafana_webhook_written_from_its_schema() {
    let body = r#"{"receiver": "aiops", "status": "firing", "version": "1", "orgId": 1, "state": "alerting",
        "title": "[FIRING:1]", "message": "m", "alerts": [{"status": "firing", "labels":
        {"alertname": "DiskFull", "grafana_folder": "infra"}, "annotations": {}, "valueString": "[ ... ]",
        "startsAt": "2026-11-24T03:32:25Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "ab",
        "values": {"A": 0.93, "B": null}, "dashboardURL": "http://g.example/d", "panelURL": ""}]}"#;
    let (sink, _) = read(AlertmanagerWebhook::default(), body);
    assert_eq!(sink.alerts[0].source, "grafana");
    assert_eq!(annotation(&sink.alerts[0], "value.A"), Some("0.93"));
}

#[test]
fn alertmanager_api_posts_and_answers() {
    let body = r#"[
        {"labels": {"alertname": "A"}, "startsAt": "2026-11-24T03:00:00Z", "endsAt": "2026-11-24T04:05:00Z"},
        {"labels": {"alertname": "B"}, "endsAt": "2026-11-24T03:59:00Z"},
        {"labels": {"alertname": "C"}},
        {"labels": {"alertname": "D"}, "startsAt": "2026-11-24T03:00:00Z", "endsAt": "2026-11-24T05:00:00Z",
         "updatedAt": "2026-11-24T03:00:00Z", "fingerprint": "aa", "receivers": [{"name": "hook"}],
         "status": {"state": "suppressed", "inhibitedBy": ["bb", "cc"], "silencedBy": []}}]"#;
    let (sink, tally) = read(AlertmanagerApi::default(), body);
    assert_eq!(tally.accepted(), 4);
    let ends: Vec<_> = sink.alerts.iter().map(Alert::is_resolved).collect();
    assert_eq!(ends, [false, true, false, false], "an end ahead is when the sender gives up on it");
    assert_eq!(sink.alerts[2].starts_at, NOW);
    assert_eq!(annotation(&sink.alerts[3], "inhibited_by"), Some("bb,cc"));
    assert_eq!(annotation(&sink.alerts[3], "silenced_by"), None);

    let mut sink = Collected::default();
    let error = AlertmanagerApi::default().decode(br#"{"not": "an array"}"#, NOW, &mut sink);
    assert!(matches!(error, Err(Error::Malformed { .. })));
}

#[test]
fn pagerduty_is_told_by_its_key() {
    let trigger = r#"{"routing_key": "secret", "event_action": "trigger", "dedup_key": "checkout/p99",
        "payload": {"summary": "checkout p99 latency 2.4 s", "timestamp": "2026-11-24T03:32:25.183+0000",
        "severity": "error", "source": "checkout-7f9.prod", "component": "checkout", "class": "latency",
        "custom_details": {"p99 ms": "2400", "load avg": 0.75, "nested": {}}}, "client": "probe"}"#;
    let resolve =
        r#"{"routing_key": "secret", "event_action": "resolve", "dedup_key": "checkout/p99"}"#;
    let acknowledge = r#"{"event_action": "acknowledge", "dedup_key": "checkout/p99"}"#;
    let unnamed = r#"{"event_action": "resolve"}"#;
    let unknown = r#"{"event_action": "explode", "dedup_key": "x"}"#;
    let body = format!("[{trigger}, {resolve}, {acknowledge}, {unnamed}, {unknown}]");
    let (sink, tally) = read(PagerDuty::default(), &body);
    let [fired, ended] = &sink.alerts[..] else { panic!("{:?}", sink.alerts) };
    assert_eq!((fired.name.as_str(), fired.service.as_deref()), ("latency", Some("checkout")));
    assert_eq!(fired.severity, Severity::Critical);
    assert_eq!(annotation(fired, "detail.load avg"), Some("0.75"));
    assert_eq!(fired.fingerprint, ended.fingerprint);
    assert!(ended.is_resolved() && !fired.is_resolved());
    assert!(!format!("{:?}", sink.alerts).contains("secret"));
    let expected =
        [(Rejection::Malformed, 1), (Rejection::MissingField, 1), (Rejection::Unsupported, 1)];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);
    assert_eq!(read(PagerDuty::default(), trigger).1.accepted(), 1, "one without an array");
}

#[test]
fn cloud_events_structured_batched_and_binary() {
    let event = r#"{"specversion": "1.0", "id": "7", "source": "/ci", "type": "dev.cdevents.service.deployed.0.1.1",
        "subject": "api", "time": "2026-11-24T03:32:25Z", "datacontenttype": "application/json",
        "data": {"service": "api", "version": "1.4.2", "steps": [1]}}"#;
    let (sink, _) = read(CloudEvents::default(), event);
    let deployed = &sink.events[0];
    assert_eq!((deployed.kind, deployed.service.as_deref()), (EventKind::Deploy, Some("api")));
    assert_eq!(deployed.labels.get("version"), Some("1.4.2"));
    assert_eq!((deployed.labels.get("ce_id"), deployed.labels.get("steps")), (Some("7"), None));

    let bad = r#"{"specversion": "1.0", "id": "8", "source": "/ci"}"#;
    let old = r#"{"specversion": "0.3", "id": "8", "source": "/ci", "type": "t"}"#;
    let (batch, tally) = read(CloudEvents::default(), &format!("[{event},{bad},{old}]"));
    assert_eq!(batch.events, sink.events);
    let expected = [(Rejection::MissingField, 1), (Rejection::Unsupported, 1)];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);

    let mut binary = Collected::default();
    let headers = [
        ("Content-Type", "application/json"),
        ("ce-specversion", "1.0"),
        ("CE-ID", "7"),
        ("ce-source", "/c%69"),
        ("ce-type", "dev.cdevents.service.deployed.0.1.1"),
        ("ce-subject", "api"),
        ("ce-time", "2026-11-24T03:32:25Z"),
    ];
    let data = br#"{"service": "api", "version": "1.4.2", "steps": [1]}"#;
    let tally = CloudEvents::default().decode_binary(headers, data, NOW, &mut binary).unwrap();
    assert_eq!((tally.accepted(), &binary.events), (1, &sink.events));

    let mapping = Mapping { name: "/data/service".into(), ..Mapping::default() };
    let (mapped, _) = read(CloudEvents::default().rule("dev.*".into(), mapping), event);
    assert_eq!(mapped.alerts[0].name, "api", "a rule decides what it becomes");
}

#[test]
fn any_json_by_a_map() {
    let mapping = Mapping {
        items: "/problems".into(),
        name: "/rule".into(),
        severity: "/level".into(),
        service: "/tags/app".into(),
        starts_at: "/since".into(),
        ends_at: "/until".into(),
        source: "inhouse".into(),
        labels: [("zone".into(), "/tags/zone".into()), ("via".into(), "hook".into())].into(),
        annotations: [("text".into(), "/text".into())].into(),
        ..Mapping::default()
    };
    let body = r#"{"problems": [
        {"rule": "Disk", "level": 3, "tags": {"app": "db", "zone": "a"}, "since": 1795490000, "text": "full"},
        {"rule": "Disk", "until": "2026-11-24T03:59:00Z"},
        {"rule": ["Disk"]},
        {"rule": "Disk", "since": "x"}
    ]}"#;
    let (sink, tally) = read(Mapped::new(mapping.clone()).unwrap(), body);
    let [disk, ended] = &sink.alerts[..] else { panic!("{:?}", sink.alerts) };
    assert_eq!((disk.service.as_deref(), disk.source.as_str()), (Some("db"), "inhouse"));
    assert_eq!(disk.labels.to_string(), r#"{via="hook", zone="a"}"#);
    assert_eq!(disk.starts_at, Timestamp::from_secs(1_795_490_000));
    assert!(ended.is_resolved());
    let expected = [(Rejection::MissingField, 1), (Rejection::BadTime, 1)];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);

    let mut sink = Collected::default();
    let error = Mapped::new(mapping).unwrap().decode(b"{}", NOW, &mut sink).unwrap_err();
    assert!(error.to_string().ends_with("no array at /problems"), "{error}");
    assert!(Mapped::new(Mapping::default()).is_err());

    let change = Mapping {
        into: MappedInto::Event,
        name: "/what".into(),
        kind: "/action".into(),
        service: "/app".into(),
        ..Mapping::default()
    };
    let body = r#"{"what": "new limits", "action": "config", "app": "api"}"#;
    let (sink, _) = read(Mapped::new(change).unwrap(), body);
    assert_eq!(
        (sink.events[0].kind, sink.events[0].service.as_deref()),
        (EventKind::Config, Some("api"))
    );
}

#[test]
fn changes_one_after_the_other() {
    let body = r#"{"kind": "scaling", "service": "api", "title": "2 to 4", "labels": {"by": "hpa"}}
        {"kind": "maintenance", "starts_at": "2026-11-24T05:00:00Z", "ends_at": 1795503600}
        {"kind": "deploy", "starts_at": true}
        {"kind": "deploy",, }
        {"kind": "deploy"}"#;
    let (sink, tally) = read(Changes::default(), body);
    assert_eq!(sink.events.len(), 2);
    assert_eq!(sink.events[0].labels.get("by"), Some("hpa"));
    assert_eq!(sink.events[1].ends_at, Some(Timestamp::from_secs(1_795_503_600)));
    let expected = [(Rejection::Malformed, 1), (Rejection::BadTime, 1)];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);
}

#[test]
fn query_answers() {
    let body = r#"{"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"__name__": "up", "job": "api"}, "values": [[1795490000, "1"], [1795490000.5, "x"]],
         "histograms": [[1795490000, {"count": "1"}]]},
        {"metric": {}, "value": [1795490000.25, "+Inf"]},
        {"metric": 7}]}}"#;
    let (sink, tally) = read(QueryRange::default().named("q"), body);
    assert_eq!(sink.lines(), [r#"up{job="api"} 1 @ 1795490000"#, "q{} inf @ 1795490000.25"]);
    let expected =
        [(Rejection::Malformed, 1), (Rejection::BadValue, 1), (Rejection::Unsupported, 1)];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);
    let body = br#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#;
    let error = QueryRange::default().decode(body, NOW, &mut Collected::default()).unwrap_err();
    assert!(error.to_string().contains("parse error"), "{error}");
}

#[test]
fn limits_hold_for_json_too() {
    let limits = Limits { items: 1, labels: 2, label_bytes: 10, ..Limits::default() };
    let mut sink = Collected::default();
    let body =
        br#"[{"labels": {"alertname": "A", "b": "1", "c": "2"}}, {"labels": {"alertname": "A"}}]"#;
    let error = AlertmanagerApi::new(limits).decode(body, NOW, &mut sink).unwrap_err();
    assert!(matches!(&error, Error::TooLarge { what: "items", got: 2, .. }), "{error}");
    assert_eq!(error.before().unwrap().rejected_as(Rejection::TooManyLabels), 1);

    let long = r#"{"kind": "deploy", "title": "ééééééééééééé", "service": "api"}"#;
    let (sink, _) = read(Changes::new(limits), long);
    assert_eq!(sink.events[0].title, "ééééé", "cut at a character");
    let deep = "[".repeat(100_000);
    assert!(
        CloudEvents::default().decode(deep.as_bytes(), NOW, &mut Collected::default()).is_err()
    );
}
