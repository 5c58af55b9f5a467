//! The normaliser accepts, or rejects with a counted and typed reason; it never drops.
#![allow(clippy::unwrap_used, reason = "a test may")]

use aiops_core::{Alert, Event, EventKind, Labels, Sample, SeriesKey, Timestamp};
use aiops_observe::decode::JsonLines;
use aiops_observe::{
    Declared, Decoder, Error, Form, Inbox, Limits, MappingTable, Normaliser, NormaliserConfig,
    Rejection, Result, Sender, Sink, Tally,
};
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_secs(1_000);

fn feed(normaliser: &mut Normaliser, inbox: &mut Inbox, lines: &str) -> Tally {
    JsonLines::default().decode(lines.as_bytes(), NOW, &mut normaliser.sink(inbox)).unwrap()
}

#[test]
fn every_bad_line_has_its_reason() -> Result<()> {
    let mut normaliser = NormaliserConfig::default().build()?;
    let lines = r#"
        {"name": "a", "value": 1, "time": 10}
        {"name": "a", "value": null, "time": 11}
        {"name": "a", "value": 1, "time": "yesterday"}
        {"name": "a", "value": 1, "time_ms": 1.5}
        {"name": "a"}
        {"value": 1}
        {"name": "", "value": 1}
        {"name": "a", "value": 1, "labels": {"x": "1", "x": "2"}}
        {"name": "a", "value": 1, "labels": {"x": ["1"]}}
        {"name": "a", "value": 1} trailing
        not json
        {"name": "a", "value": 1, "time": 90000}
    "#;
    let mut inbox = Inbox::default();
    let tally = feed(&mut normaliser, &mut inbox, lines);
    assert_eq!(tally.accepted(), 2);
    assert!(inbox.batch().values()[1].is_nan(), "null is a gap");
    let expected = [
        (Rejection::Malformed, 3),
        (Rejection::MissingField, 3),
        (Rejection::DuplicateLabel, 1),
        (Rejection::BadTime, 2),
        (Rejection::TooFarAhead, 1),
    ];
    assert_eq!(tally.reasons().collect::<Vec<_>>(), expected);
    assert_eq!(tally.items(), 12);
    Ok(())
}

#[test]
fn limits_of_a_body_are_errors_that_say_what_went_before() {
    let limits = Limits { items: 2, labels: 1, label_bytes: 10, ..Limits::default() };
    let mut decoder = JsonLines::new(limits);
    let mut normaliser = NormaliserConfig::default().build().unwrap();
    let mut inbox = Inbox::default();
    let body = br#"{"name": "a", "value": 1, "labels": {"x": "1", "y": "2"}}
        {"name": "longer than 10 bytes", "value": 1}
        {"name": "a", "value": 1}"#;
    let error = decoder.decode(body, NOW, &mut normaliser.sink(&mut inbox)).unwrap_err();
    let before = error.before().unwrap();
    assert!(matches!(error, Error::TooLarge { what: "items", limit: 2, got: 3, .. }));
    assert_eq!(before.rejected_as(Rejection::TooManyLabels), 1);
    assert_eq!(before.rejected_as(Rejection::LabelTooLong), 1);

    let mut decoder = JsonLines::new(Limits { body_bytes: 4, ..Limits::default() });
    let error = decoder.decode(b"12345", NOW, &mut normaliser.sink(&mut inbox)).unwrap_err();
    assert_eq!(error.to_string(), "json_lines: body bytes of 5 exceeds the limit of 4");
}

#[test]
fn tenants_are_limited_one_by_one() -> Result<()> {
    let config = NormaliserConfig {
        tenant_label: Some("org".into()),
        max_series: 3,
        max_series_per_tenant: 2,
        ..NormaliserConfig::default()
    };
    let mut normaliser = config.build()?;
    let mut inbox = Inbox::default();
    let line = |org: &str, n: u32| {
        format!(r#"{{"name": "m", "value": {n}, "labels": {{"org": "{org}", "n": "{n}"}}}}"#)
    };
    let series = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("a", 0)];
    let lines: Vec<_> = series.iter().map(|&(org, n)| line(org, n)).collect();
    let tally = feed(&mut normaliser, &mut inbox, &lines.join("\n"));
    assert_eq!(tally.accepted(), 4, "known series stay welcome");
    assert_eq!(tally.rejected_as(Rejection::TenantLimit), 1);
    assert_eq!(tally.rejected_as(Rejection::SeriesLimit), 1);
    assert_eq!((normaliser.len_of("a"), normaliser.len_of("b")), (2, 1));
    let key = normaliser.key(inbox.batch().ids()[0]).unwrap();
    assert_eq!((key.tenant.as_str(), key.labels.get("org")), ("a", None));
    Ok(())
}

