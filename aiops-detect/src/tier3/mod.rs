//! Tier 3: models of many series together, and forests.

mod complete;
mod eigen;
mod half_space;
mod isolation_forest;
mod pca;
#[cfg(feature = "linfa")]
mod peers;
mod rcf;
mod tails;

pub(crate) use eigen::symmetric_eigen;
pub use half_space::{HalfSpaceTrees, HalfSpaceTreesConfig};
pub use isolation_forest::{IsolationForest, IsolationForestConfig, PackedForest, PackedNode};
pub use pca::{Pca, PcaConfig, Scaling};
#[cfg(feature = "linfa")]
#[cfg_attr(docsrs, doc(cfg(feature = "linfa")))]
pub use peers::{Peer, PeersConfig};
pub use rcf::{RandomCutForest, RandomCutForestConfig};
pub use tails::{EmpiricalTails, EmpiricalTailsConfig, TailRule};
