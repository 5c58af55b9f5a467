//! The Kubernetes executor against a small API server of our own, which answers as the API's
//! documentation says: merge and JSON patches, resource versions, dry runs, and `Status` for errors.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_act::executor::kubernetes::{KEY_ANNOTATION, KubernetesExecutor};
use aiops_act::testing::{check_executor, permit};
use aiops_act::{Call, Digest, Probe, Risk, StepError, StepExecutor};
use kube::Config;
use serde_json::{Value, json};

const API: &str = "/apis/apps/v1/namespaces/shop/deployments/api";
const NODE: &str = "/api/v1/nodes/worker-7";

#[derive(Clone)]
struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    requests: Vec<String>,
    /// Answers the next change so, after or before it was made.
    trouble: Option<(u16, bool)>,
}

impl ApiServer {
    fn start() -> ApiServer {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "api", "namespace": "shop", "uid": "d-1", "resourceVersion": "1",
                "annotations": {"deployment.kubernetes.io/revision": "3"}},
            "spec": {"replicas": 2, "template": template("api:3")},
        });
        let set = |n: u64, image: &str, owner: &str| {
            let mut template = template(image);
            template["metadata"]["labels"]["pod-template-hash"] = json!(format!("h{n}"));
            json!({"metadata": {"name": format!("api-{n}"), "ownerReferences": [{"uid": owner}],
                "annotations": {"deployment.kubernetes.io/revision": n.to_string()}},
                "spec": {"template": template}})
        };
        let sets = json!({"kind": "ReplicaSetList", "items": [
            set(3, "api:3", "d-1"), set(1, "api:1", "d-1"), set(2, "api:2", "d-1"),
            set(9, "other:9", "d-2"),
        ]});
        let node = json!({"kind": "Node", "metadata": {"name": "worker-7", "resourceVersion": "1"},
            "spec": {}});
        let objects = [
            (API.to_owned(), deployment),
            ("/apis/apps/v1/namespaces/shop/replicasets".to_owned(), sets),
            (NODE.to_owned(), node),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State { objects: objects.into(), version: 1, ..State::default() };
        let server = ApiServer {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(state)),
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        server
    }

    fn executor(&self) -> KubernetesExecutor {
        let config = Config::new(format!("http://{}", self.address).parse().unwrap());
        KubernetesExecutor::new(config).unwrap().allowing("shop").allowing_nodes()
    }

    fn object(&self, path: &str) -> Value {
        self.state.lock().unwrap().objects[path].clone()
    }

    fn everything(&self) -> String {
        format!("{:?}", self.state.lock().unwrap().objects)
    }

    fn trouble(&self, status: u16, after_it_was_made: bool) {
        self.state.lock().unwrap().trouble = Some((status, after_it_was_made));
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let (mut length, mut kind) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok()?,
                "content-type" => kind = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, answer) = self.answer(method, path, query, &kind, &body);
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{text}",
            text.len()
        );
        (&stream).write_all(head.as_bytes()).ok()
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        query: &str,
        kind: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let mut state = self.state.lock().unwrap();
        state.requests.push(format!("{method} {path}?{query}"));
        let Some(now) = state.objects.get(path).cloned() else {
            return status(404, &format!("{path} not found"));
        };
        if method == "GET" {
            return (200, now);
        }
        if method != "PATCH" || !query.contains("fieldManager=aiops-act") {
            return status(405, "only patches by a named manager here");
        }
        let patch: Value = serde_json::from_slice(body).unwrap();
        let mut after = now.clone();
        let applied = if kind == "application/json-patch+json" {
            json_patch(&mut after, &patch)
        } else {
            let asked = &patch["metadata"]["resourceVersion"];
            if !asked.is_null() && *asked != now["metadata"]["resourceVersion"] {
                Err("the object has been modified".to_owned())
            } else {
                merge(&mut after, &patch);
                Ok(())
            }
        };
        if let Err(why) = applied {
            return status(409, &why);
        }
        if after["spec"]["replicas"].as_u64().is_some_and(|n| n > 100) {
            return status(422, "spec.replicas: Invalid value");
        }
        if query.contains("dryRun=All") {
            return (200, after);
        }
        let trouble = state.trouble.take();
        if let Some((code, false)) = trouble {
            return status(code, "trouble before");
        }
        state.version += 1;
        after["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(path.to_owned(), after.clone());
        match trouble {
            Some((code, true)) => status(code, "trouble after"),
            _ => (200, after),
        }
    }
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [{"image": image}]}})
}

