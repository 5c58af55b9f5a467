//! From bytes to an answered incident, and on after a restart.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::path::Path;
use std::sync::Arc;

use aiops_core::{Incident, Store, Timestamp};
use aiops_knowledge::RedbStore;
use aiops_observe::IntakeRequest;
use aiops_service::{Config, Stages, Verdict};

const START: i64 = 1_760_000_000;
const TROUBLE: i64 = 1_200;

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(START + second)
}

fn config(folder: &Path) -> Config {
    let topology = folder.join("topology.csv");
    std::fs::write(&topology, "from,to,kind\ngateway,api,calls\napi,db,calls\n").unwrap();
    Config { topology: Some(topology), data: folder.to_owned(), ..Config::default() }
}

fn send(stages: &mut Stages, path: &str, body: &str, second: i64) -> u16 {
    let headers = [("content-type", "application/json")];
    let request = IntakeRequest { method: "POST", path, headers: &headers, body: body.as_bytes() };
    stages.receive(&request, at(second)).status
}

/// Three services every five seconds; from `TROUBLE` on the database is slow, then the others.
fn samples(second: i64) -> String {
    let services = [("db", 0), ("api", 10), ("gateway", 20)];
    let lines = services.map(|(service, delay)| {
        let noise = ((second * 7_919 + delay) % 13) as f64 / 1_300.0;
        let slow = second >= TROUBLE + delay;
        let value = 0.1 + noise + if slow { 2.0 } else { 0.0 };
        format!(
            "{{\"name\":\"{service}_latency_seconds\",\"labels\":{{\"service\":\"{service}\"}},\
             \"time\":{},\"value\":{value}}}\n",
            START + second
        )
    });
    lines.concat()
}

fn alert(name: &str, service: &str, second: i64) -> String {
    let since = START + second;
    let time = rfc3339(since);
    format!(
        "[{{\"labels\":{{\"alertname\":\"{name}\",\"service\":\"{service}\",\
         \"severity\":\"critical\"}},\"annotations\":{{}},\"startsAt\":\"{time}\"}}]"
    )
}

/// 2025-10-09T08:53:20Z is `START`; the seconds of a test stay within the hour.
fn rfc3339(since: i64) -> String {
    let seconds = since - START + 53 * 60 + 20;
    format!("2025-10-09T{:02}:{:02}:{:02}Z", 8 + seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

fn play(stages: &mut Stages, seconds: std::ops::Range<i64>) {
    for second in seconds.step_by(5) {
        let status = send(stages, "/samples.jsonl", &samples(second), second);
        assert_eq!(status, 204);
        stages.tick(at(second)).unwrap();
    }
}

fn only(incidents: Vec<Incident>) -> Incident {
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    incidents.into_iter().next().unwrap()
}

#[test]
fn an_incident_is_shown_explained_answered_and_remembered_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = |now| {
        let store: Arc<dyn Store> =
            Arc::new(RedbStore::open(folder.path().join("aiops.redb")).unwrap());
        Stages::open(config(folder.path()), store, now).unwrap()
    };
    let mut stages = open(at(0));
    play(&mut stages, 0..TROUBLE);
    assert!(stages.shown().is_empty(), "{:?}", stages.shown());
    assert_eq!(stages.series(), 3);

    for (name, service, after) in
        [("DbSlow", "db", 15), ("ApiSlow", "api", 25), ("GatewaySlow", "gateway", 35)]
    {
        play(&mut stages, TROUBLE + after - 15..TROUBLE + after);
        let second = TROUBLE + after;
        let body = alert(name, service, second);
        assert_eq!(send(&mut stages, "/api/v2/alerts", &body, second), 200);
    }
    play(&mut stages, TROUBLE + 35..TROUBLE + 120);
    let incident = only(stages.shown());
    let top = stages.ranked(incident.id).unwrap().ranking.top().unwrap().clone();
    assert_eq!(top.cause.service(), Some("db"), "{top:?}");
    assert!(stages.charts(&incident, at(TROUBLE + 120), 8).unwrap().n_series() > 0);
    assert!(!stages.decisions(incident.id).is_empty());

    stages.answer(incident.id, Verdict::RightCause, "ada", at(TROUBLE + 121)).unwrap();
    assert_eq!(stages.answers(incident.id).unwrap()[0].by, "ada");
    assert!(stages.answer(Default::default(), Verdict::Noise, "ada", at(0)).is_err());
    let told = |stages: &Stages| {
        let decisions = stages.decisions(incident.id).into_iter();
        decisions.map(|(decision, _)| decision).collect::<Vec<_>>()
    };
    let before = told(&stages);
    drop(stages);

    let mut again = open(at(TROUBLE + 125));
    let restored = only(again.shown());
    assert_eq!((restored.id, restored.shown_at), (incident.id, incident.shown_at));
    assert_eq!(told(&again), before, "every decision is as it was");
    assert_eq!(again.answers(incident.id).unwrap().len(), 1);
    again.answer(incident.id, Verdict::TakeBack, "ada", at(TROUBLE + 126)).unwrap();
    assert_eq!(again.answers(incident.id).unwrap().len(), 0);
}
