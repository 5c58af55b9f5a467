//! From an incident to a remedy that a person approved, that really ran, and that was seen to help.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aiops_core::{Outcome, Store, Timestamp};
use aiops_knowledge::{MemoryConfig, RedbStore, Tried};
use aiops_service::{ActConfig, Config, Role};
use common::{Service, ask, form_value, hidden, token};
use serde_json::Value;

const START: i64 = 1_760_000_000;
const TROUBLE: i64 = 1_200;
const ANSWERS: &str = "0123456789abcdef-ada";
const LOOKS: &str = "0123456789abcdef-kim";
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// A database whose restarts are counted; the first one helps.
fn database() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (to, restarts) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = restarts.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).unwrap();
            if request[..read].starts_with(b"POST /restart") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            let body = "{\"ok\": true}";
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    (to, restarts)
}

fn config(folder: &Path, database: SocketAddr) -> Config {
    let topology = folder.join("topology.csv");
    std::fs::write(&topology, "from,to,kind\ngateway,api,calls\napi,db,calls\n").unwrap();
    let runbooks = folder.join("runbooks");
    std::fs::create_dir_all(&runbooks).unwrap();
    let runbook = format!(
        "schema: aiops.runbook/v1
id: restart-db
version: 1.0.0
title: Restart the database <now>
owner: platform
match: {{services: [db], min_confidence: 0.2}}
targets: {{services: [db]}}
safety: {{risk: 1, max_services: 3, max_percent: 100}}
steps:
  - id: restart
    uses: http
    with: {{method: POST, url: 'http://{database}/restart'}}
    idempotent: true
    undo: {{uses: nothing}}
verify:
  metrics: {{slow: {{metric: gateway_latency_seconds, service: gateway, over: 20s}}}}
  success_when: now.slow < 1.0
  interval: 20s
  settle: 20s
"
    );
    std::fs::write(runbooks.join("restart-db.yaml"), runbook).unwrap();
    Config {
        topology: Some(topology),
        data: folder.to_owned(),
        tokens: vec![token("ada", Role::Approver, ANSWERS), token("kim", Role::Viewer, LOOKS)],
        act: ActConfig {
            runbooks: Some(runbooks),
            dry_run: false,
            allow_urls: vec![format!("http://{database}/")],
            ..ActConfig::default()
        },
        ..Config::default()
    }
}

fn now(service: &Service) -> i64 {
    use aiops_core::Clock;
    service.clock.now().as_secs() - START
}

/// Lets time pass until `second`: samples every five seconds, slow from `TROUBLE` on until the database was
/// restarted.
fn play(service: &Service, until: i64, restarts: &AtomicUsize) {
    while now(service) < until {
        service.clock.advance(Duration::from_secs(5));
        let second = now(service);
        let slow = second >= TROUBLE && restarts.load(Ordering::SeqCst) == 0;
        let lines = [("db", 0), ("api", 10), ("gateway", 20)].map(|(name, delay)| {
            let noise = ((second * 7_919 + delay) % 13) as f64 / 1_300.0;
            let slow = if slow && second >= TROUBLE + delay { 2.0 } else { 0.0 };
            format!(
                "{{\"name\":\"{name}_latency_seconds\",\"labels\":{{\"service\":\"{name}\"}},\
                 \"time\":{},\"value\":{}}}\n",
                START + second,
                0.1 + noise + slow
            )
        });
        let headers = [("content-type", "application/json")];
        let body = lines.concat();
        let request = aiops_observe::IntakeRequest {
            method: "POST",
            path: "/samples.jsonl",
            headers: &headers,
            body: body.as_bytes(),
        };
        let at = Timestamp::from_secs(START + second);
        assert_eq!(service.stages.lock().unwrap().receive(&request, at).status, 204);
        service.tick();
    }
}

fn runs(service: &Service) -> Vec<Value> {
    let bearer = format!("authorization: Bearer {LOOKS}\r\n");
    let (status, _, body) = ask(service.to, "GET /api/runs", &bearer, "");
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    body["runs"].as_array().unwrap().clone()
}

