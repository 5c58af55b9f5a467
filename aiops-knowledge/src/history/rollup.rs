//! Five minutes in four numbers.

use super::table::Table;
use aiops_core::Timestamp;
use std::time::Duration;

/// What is left of the points of one window once the points themselves are gone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollup {
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// How many points there were; gaps do not count.
    pub count: u64,
}

impl Rollup {
    /// Of one value.
    pub fn of(value: f64) -> Self {
        Rollup { min: value, max: value, mean: value, count: 1 }
    }

    /// Of two windows as if they had been one. Exact but for the rounding of the mean.
    #[must_use]
    pub fn merge(self, other: Rollup) -> Self {
        let count = self.count + other.count;
        if count == 0 {
            return self;
        }
        let share = other.count as f64 / count as f64;
        Rollup {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            mean: self.mean + (other.mean - self.mean) * share,
            count,
        }
    }
}

/// The windows of points that are sorted by time; a window without points has no roll-up.
pub(super) fn roll(times: &[i64], values: &[f64], every: Duration, out: &mut Vec<(i64, Rollup)>) {
    let first = out.len();
    for (&time, &value) in times.iter().zip(values) {
        let window = Timestamp::from_nanos(time).window_start(every).as_nanos();
        match out[first..].last_mut() {
            Some((start, rollup)) if *start == window => *rollup = rollup.merge(Rollup::of(value)),
            _ => out.push((window, Rollup::of(value))),
        }
    }
}

/// The roll-ups of every series of a table.
pub(super) fn roll_table(points: &Table<f64>, every: Duration) -> Table<Rollup> {
    let mut rolled = Table { series: Vec::new(), times: Vec::new(), values: Vec::new() };
    let mut windows = Vec::new();
    for (run, times, values) in points.runs() {
        windows.clear();
        roll(times, values, every, &mut windows);
        let (starts, values): (Vec<_>, Vec<_>) = windows.iter().copied().unzip();
        rolled.push(run, &starts, &values);
    }
    rolled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_numbers_by_hand() {
        let secs = |s: i64| s * 1_000_000_000;
        let mut out = Vec::new();
        let times = [secs(10), secs(299), secs(300), secs(900)];
        roll(&times, &[1.0, 4.0, 7.0, -2.0], Duration::from_secs(300), &mut out);
        let first = Rollup { min: 1.0, max: 4.0, mean: 2.5, count: 2 };
        assert_eq!(out, [(0, first), (secs(300), Rollup::of(7.0)), (secs(900), Rollup::of(-2.0)),]);
        let merged = first.merge(Rollup::of(7.0));
        assert_eq!(merged, Rollup { min: 1.0, max: 7.0, mean: 4.0, count: 3 });
    }
}
