//! What can go wrong in the vocabulary itself. Stage crates have errors of their own.

use crate::{SnapshotError, Timestamp};

/// A boxed cause, shareable across threads.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// An error of `aiops-core`; variants are named for what the caller can do.
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
    /// Text or bytes do not have the form of `what`.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// The noun that was expected.
        what: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// Columns or rows that must agree in length do not.
    #[error("{what}: expected {expected} values, got {got}")]
    ShapeMismatch {
        /// Which dimension.
        what: &'static str,
        /// How many values there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// The same name was given twice where names must be unique.
    #[error("duplicate {what} {name:?}")]
    Duplicate {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A name that nothing is known by.
    #[error("unknown {what} {name:?}{}", hint.as_deref().map(|h| format!("; did you mean {h:?}?")).unwrap_or_default())]
    Unknown {
        /// The kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
        /// The closest name that exists, if one is close.
        hint: Option<String>,
    },
    /// A limit that protects memory was reached; raise it or send less.
    #[error("{what} limit of {limit} reached")]
    LimitReached {
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Time ran backwards where it must not.
    #[error("{what} at {time} is before {earliest}")]
    OutOfOrder {
        /// What arrived.
        what: &'static str,
        /// Its time.
        time: Timestamp,
        /// The earliest time that would have been accepted.
        earliest: Timestamp,
    },
    /// The incident table has no such transition; nothing changed.
    #[error("an incident that is {from} cannot {event}")]
    NoTransition {
        /// The state it is in.
        from: &'static str,
        /// What was asked of it.
        event: &'static str,
    },
    /// A snapshot could not be read; the state was left as it was.
    #[error("snapshot rejected")]
    Snapshot(#[from] SnapshotError),
}

impl Error {
    /// An out-of-range configuration value.
    pub fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }

    /// Input that does not have the form of `what`.
    pub fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Error::Malformed { what, reason: reason.into() }
    }
}

/// A result of `aiops-core`.
pub type Result<T, E = Error> = std::result::Result<T, E>;
