//! Tier 3: models of many series together, and forests.

mod complete;
mod eigen;
mod half_space;
mod isolation_forest;
mod pca;
mod rcf;
mod tails;

pub(crate) use eigen::symmetric_eigen;
pub use half_space::{HalfSpaceTrees, HalfSpaceTreesConfig};
pub use isolation_forest::{IsolationForest, IsolationForestConfig, PackedForest, PackedNode};
pub use pca::{Pca, PcaConfig, Scaling};
pub use rcf::{RandomCutForest, RandomCutForestConfig};
pub use tails::{EmpiricalTails, EmpiricalTailsConfig, TailRule};
