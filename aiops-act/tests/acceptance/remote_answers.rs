//! Answers that come in over HTTP: links that work once, and buttons in a chat.

use std::sync::Arc;
use std::time::Duration;

use aiops_act::approver::desk::{Desk, Inbound, Reply};
use aiops_act::approver::remote::{ChatApprover, LinkApprover, WebhookPost};
use aiops_act::http::PlainClient;
use aiops_act::notify::http::sign;
use aiops_act::secret::Secret;
use aiops_act::{Approver, Ending, Engine, MetricFn, MetricQuery, Run, Says, State};
use serde_json::Value;

use crate::common::{Bench, library_of, one_write, situation};
use crate::server::Server;

const SIGNING: &str = "the chat's signing secret";

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn desk() -> Desk {
    let people = [("U1".to_owned(), "ada".to_owned())].into();
    Desk::new(secret(&"k".repeat(32)), "http://desk.example/")
        .unwrap()
        .with_slack(secret(SIGNING), people)
}

fn engine(bench: &Bench, approver: impl Approver + 'static) -> Engine {
    bench
        .builder()
        .approver(Arc::new(approver))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap()
}

fn bench() -> Bench {
    Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]))
}

async fn received(server: &Server, count: usize) -> Vec<Value> {
    for _ in 0..2_000 {
        let got = server.got();
        if got.len() >= count {
            return got.iter().map(|g| serde_json::from_str(&g.body).unwrap()).collect();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{count} requests were expected");
}

async fn visit(desk: &Desk, engine: &Engine, method: &str, path: &str) -> Reply {
    desk.serve(engine, &Inbound { method, path, headers: &[], body: b"" }).await
}

fn path_of(letter: &Value, field: &str) -> String {
    letter[field].as_str().unwrap().strip_prefix("http://desk.example").unwrap().to_owned()
}

/// A link is for one person, is not used by looking, works once, and not after the question is over.
#[tokio::test]
async fn a_link_approves_once_and_only_when_its_button_is_pressed() {
    let server = Server::answering([]);
    let bench = bench();
    let post = WebhookPost::new(secret(&server.url("/post")), Arc::new(PlainClient::default()));
    let approver = LinkApprover::new(desk(), bench.config.approval.clone(), Arc::new(post));
    let engine = engine(&bench, approver);
    let (run, driver) = bench.ask(&engine).await;
    let letters = received(&server, 2).await;
    let mut to: Vec<&str> = letters.iter().map(|l| l["to"].as_str().unwrap()).collect();
    to.sort_unstable();
    assert_eq!(to, ["ada", "grace"], "one letter for each who may answer");
    let letter = letters.iter().find(|l| l["to"] == "ada").unwrap();
    assert!(letter["plan"][0].as_str().unwrap().contains("act: hands"), "{letter}");

    let desk = desk();
    let approve = path_of(letter, "approve");
    let looked = visit(&desk, &engine, "GET", &approve).await;
    assert_eq!((looked.status, looked.content_type), (200, "text/html; charset=utf-8"));
    assert!(looked.body.contains("ada") && looked.body.contains("<button>approve"));
    assert_eq!(engine.run(run.plan.run).await.unwrap().state, State::Asking, "a look is no answer");

    let forged = format!("{}0", &approve[..approve.len() - 1]);
    let forged =
        if forged == approve { format!("{}1", &approve[..approve.len() - 1]) } else { forged };
    for (method, path, status) in [
        ("POST", forged.as_str(), 403),
        ("POST", "/answer/zz", 400),
        ("PUT", &approve, 405),
        ("GET", "/slack", 405),
        ("GET", "/", 404),
    ] {
        assert_eq!(visit(&desk, &engine, method, path).await.status, status, "{method} {path}");
    }
    let other = Desk::new(secret(&"x".repeat(32)), "").unwrap();
    assert_eq!(visit(&other, &engine, "POST", &approve).await.status, 403, "another secret");

    assert_eq!(visit(&desk, &engine, "POST", &approve).await.status, 200);
    let done = driver.await.unwrap().unwrap();
    assert_eq!(done.ending(), Some(Ending::Succeeded));
    assert_eq!((done.answers[0].by.as_str(), done.answers[0].via.as_str()), ("ada", "link"));
    // Burnt, in both directions.
    assert_eq!(visit(&desk, &engine, "POST", &approve).await.status, 409);
    assert_eq!(visit(&desk, &engine, "POST", &path_of(letter, "reject")).await.status, 409);
    let grace = letters.iter().find(|l| l["to"] == "grace").unwrap();
    assert_eq!(visit(&desk, &engine, "POST", &path_of(grace, "approve")).await.status, 410);
    bench.manual.advance(Duration::from_secs(86_400));
    assert_eq!(visit(&desk, &engine, "POST", &path_of(grace, "approve")).await.status, 410);
    assert_eq!(bench.effects().len(), 1);
}

/// Both links of one person, pressed many times in the same instant at desks that know nothing of each
/// other, are one answer; nobody is told that another one was recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_are_pressed_everywhere_at_once_are_one_answer() {
    let server = Server::answering([]);
    let library = library_of([one_write("one", "approvals: {count: 2}")]);
    let bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    let post = WebhookPost::new(secret(&server.url("/post")), Arc::new(PlainClient::default()));
    let approver = LinkApprover::new(desk(), bench.config.approval.clone(), Arc::new(post));
    let engine = engine(&bench, approver);
    let (run, driver) = bench.ask(&engine).await;
    let letters = received(&server, 2).await;
    let letter = letters.iter().find(|l| l["to"] == "ada").unwrap();
    let links = [(Says::Approve, "approve"), (Says::Reject, "reject")]
        .map(|(says, field)| (says, path_of(letter, field)));
    let mut presses = tokio::task::JoinSet::new();
    for press in 0..16 {
        let (engine, (says, path)) = (engine.clone(), links[press % 2].clone());
        presses.spawn(async move { (says, visit(&desk(), &engine, "POST", &path).await.status) });
    }
    let told = presses.join_all().await;
    let run = engine.run(run.plan.run).await.unwrap();
    assert_eq!(run.answers.len(), 1, "{:?}", run.answers);
    let says = run.answers[0].says;
    assert!(told.contains(&(says, 200)));
    for (pressed, status) in told {
        let expected = if pressed == says { [200, 409, 410] } else { [409, 409, 410] };
        assert!(expected.contains(&status), "{pressed:?} of {says:?}: {status}");
    }
    assert!(bench.effects().is_empty(), "two people are wanted");
    if run.state == State::Asking {
        engine.cancel(run.plan.run, "grace").await.unwrap();
    }
    driver.await.unwrap().unwrap();
}

fn pressed(user: &str, value: &str, signing: &str, at: i64) -> (Vec<(String, String)>, String) {
    let payload =
        format!("{{\"user\":{{\"id\":\"{user}\"}},\"actions\":[{{\"value\":\"{value}\"}}]}}");
    let escaped: String = payload.bytes().map(|b| format!("%{b:02X}")).collect();
    let body = format!("payload={escaped}");
    let signature = sign(&secret(signing), &[&format!("v0:{at}:{body}")]);
    let headers = vec![
        ("x-slack-request-timestamp".to_owned(), at.to_string()),
        ("X-SLACK-SIGNATURE".to_owned(), format!("v0={signature}")),
    ];
    (headers, body)
}

async fn press(
    desk: &Desk,
    engine: &Engine,
    user: &str,
    value: &str,
    signing: &str,
    at: i64,
) -> (Reply, Run) {
    let (headers, body) = pressed(user, value, signing, at);
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let request =
        Inbound { method: "POST", path: "/slack", headers: &headers, body: body.as_bytes() };
    let reply = desk.serve(engine, &request).await;
    let id = engine.runs(None, 1).await.unwrap()[0];
    (reply, engine.run(id).await.unwrap())
}

/// A button counts for whoever the signed callback says pressed it, if the policy knows them.
#[tokio::test]
async fn a_button_in_a_chat_counts_for_whoever_pressed_it() {
    let server = Server::answering([crate::server::Reply::Busy { seconds: 0 }]);
    let bench = bench();
    let url = secret(&server.url("/chat"));
    let engine = engine(&bench, ChatApprover::new(desk(), url, Arc::new(PlainClient::default())));
    let (_, driver) = bench.ask(&engine).await;
    // The chat was busy once; the question was sent again.
    let posts = received(&server, 2).await;
    let buttons = &posts[1]["blocks"][2]["elements"];
    let (approve, reject) =
        (buttons[0]["value"].as_str().unwrap(), buttons[1]["value"].as_str().unwrap());
    let (desk, at) = (desk(), bench.now().as_secs());

    let (reply, run) = press(&desk, &engine, "U1", approve, "somebody else", at).await;
    assert_eq!((reply.status, run.state), (403, State::Asking), "not signed by the chat");
    let (reply, run) = press(&desk, &engine, "U1", approve, SIGNING, at - 400).await;
    assert_eq!((reply.status, run.state), (410, State::Asking), "an old request, sent again");
    let (reply, run) = press(&desk, &engine, "U2", approve, SIGNING, at).await;
    assert_eq!((reply.status, run.state), (200, State::Asking));
    assert!(reply.body.contains("not known"), "{reply:?}");
    // A button is no link, and a link no button.
    assert_eq!(visit(&desk, &engine, "POST", &format!("/answer/{approve}")).await.status, 403);

    let (reply, run) = press(&desk, &engine, "U1", reject, SIGNING, at).await;
    assert_eq!((reply.status, run.ending()), (200, Some(Ending::Rejected)));
    let (reply, _) = press(&desk, &engine, "U1", approve, SIGNING, at).await;
    assert!([409, 410].contains(&reply.status), "{reply:?}");
    assert_eq!(driver.await.unwrap().unwrap().ending(), Some(Ending::Rejected));
    assert!(bench.effects().is_empty());
}