/// An error as the API gives it (`meta/v1 Status`).
fn status(code: u16, message: &str) -> (u16, Value) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": "Test", "code": code});
    (code, body)
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut into[name], value);
        }
    }
}

/// RFC 6902, as far as it is used.
fn json_patch(into: &mut Value, patch: &Value) -> Result<(), String> {
    for step in patch.as_array().unwrap() {
        let (op, path, value) = (&step["op"], step["path"].as_str().unwrap(), &step["value"]);
        if op == "test" {
            if into.pointer(path) != Some(value) {
                return Err(format!("test of {path} failed"));
            }
            continue;
        }
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = into.pointer_mut(parent).ok_or(format!("no {parent}"))?;
        parent[name.replace("~1", "/")] = value.clone();
    }
    Ok(())
}

fn call(with: Value) -> Call {
    Call {
        step: "s".to_owned(),
        uses: "kubernetes".to_owned(),
        with: with.as_object().unwrap().clone(),
        targets: vec![],
        timeout: Duration::from_secs(5),
    }
}

fn deployment(what: &str, more: Value) -> Call {
    let mut with = json!({"do": what, "namespace": "shop", "deployment": "api"});
    merge(&mut with, &more);
    call(with)
}

#[tokio::test]
async fn conforms_and_a_dry_run_changes_nothing() {
    for order in [
        deployment("restart", json!({})),
        deployment("scale", json!({"replicas": 5})),
        deployment("roll_back", json!({})),
        call(json!({"do": "cordon", "node": "worker-7"})),
    ] {
        let server = ApiServer::start();
        check_executor(&server.executor(), &order, true, || server.everything()).await;
        let requests = server.state.lock().unwrap().requests.clone();
        assert!(requests.iter().any(|r| r.contains("dryRun=All")), "{requests:?}");
    }
}

#[tokio::test]
async fn scale_and_cordon_are_undone_to_what_was_there() {
    let server = ApiServer::start();
    let executor = server.executor();
    let undo = permit(Digest::of_bytes(b"undo"), 1);
    let run = permit(Digest::of_bytes(b"run"), 1);

    let scale = deployment("scale", json!({"replicas": 6}));
    assert_eq!(executor.risk_floor(&scale), Risk::Reversible);
    let preview = executor.plan(&scale).await.unwrap();
    assert_eq!(preview.summary, "scale shop/api to 6");
    executor.run(&scale, &run).await.unwrap();
    assert_eq!(server.object(API)["spec"]["replicas"], 6);
    executor.undo(&scale, &preview.before, &undo).await.unwrap();
    assert_eq!(server.object(API)["spec"]["replicas"], 2);

    let cordon = call(json!({"do": "cordon", "node": "worker-7"}));
    let preview = executor.plan(&cordon).await.unwrap();
    executor.run(&cordon, &run).await.unwrap();
    assert_eq!(server.object(NODE)["spec"]["unschedulable"], true);
    executor.undo(&cordon, &preview.before, &undo).await.unwrap();
    assert_eq!(server.object(NODE)["spec"].get("unschedulable"), None);
}

