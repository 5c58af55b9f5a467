//! Kubernetes (feature `kubernetes`): restart, roll back and scale deployments, cordon nodes.
//!
//! ```yaml
//! uses: kubernetes
//! with: {do: restart, namespace: shop, deployment: api}
//! # {do: roll_back, namespace: shop, deployment: api, to_revision: 3}   revision: default the one before
//! # {do: scale, namespace: shop, deployment: api, replicas: 4}
//! # {do: cordon, node: worker-7}        {do: uncordon, node: worker-7}
//! ```
//!
//! A look reads the object and sends the very change with `dryRun=All`: admission, quota and schema are
//! checked by the server, and nothing is stored. The change itself carries the idempotency key in the
//! annotation `aiops-act/key`, by which a probe finds it, and the resource version that was read, so that
//! a late copy of it meets a conflict instead of somebody else's change.
//!
//! | answer | means |
//! | --- | --- |
//! | 2xx | accepted; whether it helped is for `verify` |
//! | 409, 429, nobody listens | not started |
//! | other 4xx | failed |
//! | 5xx, broken connection | unknown: probed |
//!
//! **It has been tested against a small API server of our own that answers as the API's documentation
//! says. It has not yet run against a live cluster.**

use std::collections::BTreeSet;
use std::fmt;

use http::Request;
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BoxFuture, Call, Output, Permit, Preview, Probe, StepError, StepExecutor};
use crate::canonical::Digest;
use crate::runbook::Risk;

/// The annotation that holds the key of the last change.
pub const KEY_ANNOTATION: &str = "aiops-act/key";
const REVISION: &str = "deployment.kubernetes.io/revision";
const MANAGER: &str = "fieldManager=aiops-act";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Acts on a cluster, in the namespaces that it was given.
pub struct KubernetesExecutor {
    client: Client,
    namespaces: BTreeSet<String>,
    nodes: bool,
}

impl fmt::Debug for KubernetesExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesExecutor")
            .field("namespaces", &self.namespaces)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// What a step is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Order {
    Restart { namespace: String, deployment: String },
    RollBack { namespace: String, deployment: String, to_revision: Option<u64> },
    Scale { namespace: String, deployment: String, replicas: u32 },
    Cordon { node: String },
    Uncordon { node: String },
}

impl Order {
    fn of(call: &Call) -> Result<Order, StepError> {
        serde_json::from_value(Value::Object(call.with.clone()))
            .map_err(|error| StepError::not_started(error.to_string()))
    }

    /// Where the object is.
    fn path(&self) -> String {
        match self {
            Order::Restart { namespace, deployment }
            | Order::RollBack { namespace, deployment, .. }
            | Order::Scale { namespace, deployment, .. } => {
                format!("/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}")
            }
            Order::Cordon { node } | Order::Uncordon { node } => format!("/api/v1/nodes/{node}"),
        }
    }

    fn summary(&self) -> String {
        match self {
            Order::Restart { namespace, deployment } => {
                format!("restart {namespace}/{deployment}")
            }
            Order::RollBack { namespace, deployment, to_revision: None } => {
                format!("roll {namespace}/{deployment} back to the revision before")
            }
            Order::RollBack { namespace, deployment, to_revision: Some(revision) } => {
                format!("roll {namespace}/{deployment} back to revision {revision}")
            }
            Order::Scale { namespace, deployment, replicas } => {
                format!("scale {namespace}/{deployment} to {replicas}")
            }
            Order::Cordon { node } => format!("cordon {node}"),
            Order::Uncordon { node } => format!("uncordon {node}"),
        }
    }
}

/// A change of one object, and how it is sent.
struct Change {
    path: String,
    patch: &'static str,
    body: Value,
}

impl KubernetesExecutor {
    /// Acts on the cluster that `config` names; nothing is allowed yet. Call it inside a tokio runtime.
    ///
    /// kube's own retries are switched off: they would send a change again whose answer was a 503,
    /// and nobody but the engine decides whether that may be.
    ///
    /// # Errors
    /// No client can be made of the configuration.
    pub fn new(mut config: Config) -> crate::Result<KubernetesExecutor> {
        config.default_retry = false;
        let client = Client::try_from(config);
        let client =
            client.map_err(|error| crate::Error::config("kubernetes", error.to_string()))?;
        Ok(KubernetesExecutor { client, namespaces: BTreeSet::new(), nodes: false })
    }

    /// On the cluster that `kubectl` would talk to: from the environment of the process, a service
    /// account or a kubeconfig file.
    ///
    /// # Errors
    /// There is no configuration, or it makes no sense.
    pub async fn from_environment() -> crate::Result<KubernetesExecutor> {
        let config = Config::infer().await;
        KubernetesExecutor::new(
            config.map_err(|error| crate::Error::config("kubernetes", error.to_string()))?,
        )
    }

    /// Allows deployments of a namespace.
    #[must_use]
    pub fn allowing(mut self, namespace: &str) -> KubernetesExecutor {
        self.namespaces.insert(namespace.to_owned());
        self
    }

