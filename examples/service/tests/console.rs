//! The network side: who may see and answer what, and what the pages hold.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use aiops_core::{ManualClock, MemoryStore, Timestamp};
use aiops_service::{Config, Role, Token};
use common::{Service, ask, token};

const ANSWERS: &str = "0123456789abcdef-ada";
const LOOKS: &str = "0123456789abcdef-kim";
const SENDS: &str = "0123456789abcdef-agent";

/// A service with a clock that stands at `now`; it ends with the test.
fn start(tokens: Vec<Token>, now: i64) -> (SocketAddr, Arc<ManualClock>, tokio::runtime::Runtime) {
    let config = Config { tokens, ..Config::default() };
    let store = Arc::new(MemoryStore::default());
    let service = Service::start(&config, store, Timestamp::from_secs(now));
    (service.to, service.clock, service.runtime)
}

#[test]
fn an_alert_that_is_sent_is_seen_and_answered_by_those_who_may() {
    let tokens = vec![
        token("ada", Role::Approver, ANSWERS),
        token("kim", Role::Viewer, LOOKS),
        token("agent", Role::Sender, SENDS),
    ];
    let (to, clock, _runtime) = start(tokens, 1_760_000_100);
    let bearer = |token: &str| format!("authorization: Bearer {token}\r\n");
    let json = "content-type: application/json\r\n";

    let alert = r#"[{"labels": {"alertname": "Fire<b>", "service": "api", "severity": "critical"},
                     "annotations": {}, "startsAt": "2025-10-09T08:54:00Z"}]"#;
    assert_eq!(
        ask(to, "POST /api/v2/alerts", json, alert).0,
        401,
        "nobody may send without a token"
    );
    let sender = bearer(SENDS) + json;
    assert_eq!(ask(to, "POST /api/v2/alerts", &sender, alert).0, 200);
    assert_eq!(ask(to, "GET /api/incidents", &bearer(SENDS), "").0, 403, "a sender sees nothing");
    assert_eq!(ask(to, "GET /api/incidents", "", "").0, 401);
    let (status, head, _) = ask(to, "GET /", "", "");
    assert_eq!(status, 303);
    assert!(head.contains("location: /sign-in"), "{head}");

    // It is held for as long as such alerts may resolve by themselves, and then shown.
    clock.advance(std::time::Duration::from_secs(1_800));
    let shown = || {
        let (status, _, list) = ask(to, "GET /api/incidents", &bearer(LOOKS), "");
        assert_eq!(status, 200);
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        list["incidents"][0]["id"].as_str().map(str::to_owned)
    };
    let id = std::iter::repeat_with(|| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        shown()
    });
    let id = id.take(600).flatten().next().expect("a tick shows it");

    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let wrong = ask(to, "POST /sign-in", form, "token=nobody-has-this-one");
    assert_eq!(wrong.0, 401);
    let (status, head, _) = ask(to, "POST /sign-in", form, &format!("token={ANSWERS}"));
    assert_eq!(status, 303);
    assert!(head.contains("httponly; samesite=strict"), "{head}");
    let cookie = format!("cookie: aiops_token={ANSWERS}\r\n");

    let (status, _, described) = ask(to, "GET /api/openapi.json", &cookie, "");
    assert_eq!(status, 200);
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    for path in described["paths"].as_object().unwrap().keys() {
        let path = path.replace("{id}", &id);
        assert_eq!(ask(to, &format!("GET {path}"), &bearer(LOOKS), "").0, 200, "{path}");
    }
    let (status, head, page) = ask(to, "GET /", &cookie, "");
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(page.contains(&id) && !page.contains("Fire<b>"), "names are escaped: {page}");

    let (status, _, page) = ask(to, &format!("GET /incidents/{id}"), &cookie, "");
    assert_eq!(status, 200);
    for part in ["What happened", "Every alert, and what became of it", "Fire&lt;b&gt;"] {
        assert!(page.contains(part), "{part} is missing: {page}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere");

    let path = format!("POST /incidents/{id}/answer");
    let forged = ask(to, &path, &(cookie.clone() + form), "verdict=noise&key=0");
    assert_eq!(forged.0, 403, "a page elsewhere does not know the key");
    let looks = ask(to, &path, &(bearer(LOOKS) + form), "verdict=noise&key=0");
    assert_eq!(looks.0, 403);
    // The key stands in the page once there is a ranking to answer; it is the same for every form.
    let (status, _, metrics) = ask(to, "GET /metrics", &bearer(LOOKS), "");
    assert_eq!(status, 200);
    assert!(metrics.contains("aiops_correlate_alerts_total"), "{metrics}");
    assert_eq!(ask(to, "GET /incidents/0000000000000000", &cookie, "").0, 404);
    assert_eq!(ask(to, "GET /incidents/../../etc/passwd", &cookie, "").0, 405);
}

#[test]
fn without_tokens_everybody_on_loopback_may_look() {
    let (to, _clock, _runtime) = start(vec![], 1_760_000_100);
    let (status, _, page) = ask(to, "GET /", "", "");
    assert_eq!(status, 200);
    assert!(page.contains("Nothing is wrong"), "{page}");
    assert_eq!(ask(to, "GET /healthz", "", "").2, "ok");
    // Twice a host header is no host; the name of a page elsewhere is none of ours.
    let mut stream = std::net::TcpStream::connect(to).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}
