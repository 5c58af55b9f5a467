//! Where a topology comes from: documents of other systems become [`Sighting`]s of edges, and
//! [`TopologyMerge`] makes one graph of what several sources say.
//!
//! | source | what it sees | function |
//! | --- | --- | --- |
//! | service-graph metrics of OpenTelemetry | calls | [`ServiceGraph`] |
//! | Jaeger, dependencies | calls | [`from_jaeger`] |
//! | Kubernetes, a list of objects | what owns and runs on what | [`KubernetesConfig`] |
//! | CSV, JSON (and YAML with feature `yaml`) | whatever a person declares | [`from_csv`], [`from_document`] |
//!
//! ```
//! use aiops_core::{Topology, Timestamp};
//! use aiops_knowledge::topology::{SourceKind, TopologyMergeConfig, from_csv, from_jaeger};
//!
//! let now = Timestamp::from_secs(1_000);
//! let mut merge = TopologyMergeConfig::default().build()?;
//! merge.saw("jaeger", SourceKind::Observed, from_jaeger(
//!     br#"{"data": [{"parent": "gateway", "child": "api", "callCount": 120}]}"#)?, now);
//! merge.saw("wiki", SourceKind::Declared, from_csv(b"from,to\ngateway,api\napi,db\n")?, now);
//!
//! let mut topology = Topology::new();
//! merge.apply(&mut topology, now);
//! assert_eq!(topology.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod declared;
mod jaeger;
mod kubernetes;
mod merge;
mod service_graph;

use aiops_core::{EdgeKind, NodeKind};

#[cfg(feature = "yaml")]
#[cfg_attr(docsrs, doc(cfg(feature = "yaml")))]
pub use declared::from_yaml;
pub use declared::{from_csv, from_document};
pub use jaeger::from_jaeger;
pub use kubernetes::KubernetesConfig;
pub use merge::{Merged, SourceKind, TopologyMerge, TopologyMergeConfig};
pub use service_graph::ServiceGraph;

/// That one thing depends on another, as one source saw it at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// The dependent: the caller, the guest; for [`EdgeKind::Owns`] the group.
    pub from: String,
    /// What the dependent is.
    pub from_kind: NodeKind,
    /// The dependency: the callee, the host; for [`EdgeKind::Owns`] the member.
    pub to: String,
    /// What the dependency is.
    pub to_kind: NodeKind,
    /// What the edge means.
    pub kind: EdgeKind,
    /// How strongly it is used: for calls the share of the caller's calls; 1 when unknown.
    pub weight: f64,
}

impl Sighting {
    /// One service calls another.
    pub fn call(from: impl Into<String>, to: impl Into<String>, weight: f64) -> Self {
        Sighting {
            from: from.into(),
            from_kind: NodeKind::Service,
            to: to.into(),
            to_kind: NodeKind::Service,
            kind: EdgeKind::Calls,
            weight,
        }
    }
}

/// Calls with their counts as sightings whose weights are shares of the caller's calls, in the order
/// of names. Calls to oneself, which are no dependency, and counts of zero are left out.
fn shares(mut calls: Vec<(String, String, f64)>) -> Vec<Sighting> {
    calls.retain(|(from, to, count)| from != to && *count > 0.0 && count.is_finite());
    calls.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let mut found: Vec<Sighting> = Vec::new();
    for caller in calls.chunk_by(|a, b| a.0 == b.0) {
        let total: f64 = caller.iter().map(|(_, _, count)| count).sum();
        for callee in caller.chunk_by(|a, b| a.1 == b.1) {
            let count: f64 = callee.iter().map(|(_, _, count)| count).sum();
            found.push(Sighting::call(&callee[0].0, &callee[0].1, count / total));
        }
    }
    found
}
