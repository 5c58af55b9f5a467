//! Tier 3: models of many series together.

mod eigen;
mod isolation_forest;
mod pca;

pub use isolation_forest::{IsolationForest, IsolationForestConfig, PackedForest, PackedNode};
pub use pca::{Pca, PcaConfig, Scaling};
