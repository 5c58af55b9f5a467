//! What can go wrong. Gaps, late rows and warming up are counted results, not errors.

use std::time::Duration;

use aiops_core::SnapshotError;

use crate::EngineKind;

/// An error of `aiops-gpu`; variants are named for what the caller can do.
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
    /// Columns that must agree in length do not, or a slot was never registered; nothing was processed.
    #[error("{what}: expected {expected}, got {got}")]
    ShapeMismatch {
        /// Which column.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Weights that are no model: wrong shapes, names or numbers. The engine keeps the model it had.
    #[error("weights rejected: {reason}")]
    Weights {
        /// What was expected and what was found.
        reason: String,
    },
    /// The engine cannot hold so many series; use another, or several.
    #[error("room for {limit} series, {wanted} wanted")]
    Full {
        /// What fits.
        limit: usize,
        /// What was asked for.
        wanted: usize,
    },
    /// No such device or driver here, or it cannot be used; another engine can.
    #[error("{engine} is not available: {reason}")]
    Unavailable {
        /// The engine that was asked for.
        engine: EngineKind,
        /// What was found missing.
        reason: String,
    },
    /// The device answered with an error and may be lost; the batch was not processed.
    #[error("{engine} failed: {reason}")]
    Device {
        /// The engine that failed.
        engine: EngineKind,
        /// What it said.
        reason: String,
    },
    /// No result within the deadline. It may still come; ask again or give the batch to another engine.
    #[error("{engine} did not answer within {waited:?}")]
    DeadlineMissed {
        /// The engine that was asked.
        engine: EngineKind,
        /// How long was waited.
        waited: Duration,
    },
    /// The ticket is not of this engine, or its result was already taken.
    #[error("no batch with ticket {0} is in flight")]
    UnknownTicket(u64),
    /// A saved state could not be read; the engine was left as it was.
    #[error("saved state rejected")]
    Snapshot(#[from] SnapshotError),
    /// Text or bytes of a model file could not be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// An out-of-range configuration value.
    pub fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }

    pub(crate) fn weights(reason: impl Into<String>) -> Self {
        Error::Weights { reason: reason.into() }
    }
}

/// A result of `aiops-gpu`.
pub type Result<T, E = Error> = std::result::Result<T, E>;