    /// Allows nodes.
    #[must_use]
    pub fn allowing_nodes(mut self) -> KubernetesExecutor {
        self.nodes = true;
        self
    }

    /// The order of a call, if it is allowed and its names are names.
    fn order(&self, call: &Call) -> Result<Order, StepError> {
        let order = Order::of(call)?;
        let (namespace, name) = match &order {
            Order::Restart { namespace, deployment }
            | Order::RollBack { namespace, deployment, .. }
            | Order::Scale { namespace, deployment, .. } => (Some(namespace), deployment),
            Order::Cordon { node } | Order::Uncordon { node } => (None, node),
        };
        let allowed = namespace.map_or(self.nodes, |n| self.namespaces.contains(n));
        if !allowed {
            let what = namespace.map_or("nodes".to_owned(), |n| format!("namespace {n}"));
            return Err(StepError::not_started(format!("{what} is not allowed")));
        }
        // RFC 1123 names: nothing that could lead to another path.
        let is_name = |text: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            !text.is_empty()
                && text.len() <= 253
                && text.chars().all(plain)
                && text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && !text.contains("..")
        };
        if let Some(bad) = std::iter::once(name).chain(namespace).find(|name| !is_name(name)) {
            return Err(StepError::not_started(format!("{bad:?} is not a name")));
        }
        Ok(order)
    }

    async fn get(&self, path: &str) -> Result<Value, StepError> {
        let request = Request::get(path).body(Vec::new());
        let request = request.map_err(|e| StepError::not_started(e.to_string()))?;
        // Whatever goes wrong with reading, nothing was started.
        self.client.request(request).await.map_err(|e| match judged(e) {
            StepError::Failed { reason } | StepError::Unknown { reason } => {
                StepError::not_started(reason)
            }
            other => other,
        })
    }

    async fn send(&self, change: &Change, dry: bool) -> Result<Value, StepError> {
        let dry = if dry { "&dryRun=All" } else { "" };
        let request = Request::patch(format!("{}?{MANAGER}{dry}", change.path))
            .header("Content-Type", change.patch)
            .body(change.body.to_string().into_bytes())
            .map_err(|e| StepError::not_started(e.to_string()))?;
        self.client.request(request).await.map_err(judged)
    }

    /// The change that an order makes of the object as it is.
    async fn change(&self, order: &Order, now: &Value, key: &str) -> Result<Change, StepError> {
        let path = order.path();
        let meta = json!({"resourceVersion": version(now), "annotations": {KEY_ANNOTATION: key}});
        let merge = |spec: Value| json!({"metadata": meta, "spec": spec});
        Ok(match order {
            Order::Restart { .. } => {
                // As `kubectl rollout restart`: a new annotation of the template is a new rollout.
                let template = json!({"metadata": {"annotations": {KEY_ANNOTATION: key}}});
                Change { path, patch: STRATEGIC, body: merge(json!({"template": template})) }
            }
            Order::Scale { replicas, .. } => {
                Change { path, patch: MERGE, body: merge(json!({"replicas": replicas})) }
            }
            Order::Cordon { .. } => {
                Change { path, patch: MERGE, body: merge(json!({"unschedulable": true})) }
            }
            Order::Uncordon { .. } => {
                Change { path, patch: MERGE, body: merge(json!({"unschedulable": null})) }
            }
            Order::RollBack { namespace, to_revision, .. } => {
                let template = self.earlier_template(namespace, now, *to_revision).await?;
                template_change(path, now, key, template)
            }
        })
    }

    /// The template of an earlier revision, from the deployment's replica sets.
    async fn earlier_template(
        &self,
        namespace: &str,
        deployment: &Value,
        wanted: Option<u64>,
    ) -> Result<Value, StepError> {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
        let found = self.get(&path).await?;
        let uid = &deployment["metadata"]["uid"];
        let current = revision(deployment);
        let owned = |set: &&Value| {
            let owners = set["metadata"]["ownerReferences"].as_array();
            owners.is_some_and(|owners| owners.iter().any(|o| !uid.is_null() && o["uid"] == *uid))
        };
        let sets = found["items"].as_array().map_or(&[][..], Vec::as_slice);
        let mut revisions: Vec<(u64, &Value)> =
            sets.iter().filter(owned).filter_map(|set| Some((revision(set)?, set))).collect();
        revisions.sort_by_key(|(revision, _)| *revision);
        let earlier = revisions.iter().rev().find(|(revision, _)| match wanted {
            Some(wanted) => *revision == wanted,
            None => current.is_some_and(|current| *revision < current),
        });
        let Some((_, set)) = earlier else {
            return Err(StepError::not_started("there is no such revision to go back to"));
        };
        let mut template = set["spec"]["template"].clone();
        // The controller's own label; the new replica set gets another.
        if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
            labels.remove("pod-template-hash");
        }
        Ok(template)
    }

    async fn look(&self, call: &Call) -> Result<Preview, StepError> {
        let order = self.order(call)?;
        let now = self.get(&order.path()).await?;
        let change = self.change(&order, &now, "dry-run").await?;
        self.send(&change, true).await.map_err(|error| match error {
            StepError::Failed { reason } | StepError::Unknown { reason } => {
                StepError::not_started(reason)
            }
            other => other,
        })?;
        let before = match order {
            Order::Restart { .. } => Value::Null,
            Order::Scale { .. } => json!({"replicas": now["spec"]["replicas"]}),
            Order::RollBack { .. } => json!({"template": now["spec"]["template"]}),
            Order::Cordon { .. } | Order::Uncordon { .. } => {
                json!({"unschedulable": now["spec"]["unschedulable"]})
            }
        };
        Ok(Preview { summary: order.summary(), before })
    }

    async fn act(&self, call: &Call, permit: &Permit) -> Result<Output, StepError> {
        let order = self.order(call)?;
        let key = permit.key().to_string();
        let now = self.get(&order.path()).await?;
        if key_of(&now) == Some(key.as_str()) {
            return Ok(Output { value: shown(&now), log: None }); // it happened already
        }
        let change = self.change(&order, &now, &key).await?;
        let after = self.send(&change, false).await?;
        Ok(Output { value: shown(&after), log: None })
    }

    async fn ask(&self, call: &Call, key: Digest) -> Probe {
        let found = match self.order(call) {
            Ok(order) => self.get(&order.path()).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(now) if key_of(&now) == Some(key.to_string().as_str()) => {
                Probe::Done { output: Output { value: shown(&now), log: None } }
            }
            Ok(_) => Probe::NotDone,
            Err(error) => Probe::CannotTell { reason: error.to_string() },
        }
    }

    async fn restore(
        &self,
        call: &Call,
        before: &Value,
        permit: &Permit,
    ) -> Result<Output, StepError> {
        let order = self.order(call)?;
        let path = order.path();
        let now = self.get(&path).await?;
        let key = permit.key().to_string();
        let meta = json!({"resourceVersion": version(&now), "annotations": {KEY_ANNOTATION: key}});
        let merge = |field: &str| Change {
            path: path.clone(),
            patch: MERGE,
            body: json!({"metadata": meta, "spec": {field: before[field]}}),
        };
        let change = match order {
            Order::Scale { .. } => merge("replicas"),
            Order::Cordon { .. } | Order::Uncordon { .. } => merge("unschedulable"),
            Order::RollBack { .. } => {
                template_change(path.clone(), &now, &key, before["template"].clone())
            }
            Order::Restart { .. } => {
                let reason = "a restart is not undone; say `undo: {uses: nothing}`";
                return Err(StepError::not_started(reason));
            }
        };
        let after = self.send(&change, false).await?;
        Ok(Output { value: shown(&after), log: None })
    }
}