#[test]
fn a_remedy_is_proposed_approved_run_once_verified_and_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (database, restarts) = database();
    let config = config(folder.path(), database);
    let store: Arc<dyn Store> =
        Arc::new(RedbStore::open(folder.path().join("aiops.redb")).unwrap());
    let service = Service::start(&config, store.clone(), Timestamp::from_secs(START));
    play(&service, TROUBLE + 45, &restarts);
    let bearer = format!("authorization: Bearer {ANSWERS}\r\n");
    let json = "content-type: application/json\r\n";
    let alert = r#"[{"labels": {"alertname": "GatewaySlow", "service": "gateway", "severity": "critical"},
                     "annotations": {}, "startsAt": "2025-10-09T09:13:50Z"}]"#;
    assert_eq!(ask(service.to, "POST /api/v2/alerts", &(bearer.clone() + json), alert).0, 200);
    for until in (TROUBLE + 50..TROUBLE + 600).step_by(5) {
        play(&service, until, &restarts);
        if !runs(&service).is_empty() {
            break;
        }
    }
    let found = runs(&service);
    let why = || {
        let shown = service.stages.lock().unwrap().shown();
        shown.into_iter().map(|i| (service.web.acting().misfits(i.id), i.title)).collect::<Vec<_>>()
    };
    assert_eq!(found.len(), 1, "one incident, one plan: {:?}", why());
    let incident = found[0]["plan"]["incident"].as_str().unwrap().to_owned();
    let state = || runs(&service)[0]["state"].clone();
    for _ in 0..500 {
        if state()["is"] == "asking" {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(state()["is"], "asking");
    assert_eq!(restarts.load(Ordering::SeqCst), 0, "nothing runs unasked");

    // Who may only look sees the plan and no buttons; names of runbooks are escaped.
    let path = format!("GET /incidents/{incident}");
    let looks = format!("authorization: Bearer {LOOKS}\r\n");
    let (_, _, page) = ask(service.to, &path, &looks, "");
    assert!(page.contains("Restart the database &lt;now&gt;"), "{page}");
    assert!(page.contains("waits for approval") && !page.contains("value=\"approve\""), "{page}");
    let (_, _, page) = ask(service.to, &path, &bearer, "");
    let (key, to) = (hidden(&page, "key"), hidden(&page, "to"));
    let run = found[0]["plan"]["run"].as_str().unwrap();
    let answer = format!("POST /runs/{run}/answer");
    let form = |key: &str, to: &str, why: &str| {
        let (key, to, why) = (form_value(key), form_value(to), form_value(why));
        format!("says=approve&key={key}&to={to}&comment={why}")
    };
    let say = |who: &str, body: &str| ask(service.to, &answer, &(who.to_owned() + FORM), body).0;
    assert_eq!(say(&looks, &form(&key, &to, "sure")), 403, "a viewer");
    assert_eq!(say(&bearer, &form("0", &to, "sure")), 403, "a page elsewhere");
    assert_eq!(say(&bearer, &form(&key, &to, "  ")), 400, "no reason");
    let other = to.replacen("\"risk\":1", "\"risk\":0", 1);
    assert_ne!(other, to);
    say(&bearer, &form(&key, &other, "another plan"));
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(state()["is"], "asking", "an answer to something else does not count");
    assert_eq!(say(&bearer, &form(&key, &to, "seen it before")), 303);

    // The configuration is read again while the run is under way: kim may answer now, a restart is only needed
    // for what cannot change, and a file that is wrong changes nothing.
    let mut changed = config.clone();
    changed.tokens[1].role = Role::Approver;
    changed.keep_minutes = 90;
    let reloaded = service.runtime.block_on(service.web.reload(&changed)).unwrap();
    assert_eq!(reloaded, ["keep_minutes"]);
    let (_, _, page) = ask(service.to, &path, &looks, "");
    assert!(
        page.contains("Was this the right cause?") && page.contains("name=\"verdict\""),
        "{page}"
    );
    let wrong = Config { topology: Some("nowhere.csv".into()), ..changed };
    assert!(service.runtime.block_on(service.web.reload(&wrong)).is_err());

    for until in (now(&service)..now(&service) + 1_200).step_by(5) {
        play(&service, until, &restarts);
        std::thread::sleep(Duration::from_millis(5));
        if state()["is"] == "ended" {
            break;
        }
    }
    assert_eq!(state()["ending"], "succeeded", "{}", runs(&service)[0]);
    assert_eq!(restarts.load(Ordering::SeqCst), 1);
    let (_, _, page) = ask(service.to, &path, &bearer, "");
    assert!(page.contains("done, and it helped") && page.contains("seen it before"), "{page}");
    let (_, _, audit) = ask(service.to, "GET /audit", &bearer, "");
    assert!(audit.contains("The chain of hashes is whole"), "{audit}");
    assert!(audit.contains("ada"), "{audit}");

    // After a restart the run is where it was, nothing runs again, and the memory knows what helped.
    drop(service);
    let again =
        Service::start(&config, store.clone(), Timestamp::from_secs(START + TROUBLE + 3_000));
    again.tick();
    assert_eq!(runs(&again)[0]["state"]["ending"], "succeeded");
    assert_eq!(restarts.load(Ordering::SeqCst), 1);
    let memory = MemoryConfig::default().open(store).unwrap();
    let tried = &memory.get(incident.parse().unwrap()).unwrap().tried;
    let helped = Tried { runbook: "restart-db".to_owned(), outcome: Outcome::Ok };
    assert_eq!(*tried, [helped]);
}
