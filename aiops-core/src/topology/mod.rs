//! The map of what depends on what, and who feels it when something breaks.

mod closure;
mod document;
mod graph;

pub use closure::{Closure, Components, Depends, Hops, Reached};
pub use document::{EdgeDocument, NodeDocument, TopologyDocument};
pub use graph::{Edge, EdgeKind, Node, NodeId, NodeKind, Topology};
