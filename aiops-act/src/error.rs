//! What can go wrong in this crate; a refused plan or a failed step is a result, not an error.

use aiops_core::StoreError;

use crate::plan::{PlanError, RunId};

/// An error of `aiops-act`; variants are named for what the caller can do.
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
    /// A runbook names an executor that the engine does not have.
    #[error("no executor is called {name:?}{}", hint.as_deref().map(|h| format!("; did you mean {h:?}?")).unwrap_or_default())]
    UnknownExecutor {
        /// The name in the runbook.
        name: String,
        /// The closest name that exists.
        hint: Option<String>,
    },
    /// No plan can be made.
    #[error("no plan can be made")]
    Plan(#[from] PlanError),
    /// There is no such run.
    #[error("no run has the id {0}")]
    UnknownRun(RunId),
    /// The run is past the point where this could matter; nothing changed.
    #[error("too late: {reason}")]
    TooLate {
        /// What has already happened.
        reason: String,
    },
    /// Another engine drives the run; leave it alone.
    #[error("run {0} is driven by another engine")]
    NotOurs(RunId),
    /// An active run for the same incident exists.
    #[error("incident already has the active run {0}")]
    AlreadyActive(RunId),
    /// The store failed. Nothing that was not durable was done.
    #[error("store failed while {operation}")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// Why.
        source: StoreError,
    },
    /// What the store holds cannot be read by this version, or was damaged.
    #[error("the store's {what} cannot be read: {reason}")]
    Damaged {
        /// Which record.
        what: String,
        /// Why.
        reason: String,
    },
    /// Trust that was not earned.
    #[error("not earned: {reason}")]
    NotEarned {
        /// What is missing.
        reason: String,
    },
    /// The engine is shutting down and starts nothing new.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// A result of `aiops-act`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Error {
        Error::InvalidConfig { field, reason: reason.into() }
    }

    pub(crate) fn store(operation: &'static str) -> impl FnOnce(StoreError) -> Error {
        move |source| Error::Store { operation, source }
    }
}