#[test]
fn an_evicted_series_makes_room_and_comes_back_under_another_id() -> Result<()> {
    let config = NormaliserConfig { max_series_per_tenant: 2, ..NormaliserConfig::default() };
    let mut normaliser = config.build()?;
    let mut inbox = Inbox::default();
    let at = |name: &str, secs: i64| format!(r#"{{"name": "{name}", "value": 1, "time": {secs}}}"#);
    feed(&mut normaliser, &mut inbox, &[at("old", 10), at("new", 900)].join("\n"));
    let old = inbox.batch().ids()[0];
    let retired = normaliser.evict_idle(NOW, Duration::from_secs(300));
    assert_eq!(retired, [old]);
    assert_eq!((normaliser.len(), normaliser.info(old)), (1, None));

    inbox.clear();
    let lines = [at("new", 901), at("old", 902)].join("\n");
    assert_eq!(feed(&mut normaliser, &mut inbox, &lines).accepted(), 2);
    assert_ne!(inbox.batch().ids()[1], old, "banks may still hold the state of its first life");
    normaliser.reuse(&retired);
    let counts = normaliser.counts();
    assert_eq!((counts.series_added, counts.series_evicted), (3, 1));
    Ok(())
}

#[test]
fn mapping_tables_give_a_service_and_look_one_up() -> Result<()> {
    let hosts =
        MappingTable::from_csv("instance,service\n10.0.0.7:9100,orders-db\n", &["instance"])?;
    let teams = MappingTable::from_csv("service,team\norders-db,storage\n", &["service"])?;
    let config = NormaliserConfig { tables: vec![teams, hosts], ..NormaliserConfig::default() };
    let mut normaliser = config.build()?;
    let key = SeriesKey::new("up", [("instance", "10.0.0.7:9100"), ("job", "node")]);
    let id = normaliser.resolve_key(&key, Declared::default()).unwrap();
    let labels = &normaliser.key(id).unwrap().labels;
    assert_eq!((labels.get("service"), labels.get("team")), (Some("orders-db"), Some("storage")));

    let labels = Labels::from([("instance", "10.0.0.7:9100")]);
    let mut alert = Alert::new("HostDown", labels, NOW);
    let fingerprint = alert.fingerprint;
    let mut inbox = Inbox::default();
    let mut sink = normaliser.sink(&mut inbox);
    sink.alert(alert.clone()).unwrap();
    let mut event = Event::new(EventKind::Restart, None, "restart", NOW);
    event.labels.insert("instance", "10.0.0.7:9100");
    sink.event(event).unwrap();
    drop(sink);
    assert_eq!(inbox.alerts[0].service.as_deref(), Some("orders-db"));
    assert_eq!(inbox.alerts[0].fingerprint, fingerprint, "what a table adds is not identity");
    assert_eq!(inbox.events[0].service.as_deref(), Some("orders-db"));
    normaliser.complete_alert("acme", &mut alert);
    assert_ne!(alert.fingerprint, fingerprint, "the tenant is");
    Ok(())
}

#[test]
fn a_declaration_that_comes_late_changes_what_a_series_means() -> Result<()> {
    let mut normaliser = NormaliserConfig::default().build()?;
    let key = SeriesKey::new("pg_wal_sync_seconds", Labels::new());
    let at = |normaliser: &mut Normaliser, secs, value| {
        let sample = Sample::new(Timestamp::from_secs(secs), value);
        normaliser.sample(&key, Declared::default(), sample)
    };
    assert_eq!(at(&mut normaliser, 1, 10.0).unwrap().unwrap().1.value, 10.0, "taken for a gauge");
    let mut inbox = Inbox::default();
    let mut sink = normaliser.sink(&mut inbox);
    sink.declare("pg_wal_sync_seconds", Declared { form: Form::Counter, unit: "" });
    drop(sink);
    assert_eq!(at(&mut normaliser, 2, 10.5), Ok(None), "a counter starts anew");
    assert_eq!(at(&mut normaliser, 4, 11.5).unwrap().unwrap().1.value, 0.5);
    assert_eq!(at(&mut normaliser, 4, 11.5), Err(Rejection::Late));
    Ok(())
}

#[test]
fn senders_have_tenants_and_do_not_share_names() -> Result<()> {
    let mut normaliser = NormaliserConfig::default().build()?;
    let (mut a, mut b) = (Sender::new("a"), Sender::new("b"));
    let mut inbox = Inbox::default();
    for _ in 0..3 {
        for sender in [&mut a, &mut b] {
            let body = br#"{"name": "m", "value": 1, "time": 5}"#;
            let mut sink = normaliser.sink_from(sender, &mut inbox);
            JsonLines::default().decode(body, NOW, &mut sink)?;
        }
    }
    let ids = inbox.batch().ids();
    assert_eq!((normaliser.len(), ids[0], ids[1]), (2, ids[2], ids[3]));
    assert_eq!(normaliser.key(ids[1]).unwrap().tenant, "b");
    Ok(())
}

#[test]
fn full_memory_of_wire_names_is_forgotten_and_nothing_else() -> Result<()> {
    let config = NormaliserConfig { max_known_bytes: 500, ..NormaliserConfig::default() };
    let mut normaliser = config.build()?;
    let mut inbox = Inbox::default();
    let lines: Vec<_> = (0..50).map(|n| format!(r#"{{"name": "m{n}", "value": 1}}"#)).collect();
    for _ in 0..3 {
        feed(&mut normaliser, &mut inbox, &lines.join("\n"));
    }
    assert_eq!(normaliser.len(), 50);
    assert!(normaliser.counts().known_forgotten > 3);
    assert_eq!(inbox.batch().ids()[..50], inbox.batch().ids()[100..], "ids stay");
    Ok(())
}

#[test]
fn a_configuration_is_checked() {
    let refused = |config: NormaliserConfig| config.build().unwrap_err().to_string();
    let base = NormaliserConfig::default;
    assert!(refused(NormaliserConfig { max_series: 0, ..base() }).contains("max_series"));
    assert!(refused(NormaliserConfig { max_gap: Duration::ZERO, ..base() }).contains("max_gap"));
    let tables = vec![MappingTable::default()];
    assert!(refused(NormaliserConfig { tables, ..base() }).contains("tables"));
    let stored = serde_json::to_string(&base()).unwrap();
    assert_eq!(serde_json::from_str::<NormaliserConfig>(&stored).unwrap(), base());
}
