//! What can go wrong in the service.

use std::path::PathBuf;

/// An error of the service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be used.
    #[error("{}: {reason}", file.display())]
    Config {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// The folder or the store of what outlives the process cannot be used.
    #[error("cannot keep data in {}: {reason}", folder.display())]
    Data {
        /// Which folder.
        folder: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The store failed.
    #[error("the store failed while {operation}")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// Why.
        source: aiops_core::StoreError,
    },
    /// Something that was kept cannot be read.
    #[error("what was kept cannot be read: {reason}")]
    Damaged {
        /// What, and why.
        reason: String,
    },
    /// A stage could not be built or refused its input.
    #[error("the stage {stage} failed: {reason}")]
    Stage {
        /// Which stage.
        stage: &'static str,
        /// Why.
        reason: String,
    },
    /// There is no such incident, or nothing is known of it yet that could be answered.
    #[error("{reason}")]
    Unknown {
        /// What was asked for.
        reason: String,
    },
    /// The network.
    #[error("cannot serve")]
    Io(#[from] std::io::Error),
}

impl Error {
    /// For `map_err` on what a stage answers.
    pub(crate) fn stage<E: std::fmt::Display>(stage: &'static str) -> impl Fn(E) -> Self {
        move |error| Error::Stage { stage, reason: error.to_string() }
    }
}

/// A result of the service.
pub type Result<T, E = Error> = std::result::Result<T, E>;
