//! Samples at their real times onto a grid of whole seconds.

/// Rows from `start_ms` to `end_ms`, both included, `step_ms` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Time of the first row in milliseconds.
    pub start_ms: i64,
    /// Time of the last row in milliseconds.
    pub end_ms: i64,
    /// Distance of two rows in milliseconds.
    pub step_ms: i64,
}

impl Grid {
    /// Times of the rows.
    pub fn times(self) -> impl Iterator<Item = i64> {
        (0..self.rows()).map(move |row| self.start_ms + row as i64 * self.step_ms)
    }

    /// Number of rows.
    pub fn rows(self) -> usize {
        usize::try_from((self.end_ms - self.start_ms) / self.step_ms + 1).unwrap_or(0)
    }

    /// Puts each sample into the first row that is not before it: a row holds what was known at
    /// its time and nothing from later. Scrapes come once a step but never exactly; where two fall
    /// into one row and the row before is empty, the earlier one steps back there if it is within
    /// a tenth of a step of it. Rows without a sample, and values that are not finite, are `None`.
    pub fn place(self, samples: &[(i64, f64)]) -> Vec<Option<f64>> {
        let mut cells: Vec<Option<f64>> = vec![None; self.rows()];
        let mut times = vec![i64::MIN; self.rows()];
        for &(time, value) in samples {
            let row = (time - self.start_ms + self.step_ms - 1).div_euclid(self.step_ms);
            let Some(row) = usize::try_from(row).ok().filter(|row| *row < cells.len()) else {
                continue;
            };
            if !value.is_finite() {
                continue;
            }
            let (held, held_at) = (cells[row], times[row]);
            if let (Some(held), Some(before)) = (held, row.checked_sub(1)) {
                let row_before_ms = self.start_ms + before as i64 * self.step_ms;
                if cells[before].is_none() && held_at - row_before_ms <= self.step_ms / 10 {
                    cells[before] = Some(held);
                }
            }
            cells[row] = Some(value);
            times[row] = time;
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { start_ms: 10_000, end_ms: 14_000, step_ms: 1_000 };

    #[test]
    fn a_sample_belongs_to_the_row_at_or_after_it() {
        let cells =
            GRID.place(&[(9_000, 0.0), (10_000, 1.0), (10_001, 2.0), (12_300, 3.0), (14_001, 4.0)]);
        assert_eq!(cells, [Some(1.0), Some(2.0), None, Some(3.0), None]);
        assert_eq!(GRID.times().collect::<Vec<_>>(), [10_000, 11_000, 12_000, 13_000, 14_000]);
    }

    #[test]
    fn a_scrape_that_came_a_little_late_keeps_its_second() {
        // The second scrape slipped over the full second, so the third shares its row.
        let cells = GRID.place(&[(10_990, 1.0), (12_010, 2.0), (12_990, 3.0)]);
        assert_eq!(cells, [None, Some(1.0), Some(2.0), Some(3.0), None]);
    }

    #[test]
    fn values_that_are_not_finite_are_gaps() {
        let cells = GRID.place(&[(11_000, f64::NAN), (12_000, f64::INFINITY)]);
        assert_eq!(cells, [None; 5]);
    }
}
