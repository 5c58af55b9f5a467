//! The form in which a topology is written down: names instead of indices.

use super::graph::{Edge, EdgeKind, NodeKind, Topology};
use crate::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

/// A topology as text: what `topology.json` holds.
///
/// ```
/// use aiops_core::{Topology, TopologyDocument};
/// let json = r#"{"nodes": [{"name": "api"}, {"name": "db", "kind": "service"}],
///                "edges": [{"from": "api", "to": "db", "kind": "calls"}]}"#;
/// let document: TopologyDocument = serde_json::from_str(json)?;
/// let topology = Topology::try_from(document)?;
/// assert_eq!(topology.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TopologyDocument {
    /// The nodes.
    pub nodes: Vec<NodeDocument>,
    /// The edges.
    #[serde(default)]
    pub edges: Vec<EdgeDocument>,
    /// The revision it was written at.
    #[serde(default)]
    pub revision: u64,
}

/// A node as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeDocument {
    /// Its name.
    pub name: String,
    /// What it is; a service unless said otherwise.
    #[serde(default)]
    pub kind: NodeKind,
    /// When it was last confirmed.
    #[serde(default)]
    pub last_seen: Timestamp,
}

/// An edge as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeDocument {
    /// The dependent: the caller, the guest.
    pub from: String,
    /// The dependency: the callee, the host.
    pub to: String,
    /// What it means; a call unless said otherwise.
    #[serde(default)]
    pub kind: EdgeKind,
    /// How strongly it is used.
    #[serde(default = "one")]
    pub weight: f64,
    /// How surely it exists.
    #[serde(default = "one")]
    pub confidence: f64,
    /// Who said so.
    #[serde(default)]
    pub source: String,
    /// When it was first seen.
    #[serde(default)]
    pub first_seen: Timestamp,
    /// When it was last seen.
    #[serde(default)]
    pub last_seen: Timestamp,
}

fn one() -> f64 {
    1.0
}

impl TryFrom<TopologyDocument> for Topology {
    type Error = Error;

    /// # Errors
    /// [`Error::Duplicate`] for a node named twice, [`Error::Unknown`] with the closest name for an
    /// edge to a node that is not listed, and those of [`Topology::upsert_edge`].
    fn try_from(document: TopologyDocument) -> Result<Self> {
        let mut topology = Topology::new();
        for node in document.nodes {
            if topology.node_id(&node.name).is_some() {
                return Err(Error::Duplicate { what: "node", name: node.name });
            }
            topology.upsert_node(&node.name, node.kind, node.last_seen);
        }
        for edge in document.edges {
            let (from, to) = (topology.require(&edge.from)?, topology.require(&edge.to)?);
            let EdgeDocument { kind, weight, confidence, source, first_seen, last_seen, .. } = edge;
            let edge = Edge { kind, weight, confidence, source, first_seen, last_seen };
            topology.upsert_edge(from, to, edge)?;
        }
        topology.revision = topology.revision.max(document.revision);
        Ok(topology)
    }
}

impl From<&Topology> for TopologyDocument {
    fn from(topology: &Topology) -> Self {
        let name = |id| topology.name(id).unwrap_or_default().to_owned();
        let nodes = topology.nodes().map(|(_, node)| NodeDocument {
            name: node.name.clone(),
            kind: node.kind,
            last_seen: node.last_seen,
        });
        let edges = topology.edges().map(|(from, to, edge)| EdgeDocument {
            from: name(from),
            to: name(to),
            kind: edge.kind,
            weight: edge.weight,
            confidence: edge.confidence,
            source: edge.source.clone(),
            first_seen: edge.first_seen,
            last_seen: edge.last_seen,
        });
        TopologyDocument {
            nodes: nodes.collect(),
            edges: edges.collect(),
            revision: topology.revision(),
        }
    }
}

impl Serialize for Topology {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TopologyDocument::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Topology {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document = TopologyDocument::deserialize(deserializer)?;
        Topology::try_from(document).map_err(serde::de::Error::custom)
    }
}
