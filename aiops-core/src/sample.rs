//! Samples, one at a time or as borrowed columns.

use crate::{Error, Result, SeriesId, Timestamp};

/// One observation of one series. A value that is not finite is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sample {
    /// When it was observed.
    pub time: Timestamp,
    /// What was observed; NaN for a gap.
    pub value: f64,
}

impl Sample {
    /// A sample.
    pub const fn new(time: Timestamp, value: f64) -> Self {
        Sample { time, value }
    }

    /// Whether there is no usable value.
    pub fn is_gap(&self) -> bool {
        !self.value.is_finite()
    }
}

/// Samples of many series as three borrowed columns of equal length.
///
/// Row `i` says that series `ids[i]` had `values[i]` at `times[i]`. A series may occur more than
/// once; rows of one series are in the order they are to be processed.
///
/// ```
/// use aiops_core::{SampleBatch, SeriesId, Timestamp};
/// let (ids, times, values) = ([SeriesId(7)], [Timestamp::from_secs(1)], [0.5]);
/// let batch = SampleBatch::new(&ids, &times, &values)?;
/// assert_eq!(batch.iter().next().map(|(id, sample)| (id.0, sample.value)), Some((7, 0.5)));
/// # Ok::<(), aiops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SampleBatch<'a> {
    ids: &'a [SeriesId],
    times: &'a [Timestamp],
    values: &'a [f64],
}

impl<'a> SampleBatch<'a> {
    /// A view of three columns.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when they differ in length.
    pub fn new(ids: &'a [SeriesId], times: &'a [Timestamp], values: &'a [f64]) -> Result<Self> {
        for (what, got) in [("times of a batch", times.len()), ("values of a batch", values.len())]
        {
            if got != ids.len() {
                return Err(Error::ShapeMismatch { what, expected: ids.len(), got });
            }
        }
        Ok(SampleBatch { ids, times, values })
    }

    /// The column of series.
    pub fn ids(&self) -> &'a [SeriesId] {
        self.ids
    }

    /// The column of times.
    pub fn times(&self) -> &'a [Timestamp] {
        self.times
    }

    /// The column of values.
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (SeriesId, Sample)> + 'a {
        let (times, values) = (self.times, self.values);
        self.ids.iter().enumerate().map(move |(i, &id)| (id, Sample::new(times[i], values[i])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_different_length_are_refused() {
        let error = SampleBatch::new(&[SeriesId(0)], &[], &[1.0]).unwrap_err();
        assert_eq!(error.to_string(), "times of a batch: expected 1 values, got 0");
    }
}
