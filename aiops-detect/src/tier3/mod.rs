//! Tier 3: models of many series together, and forests.

use crate::{Error, Result};

mod complete;
mod eigen;
mod half_space;
mod isolation_forest;
mod pca;
#[cfg(feature = "linfa")]
mod peers;
mod rcf;
mod shingle;
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

/// The most that a series may take: a forest a series does not scale otherwise.
const MOST_BYTES: usize = 32 * 1024;

/// Refuses settings whose state is larger.
fn fits(bytes: usize) -> Result<()> {
    if bytes > MOST_BYTES {
        let reason = format!("{bytes} bytes a series, at most {MOST_BYTES}; take fewer trees");
        return Err(Error::config("trees", reason));
    }
    Ok(())
}
