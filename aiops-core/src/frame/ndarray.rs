//! Conversions to and from `ndarray` 0.17.

use super::Frame;
use crate::{Error, Result, SeriesKey, Timestamp};
use std::time::Duration;

#[cfg_attr(docsrs, doc(cfg(feature = "ndarray")))]
impl Frame {
    /// A view of the values, `[n_series x n_steps]`; nothing is copied.
    pub fn as_array(&self) -> ::ndarray::ArrayView2<'_, f64> {
        let shape = (self.n_series(), self.n_steps);
        match ::ndarray::ArrayView2::from_shape(shape, &self.values) {
            Ok(view) => view,
            Err(_) => unreachable!("a frame holds n_series x n_steps values"),
        }
    }

    /// A frame over an array of shape `[n_series x n_steps]`; copied only when the array is not in
    /// standard layout.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when the rows are not as many as the keys, and those of
    /// [`new`](Self::new).
    pub fn from_array(
        series: Vec<SeriesKey>,
        start: Timestamp,
        step: Duration,
        array: ::ndarray::Array2<f64>,
    ) -> Result<Self> {
        let (rows, n_steps) = array.dim();
        if rows != series.len() {
            let expected = series.len();
            return Err(Error::ShapeMismatch { what: "rows of an array", expected, got: rows });
        }
        let values = if array.is_standard_layout() {
            let (values, offset) = array.into_raw_vec_and_offset();
            match offset {
                None | Some(0) if values.len() == rows * n_steps => values,
                _ => values[offset.unwrap_or(0)..][..rows * n_steps].to_vec(),
            }
        } else {
            array.iter().copied().collect()
        };
        let mut frame = Frame::new(series, start, step, values)?;
        frame.n_steps = n_steps;
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Labels;

    #[test]
    fn there_and_back_in_any_layout() -> Result<()> {
        let keys = vec![SeriesKey::new("a", Labels::new()), SeriesKey::new("b", Labels::new())];
        let values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let step = Duration::from_secs(1);
        let frame = Frame::new(keys.clone(), Timestamp::EPOCH, step, values)?;
        assert_eq!(frame.as_array()[(1, 0)], 4.0);
        let columns_first = frame.as_array().t().to_owned().reversed_axes();
        for array in [frame.as_array().to_owned(), columns_first] {
            let back = Frame::from_array(keys.clone(), Timestamp::EPOCH, step, array)?;
            assert_eq!(back, frame);
        }
        let array = frame.as_array().to_owned();
        assert!(Frame::from_array(keys[..1].to_vec(), Timestamp::EPOCH, step, array).is_err());
        Ok(())
    }
}
