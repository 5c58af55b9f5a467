//! A real Alertmanager calls the webhook: run with `--ignored` where one is installed (Debian's
//! package `prometheus-alertmanager`).
#![allow(clippy::unwrap_used, reason = "a test may")]

mod real;

use real::{Folder, Running, free_port, serve};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// What `POST path` answers, once somebody listens.
fn post(port: u16, path: &str, body: &str) -> String {
    for _ in 0..100 {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("nobody listens on {port}");
}

#[test]
#[ignore = "starts /usr/bin/prometheus-alertmanager"]
fn its_notifications_arrive_firing_and_resolved() {
    let (intake_port, requests) =
        serve(|answer, inbox, _| (answer.status, answer.tally.clone(), inbox.alerts.clone()));
    let folder = Folder::new("alertmanager");
    let config = format!(
        "route: {{receiver: us, group_by: [alertname], group_wait: 1s, group_interval: 1s}}
receivers: [{{name: us, webhook_configs: [{{url: 'http://127.0.0.1:{intake_port}/webhook/alertmanager', send_resolved: true}}]}}]
"
    );
    std::fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
    let port = free_port();
    let _alertmanager = Running::start(
        Command::new("/usr/bin/prometheus-alertmanager")
            .arg(format!("--config.file={}", folder.path().join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address="),
    );

    let alert = |end: &str| {
        format!(
            r#"[{{"labels": {{"alertname": "HighLatency", "service": "checkout", "severity": "critical"}},
                  "annotations": {{"summary": "p99 \"above\" 2 s – häufig"}},
                  "startsAt": "2024-01-01T00:00:00Z"{end}}}]"#
        )
    };
    let mut seen = Vec::new();
    for (end, resolved) in [("", false), (r#", "endsAt": "2024-01-01T01:00:00Z""#, true)] {
        let answer = post(port, "/api/v2/alerts", &alert(end));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let found = loop {
            let (status, tally, alerts) = requests.recv_timeout(Duration::from_secs(60)).unwrap();
            let tally = tally.unwrap();
            assert_eq!((status, tally.rejected()), (200, 0), "{tally}");
            if let Some(found) = alerts.into_iter().find(|alert| alert.is_resolved() == resolved) {
                break found;
            }
        };
        assert_eq!(found.name, "HighLatency");
        assert_eq!(found.service.as_deref(), Some("checkout"));
        assert_eq!(found.annotations.get("summary"), Some("p99 \"above\" 2 s – häufig"));
        seen.push((found.fingerprint, found.starts_at));
    }
    assert_eq!(seen[0], seen[1], "firing and resolved are one alert");
}
