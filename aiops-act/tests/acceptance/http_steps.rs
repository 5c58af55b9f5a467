//! Requests as steps, against a local server.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::http::HttpExecutor;
use aiops_act::http::PlainClient;
use aiops_act::secret::StaticSecrets;
use aiops_act::testing::permit;
use aiops_act::{Call, Digest, Probe, Risk, StepError, StepExecutor};
use serde_json::{Value, json};

use crate::server::{Reply, Server};

fn executor(server: &Server) -> HttpExecutor {
    HttpExecutor::new(Arc::new(PlainClient::default()))
        .allowing(&server.url("/admin"))
        .unwrap()
        .secrets(Arc::new(StaticSecrets::new().with("token", "t0ken")))
}

fn call(with: Value) -> Call {
    Call {
        step: "s".to_owned(),
        uses: "http".to_owned(),
        with: with.as_object().unwrap().clone(),
        targets: vec![],
        timeout: Duration::from_millis(500),
    }
}

#[tokio::test]
async fn a_request_carries_key_token_and_secret_and_its_answer_is_the_value() {
    let server = Server::answering([
        Reply::Status(200, "{\"limit\": 8}"),
        Reply::Status(200, "{\"limit\": 24}"),
    ]);
    let executor = executor(&server);
    let call = call(json!({
        "method": "POST", "url": server.url("/admin/pool"), "body": {"limit": 24},
        "headers": {"authorization": "secret://token"}, "look": {"url": server.url("/admin/pool")},
    }));
    let preview = executor.plan(&call).await.unwrap();
    assert_eq!(preview.before, json!({"limit": 8}), "what is there now");
    let output = executor.run(&call, &permit(Digest::ZERO, 42)).await.unwrap();
    assert_eq!(output.value, json!({"limit": 24}));
    let got = server.got();
    assert!(got[0].line.starts_with("GET "), "a look changes nothing");
    assert_eq!(got[1].line, "POST /admin/pool HTTP/1.1");
    assert_eq!(got[1].header("authorization"), "t0ken");
    assert_eq!(got[1].header("idempotency-key"), Digest::ZERO.to_string());
    assert_eq!(got[1].header("x-fencing-token"), "42");
    assert_eq!(got[1].body, "{\"limit\":24}");
    assert_eq!(executor.risk_floor(&call), Risk::Reversible);
}

#[tokio::test]
async fn answers_are_told_apart_by_what_may_be_done_next() {
    let post = |server: &Server| call(json!({"method": "POST", "url": server.url("/admin/x")}));
    for (reply, expected) in [
        (Reply::Status(404, "no such pool"), "failed: answered 404: no such pool"),
        (Reply::Status(302, ""), "failed: answered 302:"),
        (Reply::Busy { seconds: 3 }, "not started: answered 429: busy"),
        (Reply::Status(500, "oops"), "unknown: answered 500: oops"),
        (Reply::Hangs, "unknown: "),
        (Reply::Slow(Duration::from_secs(2)), "unknown: "),
    ] {
        let server = Server::answering([reply.clone()]);
        let error =
            executor(&server).run(&post(&server), &permit(Digest::ZERO, 1)).await.unwrap_err();
        assert!(error.to_string().starts_with(expected), "{reply:?}: {error}");
        // The same for a read: whatever went wrong, nothing was changed.
        let server = Server::answering([reply]);
        let get = call(json!({"url": server.url("/admin/x")}));
        let error = executor(&server).run(&get, &permit(Digest::ZERO, 1)).await.unwrap_err();
        assert!(matches!(error, StepError::NotStarted { .. }), "{error}");
    }
    let nobody =
        HttpExecutor::new(Arc::new(PlainClient::default())).allowing("http://127.0.0.1:9").unwrap();
    let refused = nobody
        .run(
            &call(json!({"method": "POST", "url": "http://127.0.0.1:9/x"})),
            &permit(Digest::ZERO, 1),
        )
        .await
        .unwrap_err();
    assert!(matches!(refused, StepError::NotStarted { .. }), "nobody listens: {refused}");
}

#[tokio::test]
async fn a_probe_asks_what_the_step_says_and_nothing_beyond_the_list_is_sent() {
    let server = Server::answering([
        Reply::Status(200, "{\"limit\": 24}"),
        Reply::Status(200, "{\"limit\": 8}"),
        Reply::Status(200, "no json"),
    ]);
    let executor = executor(&server);
    let step = call(json!({
        "method": "POST", "url": server.url("/admin/pool"),
        "probe": {"url": server.url("/admin/pool"), "done_when": "body.limit == 24"},
    }));
    assert!(matches!(executor.probe(&step, Digest::ZERO).await, Probe::Done { .. }));
    assert_eq!(executor.probe(&step, Digest::ZERO).await, Probe::NotDone);
    assert!(matches!(executor.probe(&step, Digest::ZERO).await, Probe::CannotTell { .. }));

    let before = server.got().len();
    for with in [
        json!({"method": "POST", "url": server.url("/other")}),
        json!({"method": "POST", "url": server.url("/admin/../other")}),
        json!({"method": "POST", "url": server.url("/admin"), "look": {"url": server.url("/other")}}),
        json!({"method": "post", "url": server.url("/admin")}),
        json!({"method": "POST", "url": server.url("/admin"), "headers": {"a": "secret://nope"}}),
        json!({"methd": "POST", "url": server.url("/admin")}),
    ] {
        let error = executor.run(&call(with.clone()), &permit(Digest::ZERO, 1)).await.unwrap_err();
        assert!(matches!(error, StepError::NotStarted { .. }), "{with}: {error}");
    }
    assert_eq!(server.got().len(), before, "nothing was sent");
}
