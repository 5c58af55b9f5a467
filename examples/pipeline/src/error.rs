//! What can go wrong in a replay.

use crate::recording::RecordingError;

/// Why a replay could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recording could not be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A series was refused by the normaliser.
    #[error("series {series} of series.csv.gz was refused: {reason:?}")]
    Series {
        /// The series.
        series: String,
        /// Why.
        reason: aiops_observe::Rejection,
    },
    /// A noun was misused.
    #[error(transparent)]
    Core(#[from] aiops_core::Error),
    /// The normaliser failed.
    #[error(transparent)]
    Observe(#[from] aiops_observe::Error),
    /// Detection failed.
    #[error(transparent)]
    Detect(#[from] aiops_detect::Error),
    /// No engine for the network.
    #[error(transparent)]
    Network(#[from] aiops_gpu::Error),
    /// Correlation failed.
    #[error(transparent)]
    Correlate(#[from] aiops_correlate::Error),
    /// Acting failed; nothing was touched.
    #[error(transparent)]
    Act(#[from] aiops_act::Error),
    /// The audit record does not hold together.
    #[error("the audit record is broken")]
    Audit(#[source] aiops_core::BoxError),
    /// The runbooks could not be read.
    #[error(transparent)]
    Runbooks(#[from] aiops_act::runbook::LibraryError),
    /// The operating system gave no runtime.
    #[error("no runtime for the action stage")]
    Runtime(#[source] std::io::Error),
    /// Ranking failed.
    #[error(transparent)]
    Rank(#[from] aiops_rca::Error),
}

/// A result of the pipeline.
pub type Result<T, E = Error> = std::result::Result<T, E>;
