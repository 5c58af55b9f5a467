//! Rows beside their own past, over the steps where everything is present.

use crate::linalg::{Symmetric, dot};
use crate::{Error, Result, parallel};
use aiops_core::Frame;

/// Columns of every row at every lag from 0 to `max_lag`, centred, over the same steps.
///
/// Column `row * (max_lag + 1) + lag`.
pub(super) struct Lagged {
    pub(super) max_lag: usize,
    pub(super) samples: usize,
    columns: Vec<Vec<f64>>,
}

impl Lagged {
    /// Leaves out the steps at which any row has a gap at any of the lags.
    pub(super) fn new(
        what: &'static str,
        data: &Frame,
        max_lag: usize,
        needed: usize,
    ) -> Result<Self> {
        let (rows, n) = (data.n_series(), data.n_steps());
        let gap = |t: usize| (0..rows).any(|row| !data.row(row)[t].is_finite());
        let whole: Vec<bool> = (0..n).map(|t| !gap(t)).collect();
        let steps: Vec<usize> =
            (max_lag..n).filter(|&t| whole[t - max_lag..=t].iter().all(|w| *w)).collect();
        if steps.len() < needed.max(2) {
            return Err(Error::NotEnoughData { what, needed, got: steps.len() });
        }
        let column = |index: usize| {
            let (row, lag) = (index / (max_lag + 1), index % (max_lag + 1));
            centred(steps.iter().map(|&t| data.row(row)[t - lag]).collect())
        };
        let columns = parallel::map_below(rows * (max_lag + 1), column);
        Ok(Lagged { max_lag, samples: steps.len(), columns })
    }

    pub(super) fn index(&self, row: usize, lag: usize) -> usize {
        row * (self.max_lag + 1) + lag
    }

    pub(super) fn column(&self, row: usize, lag: usize) -> &[f64] {
        &self.columns[self.index(row, lag)]
    }

    /// Whether a row never changes, as far as its offset lets f64 tell.
    pub(super) fn is_constant(&self, row: usize) -> bool {
        let column = self.column(row, 0);
        dot(column, column) <= 0.0
    }

    /// Inner products of all columns.
    pub(super) fn moments(&self) -> Symmetric {
        let columns = &self.columns;
        let n = columns.len();
        let row =
            |i: usize| -> Vec<f64> { (0..=i).map(|j| dot(&columns[i], &columns[j])).collect() };
        let lower = parallel::map_below(n, row);
        Symmetric::from_fn(n, |i, j| lower[i][j])
    }
}

/// Minus the mean; all zero when what remains is the rounding of a constant.
pub(super) fn centred(mut values: Vec<f64>) -> Vec<f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    let largest = values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    values.iter_mut().for_each(|v| *v -= mean);
    if values.iter().all(|v| v.abs() <= 1e-13 * largest) {
        values.fill(0.0);
    }
    values
}
