//! What can go wrong with history.

/// An error of [`History`](super::History); variants are named for what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A setting is out of range; nothing was opened.
    #[error("invalid {field}: {reason}")]
    InvalidConfig {
        /// The setting.
        field: &'static str,
        /// What must hold, and what was given.
        reason: String,
    },
    /// A disk or an object store refused; what was accepted before is still there. Worth a retry.
    #[error("{operation} failed: {source}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// What the disk or the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file is not what its name and its checksum say.
    #[error("{name} is damaged: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What does not hold.
        reason: String,
    },
}

impl HistoryError {
    pub(super) fn failed<E>(operation: &'static str) -> impl Fn(E) -> HistoryError
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| HistoryError::Failed { operation, source: source.into() }
    }

    pub(super) fn damaged(name: &str, reason: impl std::fmt::Display) -> HistoryError {
        HistoryError::Damaged { name: name.to_owned(), reason: reason.to_string() }
    }
}
