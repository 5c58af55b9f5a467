//! Reading saved state from outside: every number is checked before it becomes state, because a
//! NaN that slips in here would stay in every later verdict.

use aiops_core::{SnapshotError, SnapshotReader, SnapshotWriter, Timestamp};

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

/// Writes a point in time.
pub(crate) fn time(out: &mut SnapshotWriter, time: Timestamp) {
    out.i64(time.as_nanos());
}

/// Reads what [`time`] wrote.
pub(crate) fn read_time(from: &mut SnapshotReader<'_>) -> Result<Timestamp> {
    Ok(Timestamp::from_nanos(from.i64()?))
}

/// Reads what [`SnapshotWriter::f64s`] wrote: at most `most` numbers, each of at most `limit` in size.
pub(crate) fn numbers(
    from: &mut SnapshotReader<'_>,
    what: &'static str,
    most: usize,
    limit: f64,
) -> Result<Vec<f64>> {
    let values = numbers_or_gaps(from, what, most, limit)?;
    if values.iter().any(|value| value.is_nan()) {
        return Err(invalid(what, f64::NAN));
    }
    Ok(values)
}

/// As [`numbers`], where NaN stands for a gap.
pub(crate) fn numbers_or_gaps(
    from: &mut SnapshotReader<'_>,
    what: &'static str,
    most: usize,
    limit: f64,
) -> Result<Vec<f64>> {
    let values = from.f64s()?;
    if values.len() > most {
        return Err(invalid(what, format_args!("{} numbers", values.len())));
    }
    match values.iter().find(|value| value.abs() > limit) {
        Some(value) => Err(invalid(what, value)),
        None => Ok(values),
    }
}

/// A value that no saved state of ours holds.
pub(crate) fn invalid(what: &'static str, value: impl std::fmt::Display) -> crate::Error {
    SnapshotError::Malformed(format!("{what} cannot be {value}")).into()
}
