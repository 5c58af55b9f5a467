//! What can go wrong in detection. Warming up, gaps and late samples are states of a
//! [`Verdict`](crate::Verdict), not errors.

use aiops_core::SnapshotError;

/// An error of `aiops-detect`; variants are named for what the caller can do.
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
    /// Fewer usable samples than the algorithm needs; gaps do not count.
    #[error("needs {needed} samples that are not gaps, got {got}")]
    NotEnoughData {
        /// How many it needs.
        needed: usize,
        /// How many there were.
        got: usize,
    },
    /// Columns or frames that must agree in shape do not; nothing was processed.
    #[error("{what}: expected {expected}, got {got}")]
    ShapeMismatch {
        /// Which dimension.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// Labels or scores from outside that no measure is defined for.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What was expected and what was found.
        reason: String,
    },
    /// A model could not be fitted to the series it was given, or asked what it was not fitted for; try a simpler
    /// one.
    #[error("{model} could not be fitted: {reason}")]
    NotFitted {
        /// Which model.
        model: &'static str,
        /// What it says.
        reason: String,
    },
    /// A noun of `aiops-core` refused what it was given.
    #[error(transparent)]
    Core(#[from] aiops_core::Error),
    /// A saved state could not be read; the detector or bank was left as it was.
    #[error("saved state rejected")]
    Snapshot(#[from] SnapshotError),
}

impl Error {
    /// An out-of-range configuration value.
    pub fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }
}

/// A result of `aiops-detect`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Checks that a number is finite and above zero; the negated form catches NaN.
pub(crate) fn positive(field: &'static str, value: f64) -> Result<()> {
    if !(value > 0.0 && value.is_finite()) {
        return Err(Error::config(field, format!("must be finite and > 0, got {value}")));
    }
    Ok(())
}

/// Checks that a number is finite and not negative.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<()> {
    if !(value >= 0.0 && value.is_finite()) {
        return Err(Error::config(field, format!("must be finite and >= 0, got {value}")));
    }
    Ok(())
}

/// Checks that a number is a probability strictly between zero and one.
pub(crate) fn probability(field: &'static str, value: f64) -> Result<()> {
    if !(value > 0.0 && value < 1.0) {
        return Err(Error::config(field, format!("must be between 0 and 1, got {value}")));
    }
    Ok(())
}

/// Checks that a count is at least `least`.
pub(crate) fn at_least(field: &'static str, value: usize, least: usize) -> Result<()> {
    if value < least {
        return Err(Error::config(field, format!("must be at least {least}, got {value}")));
    }
    Ok(())
}
