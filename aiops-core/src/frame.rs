//! A frame: aligned series in rows, steps in columns.

#[cfg(feature = "arrow")]
mod arrow;
#[cfg(feature = "ndarray")]
mod ndarray;

use crate::{Error, Result, Sample, SeriesKey, Timestamp};
use std::time::Duration;

/// Aligned series: `n_series` rows of `n_steps` values, row-major, NaN where a value is missing.
///
/// Step `j` stands for the time `start + j * step`. Each row carries the key of its series.
///
/// ```
/// use aiops_core::{Frame, Labels, SeriesKey, Timestamp};
/// use std::time::Duration;
///
/// let key = SeriesKey::new("cpu", Labels::new());
/// let frame = Frame::new(vec![key], Timestamp::EPOCH, Duration::from_secs(1), vec![0.1, f64::NAN])?;
/// assert_eq!((frame.n_series(), frame.n_steps()), (1, 2));
/// assert!(frame.row(0)[1].is_nan(), "a gap");
/// # Ok::<(), aiops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    series: Vec<SeriesKey>,
    start: Timestamp,
    step: Duration,
    n_steps: usize,
    values: Vec<f64>,
}

impl Frame {
    /// A frame over row-major `values`, `values.len() / series.len()` steps long.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the values do not divide into the rows, and
    /// [`Error::InvalidConfig`] when the step is zero.
    pub fn new(
        series: Vec<SeriesKey>,
        start: Timestamp,
        step: Duration,
        values: Vec<f64>,
    ) -> Result<Self> {
        if step.is_zero() {
            return Err(Error::config("step", "must be longer than zero"));
        }
        let n_steps = values.len().checked_div(series.len()).unwrap_or(0);
        if n_steps * series.len() != values.len() {
            let expected = (n_steps + 1) * series.len();
            let got = values.len();
            return Err(Error::ShapeMismatch { what: "values of a frame", expected, got });
        }
        Ok(Frame { series, start, step, n_steps, values })
    }

