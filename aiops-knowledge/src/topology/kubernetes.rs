//! Objects of Kubernetes: what owns and what runs on what.

use std::collections::{BTreeMap, BTreeSet};

use aiops_core::{EdgeKind, NodeKind};
use serde::{Deserialize, Serialize};

use super::Sighting;
use crate::{Error, Result};

/// How names in a cluster become names in the topology.
///
/// Of the pods in the answer of `kubectl get pods,replicasets -A -o json` it makes three kinds of
/// edges: the service of a pod, known by a label, runs on the pod; the pod runs on its node; and
/// what owns the pod, a deployment for example, owns it. A replica set stands between the two only by
/// way of implementation and is replaced by its own owner where that is known.
///
/// Pods are named `namespace/name`, owners `namespace/kind/name` in lower case, nodes and services
/// by their names. Objects say nothing about calls.
///
/// ```
/// use aiops_knowledge::topology::KubernetesConfig;
/// let list = br#"{"items": [{"kind": "Pod",
///     "metadata": {"name": "api-1", "namespace": "shop", "labels": {"app": "api"}},
///     "spec": {"nodeName": "node-a"}}]}"#;
/// let found = KubernetesConfig::default().read(list)?;
/// let told: Vec<_> = found.iter().map(|s| format!("{} -> {}", s.from, s.to)).collect();
/// assert_eq!(told, ["api -> shop/api-1", "shop/api-1 -> node-a"]);
/// # Ok::<(), aiops_knowledge::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KubernetesConfig {
    /// Labels of a pod that name its service; the first that is there counts. Default
    /// `app.kubernetes.io/name`, which Kubernetes recommends, then `app`.
    pub service_labels: Vec<String>,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        let service_labels = ["app.kubernetes.io/name", "app"].map(str::to_owned).to_vec();
        KubernetesConfig { service_labels }
    }
}

#[derive(Deserialize)]
struct List {
    items: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: Option<String>,
}

impl KubernetesConfig {
    /// Reads a list of objects. Kinds other than pods and replica sets are skipped; edges come in
    /// the order of names.
    ///
    /// # Errors
    /// [`Error::Malformed`] with line and column when it is no list of objects.
    pub fn read(&self, bytes: &[u8]) -> Result<Vec<Sighting>> {
        let list: List = serde_json::from_slice(bytes)
            .map_err(|error| Error::malformed("list of Kubernetes objects", error))?;
        let mut owner_of_set: BTreeMap<(&str, &str), &Owner> = BTreeMap::new();
        for set in list.items.iter().filter(|object| object.kind == "ReplicaSet") {
            let Metadata { name, namespace, owner_references, .. } = &set.metadata;
            if let Some(owner) = owner_references.first() {
                owner_of_set.insert((namespace, name), owner);
            }
        }
        let mut edges: BTreeSet<(String, String, u8)> = BTreeSet::new();
        let mut found = Vec::new();
        for pod in list.items.iter().filter(|object| object.kind == "Pod") {
            let Metadata { name, namespace, labels, owner_references } = &pod.metadata;
            let me = format!("{namespace}/{name}");
            let mut add = |from: &str, from_kind, to: &str, to_kind, kind: EdgeKind| {
                if from != to && edges.insert((from.to_owned(), to.to_owned(), kind as u8)) {
                    let call = Sighting::call(from, to, 1.0);
                    found.push(Sighting { from_kind, to_kind, kind, ..call });
                }
            };
            let service = self.service_labels.iter().find_map(|label| labels.get(label));
            if let Some(service) = service {
                add(service, NodeKind::Service, &me, NodeKind::Instance, EdgeKind::RunsOn);
            }
            if let Some(node) = &pod.spec.node_name {
                add(&me, NodeKind::Instance, node, NodeKind::Host, EdgeKind::RunsOn);
            }
            for owner in owner_references {
                let set = (namespace.as_str(), owner.name.as_str());
                let is_set = owner.kind == "ReplicaSet";
                let owner = is_set.then(|| owner_of_set.get(&set)).flatten().unwrap_or(&owner);
                let kind = owner.kind.to_ascii_lowercase();
                let owner = format!("{namespace}/{kind}/{}", owner.name);
                add(&owner, NodeKind::Group, &me, NodeKind::Instance, EdgeKind::Owns);
            }
        }
        found.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_replica_set_owns_its_pods() {
        let list = br#"{"kind": "List", "items": [
            {"kind": "ReplicaSet", "metadata": {"name": "api-5f", "namespace": "shop",
                "ownerReferences": [{"kind": "Deployment", "name": "api"}]}},
            {"kind": "Pod", "metadata": {"name": "api-5f-x", "namespace": "shop",
                "labels": {"app": "old", "app.kubernetes.io/name": "api"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "api-5f"}]},
             "spec": {"nodeName": "n1"}},
            {"kind": "Pod", "metadata": {"name": "lone", "namespace": "shop"}},
            {"kind": "Service", "metadata": {"name": "api"}}
        ]}"#;
        let found = KubernetesConfig::default().read(list).unwrap();
        let told: Vec<_> = found.iter().map(|s| (s.from.as_str(), s.to.as_str(), s.kind)).collect();
        assert_eq!(
            told,
            [
                ("api", "shop/api-5f-x", EdgeKind::RunsOn),
                ("shop/api-5f-x", "n1", EdgeKind::RunsOn),
                ("shop/deployment/api", "shop/api-5f-x", EdgeKind::Owns),
            ]
        );
        assert!(KubernetesConfig::default().read(b"{}").is_err());
    }
}