/// Puts a template in the place of the one that is there, as `kubectl rollout undo` does.
fn template_change(path: String, now: &Value, key: &str, template: Value) -> Change {
    let annotation = format!("/metadata/annotations/{}", KEY_ANNOTATION.replace('/', "~1"));
    let mut body = vec![
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": version(now)}),
        json!({"op": "replace", "path": "/spec/template", "value": template}),
    ];
    if !now["metadata"]["annotations"].is_object() {
        body.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    body.push(json!({"op": "add", "path": annotation, "value": key}));
    Change { path, patch: "application/json-patch+json", body: Value::Array(body) }
}

fn version(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

fn key_of(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][KEY_ANNOTATION].as_str()
}

fn revision(object: &Value) -> Option<u64> {
    object["metadata"]["annotations"][REVISION].as_str()?.parse().ok()
}

/// What a step gives: enough to follow it, not the whole object.
fn shown(object: &Value) -> Value {
    json!({
        "name": object["metadata"]["name"], "resource_version": version(object),
        "generation": object["metadata"]["generation"], "replicas": object["spec"]["replicas"],
        "unschedulable": object["spec"]["unschedulable"],
    })
}

fn judged(error: kube::Error) -> StepError {
    match error {
        kube::Error::Api(status) => {
            let reason = format!("answered {}: {}", status.code, status.message);
            match status.code {
                409 | 429 => StepError::not_started(reason),
                500.. => StepError::unknown(reason),
                _ => StepError::failed(reason),
            }
        }
        error => {
            let refused = chain(&error).any(|e| {
                e.downcast_ref::<std::io::Error>()
                    .is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
            });
            let reason = chain(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
            if refused { StepError::not_started(reason) } else { StepError::unknown(reason) }
        }
    }
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

impl StepExecutor for KubernetesExecutor {
    fn name(&self) -> &str {
        "kubernetes"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn risk_floor(&self, call: &Call) -> Risk {
        match Order::of(call) {
            Ok(Order::Cordon { .. } | Order::Uncordon { .. } | Order::Scale { .. }) => {
                Risk::Reversible
            }
            // A restart drops what is in memory, another build may write other data.
            _ => Risk::Stateful,
        }
    }

    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        Box::pin(self.look(call))
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.act(call, permit))
    }

    fn probe<'a>(&'a self, call: &'a Call, key: Digest) -> BoxFuture<'a, Probe> {
        Box::pin(self.ask(call, key))
    }

    fn undo<'a>(
        &'a self,
        call: &'a Call,
        before: &'a Value,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.restore(call, before, permit))
    }
}
