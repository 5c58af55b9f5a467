//! What can make a whole body, or a configuration, unusable. What is wrong with one row is a
//! [`Rejection`](crate::Rejection), not an error.

use crate::Tally;

/// An error of `aiops-observe`; variants are named for what the caller can do.
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
    /// The body does not have the form of its format. Sending it again will not help (HTTP 400).
    #[error("malformed {format} at byte {offset}: {reason}")]
    Malformed {
        /// The format.
        format: &'static str,
        /// Where in the (decompressed) body it stopped making sense.
        offset: usize,
        /// What was expected, and what was found.
        reason: String,
        /// What had been delivered to the sink before the damage was met.
        before: Box<Tally>,
    },
    /// The body exceeds a limit that protects memory; send smaller ones, or raise it (HTTP 413).
    #[error("{format}: {what} of {got} exceeds the limit of {limit}")]
    TooLarge {
        /// The format.
        format: &'static str,
        /// What is limited.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// What the body has or declares to have.
        got: usize,
        /// What had been delivered to the sink before the limit was met.
        before: Box<Tally>,
    },
}

impl Error {
    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }

    /// What had been delivered to the sink before the error.
    pub fn before(&self) -> Option<&Tally> {
        match self {
            Error::Malformed { before, .. } | Error::TooLarge { before, .. } => Some(before),
            Error::InvalidConfig { .. } => None,
        }
    }
}

/// A result of `aiops-observe`.
pub type Result<T, E = Error> = std::result::Result<T, E>;
