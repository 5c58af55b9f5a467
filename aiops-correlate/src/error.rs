//! What can go wrong; "held" and "suppressed" are results, not errors.

use aiops_core::SnapshotError;

/// An error of `aiops-correlate`; variants are named for what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration value is out of range; nothing was built.
    #[error("invalid {field}: {reason}")]
    InvalidConfig {
        /// The configuration field.
        field: &'static str,
        /// What must hold, and what was given.
        reason: String,
    },
    /// Nothing is known by this id; it may have been forgotten after the retention time.
    #[error("unknown {what} {id}")]
    Unknown {
        /// The kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The request makes no sense for the incident as it stands; nothing changed.
    #[error("cannot {what}: {reason}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// Text does not have the form of `what`.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// A snapshot could not be restored; the state is as before.
    #[error("snapshot rejected")]
    Snapshot(#[from] SnapshotError),
}

impl Error {
    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }
}

/// A result of `aiops-correlate`.
pub type Result<T, E = Error> = std::result::Result<T, E>;