#[tokio::test]
async fn a_roll_back_takes_the_revision_before_or_the_one_that_is_named() {
    let image = |server: &ApiServer| {
        server.object(API)["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let run = permit(Digest::of_bytes(b"run"), 1);
    for (more, expected) in [(json!({}), "api:2"), (json!({"to_revision": 1}), "api:1")] {
        let server = ApiServer::start();
        let executor = server.executor();
        let order = deployment("roll_back", more);
        assert_eq!(executor.risk_floor(&order), Risk::Stateful);
        let preview = executor.plan(&order).await.unwrap();
        executor.run(&order, &run).await.unwrap();
        assert_eq!(image(&server), expected);
        let labels = &server.object(API)["spec"]["template"]["metadata"]["labels"];
        assert_eq!(*labels, json!({"app": "api"}), "the controller's own label is left out");
        executor.undo(&order, &preview.before, &permit(Digest::of_bytes(b"u"), 1)).await.unwrap();
        assert_eq!(image(&server), "api:3");
    }
    // Another deployment's revision is none of ours.
    let server = ApiServer::start();
    let order = deployment("roll_back", json!({"to_revision": 9}));
    let refused = server.executor().plan(&order).await.unwrap_err();
    assert!(matches!(refused, StepError::NotStarted { .. }), "{refused:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_found_again_by_its_key() {
    let key = Digest::of_bytes(b"run");
    for (happened, expected) in [(true, 5), (false, 2)] {
        let server = ApiServer::start();
        let executor = server.executor();
        let scale = deployment("scale", json!({"replicas": 5}));
        server.trouble(503, happened);
        let lost = executor.run(&scale, &permit(key, 1)).await.unwrap_err();
        assert!(matches!(lost, StepError::Unknown { .. }), "{lost:?}");
        assert_eq!(server.object(API)["spec"]["replicas"], expected);
        let probe = executor.probe(&scale, key).await;
        assert_eq!(matches!(probe, Probe::Done { .. }), happened, "{probe:?}");
        assert_eq!(matches!(probe, Probe::NotDone), !happened);
        let changes = |r: &&String| r.starts_with("PATCH") && !r.contains("dryRun");
        let requests = server.state.lock().unwrap().requests.clone();
        assert_eq!(requests.iter().filter(changes).count(), 1, "sent once: {requests:?}");
        let annotation = server.object(API)["metadata"]["annotations"][KEY_ANNOTATION].clone();
        assert_eq!(annotation == key.to_string(), happened);
    }
    // A conflict and a server that is busy: nothing was started.
    for code in [409, 429] {
        let server = ApiServer::start();
        server.trouble(code, false);
        let scale = deployment("scale", json!({"replicas": 5}));
        let refused = server.executor().run(&scale, &permit(key, 1)).await.unwrap_err();
        assert!(matches!(refused, StepError::NotStarted { .. }), "{code}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_not_allowed_or_would_be_refused_is_not_started() {
    let server = ApiServer::start();
    let executor = server.executor();
    for bad in [
        call(
            json!({"do": "scale", "namespace": "kube-system", "deployment": "dns", "replicas": 0}),
        ),
        deployment("scale", json!({"replicas": 1000})), // the server's dry run refuses it
        deployment("scale", json!({"replicas": -1})),
        deployment("scale", json!({"replicas": 3, "force": true})),
        deployment("restart", json!({"deployment": "none"})),
        deployment("restart", json!({"deployment": "../../nodes/worker-7"})),
        call(json!({"do": "drain", "node": "worker-7"})),
    ] {
        let error = executor.plan(&bad).await.unwrap_err();
        assert!(matches!(error, StepError::NotStarted { .. }), "{bad:?}: {error:?}");
    }
    let config = Config::new(format!("http://{}", server.address).parse().unwrap());
    let nothing = KubernetesExecutor::new(config).unwrap();
    let cordon = call(json!({"do": "cordon", "node": "worker-7"}));
    assert!(nothing.plan(&cordon).await.is_err(), "nodes were not allowed");
    let changed = server.state.lock().unwrap().version;
    assert_eq!(changed, 1, "nothing was changed");

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = Config::new(format!("http://127.0.0.1:{port}").parse().unwrap());
    let gone = KubernetesExecutor::new(config).unwrap().allowing("shop");
    let restart = deployment("restart", json!({}));
    let error = gone.run(&restart, &permit(Digest::of_bytes(b"run"), 1)).await.unwrap_err();
    assert!(matches!(error, StepError::NotStarted { .. }), "{error:?}");
}
