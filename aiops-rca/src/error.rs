//! What can go wrong in root cause analysis.

/// An error of `aiops-rca`. "Nothing explains it" is not one: that is a ranking whose `unknown`
/// leads.
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
    /// The parts of the input do not fit together.
    #[error("{what}: expected {expected}, got {got}")]
    Mismatch {
        /// Which parts.
        what: &'static str,
        /// What would fit.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// Fewer usable samples than the algorithm needs; gaps do not count.
    #[error("{what} needs {needed} samples without gaps, got {got}")]
    NotEnoughData {
        /// The algorithm.
        what: &'static str,
        /// How many it needs.
        needed: usize,
        /// How many there are.
        got: usize,
    },
    /// A matrix that must be inverted is singular: columns are constant or repeat each other.
    /// Remove them, or raise the ridge.
    #[error("{what} is singular; remove constant and repeated series or raise the ridge")]
    Singular {
        /// Which matrix.
        what: &'static str,
    },
    /// The vocabulary refused something.
    #[error(transparent)]
    Core(#[from] aiops_core::Error),
}

impl Error {
    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { field, reason: reason.into() }
    }
}

/// A result of `aiops-rca`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Checks that `value` is finite and within `low..=high`.
pub(crate) fn within(field: &'static str, value: f64, low: f64, high: f64) -> Result<()> {
    if !(value >= low && value <= high) {
        return Err(Error::config(field, format!("must be in {low}..={high}, got {value}")));
    }
    Ok(())
}
