//! What can go wrong with what is known.

use aiops_core::StoreError;

/// An error of `aiops-knowledge`; variants are named for what the caller can do.
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
    /// A document that was handed in does not have the form that it should have; nothing was taken.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// Which form was expected.
        what: &'static str,
        /// Where it differs, and how.
        reason: String,
    },
    /// Nothing is known by this name.
    #[error("unknown {what} {name:?}")]
    Unknown {
        /// The kind of thing.
        what: &'static str,
        /// The name that was asked for.
        name: String,
    },
    /// Somebody else changed it first; read it again and decide again.
    #[error("{what} {name:?} was changed meanwhile")]
    Changed {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It may not be done; the reason says what would have to hold.
    #[error("{what} refused: {reason}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// What is missing.
        reason: String,
    },
    /// What is stored under a name is not what was stored there; a person must look.
    #[error("damaged {what} {name:?}: {reason}")]
    Damaged {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What does not hold.
        reason: String,
    },
    /// The store failed; `source` says why.
    #[error("the store failed while {operation}")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// Why.
        source: StoreError,
    },
}

impl Error {
    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }

    pub(crate) fn malformed(what: &'static str, reason: impl ToString) -> Self {
        Error::Malformed { what, reason: reason.to_string() }
    }

    /// For `map_err` on what a store answers.
    pub(crate) fn store(operation: &'static str) -> impl Fn(StoreError) -> Self {
        move |source| Error::Store { operation, source }
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
