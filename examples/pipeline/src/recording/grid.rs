//! Which rows form one recording: a grid of time on which single rows may be wrong or missing.

use std::time::Duration;

use aiops_core::Timestamp;

use super::Flaw;

/// Rows within this time of the others are never far off, however few there are.
const NEAR: Duration = Duration::from_secs(3_600);
/// Rows may lie this many times as far from the middle as all of them would span without gaps.
const REACH: f64 = 10.0;

/// What is wrong with each row in the order of the file; `None` for one that is kept. The kept ones
/// ascend strictly and each has a step of its own.
///
/// A row far away from all others (measured by the median time and the median distance between
/// rows) is left out first: one wrong clock must not stretch a recording over a year. Of the others
/// the longest ascending sequence is kept, so that one row ahead of its time does not condemn all
/// that follow; of rows of the same time the first one counts. Time O(n log n).
pub(super) fn judge(times: &[Timestamp], step: Duration) -> Vec<Option<Flaw>> {
    let mut flaws = vec![None; times.len()];
    if times.is_empty() {
        return flaws;
    }
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let middle = sorted[sorted.len() / 2];
    let usual = median_distance(&sorted).unwrap_or(step).max(step);
    let reach = usual.as_secs_f64() * sorted.len() as f64 * REACH;
    let reach = reach.max(NEAR.as_secs_f64());
    let is_near = |time: Timestamp| time.seconds_after(middle).abs() <= reach;

    // Patience sorting: `tails[k]` is the row that ends the best ascending sequence of k + 1 rows.
    let mut tails: Vec<usize> = Vec::new();
    let mut before = vec![None; times.len()];
    for (row, &time) in times.iter().enumerate() {
        if !is_near(time) {
            flaws[row] = Some(Flaw::RowFarOff);
            continue;
        }
        let place = tails.partition_point(|&tail| times[tail] < time);
        before[row] = place.checked_sub(1).map(|shorter| tails[shorter]);
        match tails.get_mut(place) {
            // An equal time: the first row stays.
            Some(tail) if times[*tail] == time => {}
            Some(tail) => *tail = row,
            None => tails.push(row),
        }
    }
    let mut kept = vec![false; times.len()];
    let mut next = tails.last().copied();
    while let Some(row) = next {
        kept[row] = true;
        next = before[row];
    }

    let first = kept.iter().position(|kept| *kept).map(|row| times[row]).unwrap_or_default();
    let step_of = |time: Timestamp| time.since(first).as_nanos() / step.as_nanos().max(1);
    let mut last: Option<Timestamp> = None;
    for (row, &time) in times.iter().enumerate() {
        if flaws[row].is_some() {
            continue;
        }
        flaws[row] = match (kept[row], last) {
            (true, Some(last)) if step_of(time) == step_of(last) => Some(Flaw::RowDuplicated),
            (false, Some(last)) if time == last => Some(Flaw::RowDuplicated),
            (false, _) => Some(Flaw::RowOutOfOrder),
            (true, _) => {
                last = Some(time);
                None
            }
        };
    }
    flaws
}

/// The distance that half of the neighbours of an ascending sequence exceed, times that are equal
/// apart; `None` without two different times.
pub(super) fn median_distance(ascending: &[Timestamp]) -> Option<Duration> {
    let pairs = ascending.windows(2).map(|pair| pair[1].since(pair[0]));
    let mut distances: Vec<Duration> = pairs.filter(|distance| !distance.is_zero()).collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied()
}

/// Steps from the first of ascending times to the last.
pub(super) fn n_steps(ascending: &[Timestamp], step: Duration) -> usize {
    let (Some(first), Some(last)) = (ascending.first(), ascending.last()) else { return 0 };
    let steps = last.since(*first).as_nanos() / step.as_nanos().max(1);
    usize::try_from(steps).unwrap_or(usize::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    fn judged(seconds: &[i64]) -> Vec<Option<Flaw>> {
        let times: Vec<_> = seconds.iter().map(|s| Timestamp::from_secs(*s)).collect();
        judge(&times, STEP)
    }

    #[test]
    fn one_row_ahead_of_its_time_does_not_condemn_the_rest() {
        for wrong in [2_000, 40_000_000_000] {
            let mut seconds = vec![wrong];
            seconds.extend(0..100);
            let flaws = judged(&seconds);
            assert!(flaws[0].is_some(), "{wrong}");
            assert!(flaws[1..].iter().all(Option::is_none), "{wrong}");
        }
    }

    #[test]
    fn a_row_a_year_late_is_far_off_and_a_long_gap_is_not() {
        let mut seconds: Vec<i64> = (0..100).chain(200..300).collect();
        seconds.push(365 * 86_400);
        let flaws = judged(&seconds);
        assert_eq!(flaws[200], Some(Flaw::RowFarOff));
        assert!(flaws[..200].iter().all(Option::is_none));
    }

    #[test]
    fn the_first_of_equal_times_counts_and_what_goes_back_is_out_of_order() {
        use Flaw::{RowDuplicated, RowOutOfOrder};
        let flaws = judged(&[0, 1, 1, 0, 2]);
        assert_eq!(flaws, [None, None, Some(RowDuplicated), Some(RowOutOfOrder), None]);
        assert!(judged(&[]).is_empty());
    }
}
