//! Receivers that are down, slow, busy, or take everything twice.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::http::PlainClient;
use aiops_act::notify::http::{PagerDuty, SignedWebhook, SlackWebhook, sign};
use aiops_act::secret::Secret;
use aiops_act::testing::{check_notifier, message};
use aiops_act::{
    Delivered, Ending, Engine, FixedApprover, MetricFn, MetricQuery, Notifier, SendError,
};
use serde_json::Value;

use crate::common::{Bench, library_of, one_write, situation};
use crate::server::{Reply, Server};

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn pager(server: &Server) -> PagerDuty {
    let client = Arc::new(PlainClient::default());
    PagerDuty::new("pager", secret("R0UTE"), client).at(&server.url("/v2/enqueue"))
}

/// Pass: a receiver that is down, slow, or busy is tried again when it says so; one that refuses is
/// not; nothing is lost, and what is sent twice has the same key; a rollback is not delayed.
#[tokio::test]
async fn acceptance_22_notifiers() {
    let client = Arc::new(PlainClient::default());
    // Every kind of receiver takes every text.
    let server = Server::answering([]);
    let signed = SignedWebhook::new("hook", &server.url("/hook"), secret("k3y"), client.clone());
    let slack = SlackWebhook::new("chat", secret(&server.url("/services/T0/B0")), client.clone());
    for notifier in [&pager(&server) as &dyn Notifier, &signed, &slack] {
        check_notifier(notifier).await;
    }
    let got = server.got();
    let event: Value = serde_json::from_str(&got[0].body).unwrap();
    assert_eq!(event["event_action"], "trigger");
    assert_eq!(event["payload"]["severity"], "critical");
    assert_eq!(event["dedup_key"], "0000000000000001:0000000000000002");
    let hook = got.iter().find(|g| g.line.contains("/hook")).unwrap();
    let (at, key) = (hook.header("x-aiops-timestamp"), hook.header("x-aiops-key"));
    let expected = format!("v1={}", sign(&secret("k3y"), &[at, key, &hook.body]));
    assert_eq!(hook.header("x-aiops-signature"), expected);
    let chat =
        got.iter().rfind(|g| g.line.contains("/services") && g.body.contains("channel")).unwrap();
    assert!(chat.body.contains("&lt;@channel&gt;"), "nobody is called by a title");

    // What each answer means.
    for (reply, later) in [
        (Reply::Status(500, "oops"), Some(None)),
        (Reply::Status(503, ""), Some(None)),
        (Reply::Busy { seconds: 7 }, Some(Some(Duration::from_secs(7)))),
        (Reply::Hangs, Some(None)),
        (Reply::Status(400, "bad key"), None),
        (Reply::Status(404, ""), None),
        (Reply::Status(302, ""), None),
    ] {
        let server = Server::answering([reply.clone()]);
        match (pager(&server).send(&message("m")).await, later) {
            (Err(SendError::Later { after, .. }), Some(expected)) => assert_eq!(after, expected),
            (Err(SendError::Never { .. }), None) => {}
            (other, _) => panic!("{reply:?}: {other:?}"),
        }
    }
    let nobody = PagerDuty::new("pager", secret("k"), client).at("http://127.0.0.1:9/");
    assert!(matches!(nobody.send(&message("m")).await, Err(SendError::Later { .. })));

    // A rollback while the receiver is down, slow, and then busy.
    let server = Server::answering([
        Reply::Status(500, ""),
        Reply::Slow(Duration::from_secs(2)),
        Reply::Busy { seconds: 30 },
    ]);
    let mut bench =
        Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    bench.config.delivery_timeout = Duration::from_millis(400);
    let engine: Engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.9))))
        .notifier(Arc::new(pager(&server)))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::RolledBack), "no delivery was waited for");
    assert!(server.got().is_empty());
    // Question, start, rollback, end: four messages. The receiver is down for the first, too slow for the
    // second, and not asked a third time in this round.
    let first = engine.deliver().await.unwrap();
    assert_eq!(first, Delivered { sent: 0, later: 4, ..Delivered::default() });
    // Not before their time.
    assert_eq!(
        engine.deliver().await.unwrap(),
        Delivered { sent: 0, later: 4, ..Delivered::default() }
    );
    assert!(server.got().len() <= 2);
    // The busy one not before it said.
    bench.manual.advance(Duration::from_secs(2));
    assert_eq!(
        engine.deliver().await.unwrap(),
        Delivered { sent: 3, later: 1, ..Delivered::default() }
    );
    bench.manual.advance(Duration::from_secs(30));
    assert_eq!(
        engine.deliver().await.unwrap(),
        Delivered { sent: 1, later: 0, ..Delivered::default() }
    );
    assert_eq!(engine.deliver().await.unwrap(), Delivered::default(), "nothing is left");
    // At least once, each with the key by which the receiver drops what it has.
    let keys: std::collections::BTreeSet<String> = server
        .got()
        .iter()
        .map(|g| {
            serde_json::from_str::<Value>(&g.body).unwrap()["payload"]["custom_details"]["key"]
                .to_string()
        })
        .collect();
    assert_eq!(keys.len(), 4);
}