    /// A frame of `n_steps` gaps for each series, to be filled through [`row_mut`](Self::row_mut).
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::LimitReached`] when the size overflows.
    pub fn gaps(
        series: Vec<SeriesKey>,
        start: Timestamp,
        step: Duration,
        n_steps: usize,
    ) -> Result<Self> {
        let limit = isize::MAX as usize / size_of::<f64>();
        let len = series.len().checked_mul(n_steps).filter(|&len| len <= limit);
        let len = len.ok_or(Error::LimitReached { what: "values of a frame", limit })?;
        let mut frame = Frame::new(series, start, step, vec![f64::NAN; len])?;
        frame.n_steps = n_steps;
        Ok(frame)
    }

    /// Puts irregular samples of each series on a grid.
    ///
    /// A sample belongs to the latest step at or before it; the last sample of a step wins, in the
    /// order given. Steps without a finite sample stay gaps: nothing is filled or interpolated.
    /// Samples outside the frame are left out and counted; the count is the second result.
    ///
    /// # Errors
    /// As [`gaps`](Self::gaps).
    pub fn align<S>(
        series: impl IntoIterator<Item = (SeriesKey, S)>,
        start: Timestamp,
        step: Duration,
        n_steps: usize,
    ) -> Result<(Self, usize)>
    where
        S: IntoIterator<Item = Sample>,
    {
        let (keys, samples): (Vec<_>, Vec<_>) = series.into_iter().unzip();
        let mut frame = Frame::gaps(keys, start, step, n_steps)?;
        let mut outside = 0;
        for (row, samples) in samples.into_iter().enumerate() {
            for sample in samples {
                match frame.step_of(sample.time) {
                    Some(j) if !sample.is_gap() => frame.row_mut(row)[j] = sample.value,
                    Some(_) => {}
                    None => outside += 1,
                }
            }
        }
        Ok((frame, outside))
    }

    /// The keys of the rows.
    pub fn series(&self) -> &[SeriesKey] {
        &self.series
    }

    /// The time of the first step.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The distance between steps.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// How many rows there are.
    pub fn n_series(&self) -> usize {
        self.series.len()
    }

    /// How many steps there are.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// One series.
    ///
    /// # Panics
    /// When `row >= n_series()`.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_steps..(row + 1) * self.n_steps]
    }

    /// One series, to be written.
    ///
    /// # Panics
    /// When `row >= n_series()`.
    pub fn row_mut(&mut self, row: usize) -> &mut [f64] {
        &mut self.values[row * self.n_steps..(row + 1) * self.n_steps]
    }

    /// The row of a series; linear in the number of rows.
    pub fn position(&self, key: &SeriesKey) -> Option<usize> {
        self.series.iter().position(|known| known == key)
    }

    /// The time of a step, which may lie beyond the frame.
    pub fn time(&self, step: usize) -> Timestamp {
        let nanos = self.step.as_nanos().saturating_mul(step as u128).min(i64::MAX as u128) as u64;
        self.start + Duration::from_nanos(nanos)
    }

    /// The step that `time` falls in: the latest one at or before it. `None` outside the frame.
    pub fn step_of(&self, time: Timestamp) -> Option<usize> {
        if time < self.start {
            return None;
        }
        let step = (time.since(self.start).as_nanos() / self.step.as_nanos()) as usize;
        (step < self.n_steps).then_some(step)
    }

    /// The steps `from..to` of every series.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the range is reversed or ends beyond the frame.
    pub fn slice(&self, from: usize, to: usize) -> Result<Frame> {
        if from > to || to > self.n_steps {
            let got = to.max(from);
            return Err(Error::ShapeMismatch { what: "steps", expected: self.n_steps, got });
        }
        let mut values = Vec::with_capacity((to - from) * self.n_series());
        for row in 0..self.n_series() {
            values.extend_from_slice(&self.row(row)[from..to]);
        }
        let (series, step) = (self.series.clone(), self.step);
        Ok(Frame { series, start: self.time(from), step, n_steps: to - from, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;

    fn key(name: &str) -> SeriesKey {
        SeriesKey::new(name, Labels::new())
    }

    #[test]
    fn aligning_fills_nothing_and_counts_what_is_outside() -> Result<()> {
        let at = |millis, value| Sample::new(Timestamp::from_millis(millis), value);
        let samples = [at(-1, 9.0), at(0, 1.0), at(900, 2.0), at(2_000, f64::NAN), at(3_000, 9.0)];
        let step = Duration::from_secs(1);
        let (frame, outside) = Frame::align([(key("a"), samples)], Timestamp::EPOCH, step, 3)?;
        assert_eq!(frame.row(0)[0], 2.0, "the last sample of a step wins");
        assert!(frame.row(0)[1].is_nan() && frame.row(0)[2].is_nan());
        assert_eq!(outside, 2);
        Ok(())
    }

    #[test]
    fn slices_keep_their_time() -> Result<()> {
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let step = Duration::from_secs(10);
        let frame = Frame::new(vec![key("a"), key("b")], Timestamp::from_secs(5), step, values)?;
        let slice = frame.slice(1, 3)?;
        assert_eq!(slice.start(), Timestamp::from_secs(15));
        assert_eq!(slice.values(), [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(slice.step_of(Timestamp::from_secs(34)), Some(1));
        assert_eq!(slice.step_of(Timestamp::from_secs(35)), None);
        assert!(frame.slice(2, 4).is_err() && frame.slice(2, 1).is_err());
        Ok(())
    }

    #[test]
    fn ragged_values_are_refused() {
        let made = Frame::new(
            vec![key("a"), key("b")],
            Timestamp::EPOCH,
            Duration::from_secs(1),
            vec![1.0, 2.0, 3.0],
        );
        assert!(matches!(made, Err(Error::ShapeMismatch { expected: 4, got: 3, .. })));
    }
}
