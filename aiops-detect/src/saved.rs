//! Reading saved state from outside: every number is checked before it becomes state, because a
//! NaN that slips in here would stay in every later verdict.

use aiops_core::{SnapshotError, SnapshotReader};

use crate::Result;

/// Larger numbers are in no saved state, and could overflow where they are squared.
const LARGEST: f64 = 1e150;

/// A number of at most `limit` in size.
pub(crate) fn within(from: &mut SnapshotReader<'_>, what: &'static str, limit: f64) -> Result<f64> {
    let value = from.f64()?;
    if !(value.abs() <= limit) {
        return Err(invalid(what, value));
    }
    Ok(value)
}

/// A number of a size that the detectors keep.
pub(crate) fn finite(from: &mut SnapshotReader<'_>, what: &'static str) -> Result<f64> {
    within(from, what, LARGEST)
}

/// Such a number that is not negative.
pub(crate) fn not_negative(from: &mut SnapshotReader<'_>, what: &'static str) -> Result<f64> {
    let value = finite(from, what)?;
    if value < 0.0 {
        return Err(invalid(what, value));
    }
    Ok(value)
}

/// A value that no saved state of ours holds.
pub(crate) fn invalid(what: &'static str, value: impl std::fmt::Display) -> crate::Error {
    SnapshotError::Malformed(format!("{what} cannot be {value}")).into()
}
