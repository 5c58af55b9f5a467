//! Running order statistics over the last `capacity` values, on slices that the caller owns, so that
//! a detector and a column bank run the very same code.

/// Where a sorted window stands: how full it is and which slot of the ring is the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cursor {
    pub(crate) len: u32,
    pub(crate) head: u32,
}

/// Takes `value` in and, when the window is full, the oldest out. Both slices have the capacity of
/// the window; the first `len` of `sorted` are kept in ascending order.
///
/// A binary search and one short move: O(log w) comparisons and at most w moved values, which for
/// windows of a few hundred is faster than any tree or pair of heaps, and exact.
pub(crate) fn push(ring: &mut [f64], sorted: &mut [f64], cursor: &mut Cursor, value: f64) {
    let value = value + 0.0; // -0.0 and 0.0 are one value, or the ring could not find it again
    let len = cursor.len as usize;
    if len < ring.len() {
        ring[len] = value;
        let at = sorted[..len].partition_point(|v| *v < value);
        sorted.copy_within(at..len, at + 1);
        sorted[at] = value;
        cursor.len += 1;
        return;
    }
    let head = cursor.head as usize;
    let old = std::mem::replace(&mut ring[head], value);
    cursor.head = ((head + 1) % ring.len()) as u32;
    let out = sorted.partition_point(|v| *v < old);
    let into = sorted.partition_point(|v| *v < value);
    if into > out {
        // Everything between the leaver and the newcomer moves one down.
        sorted.copy_within(out + 1..into, out);
        sorted[into - 1] = value;
    } else {
        sorted.copy_within(into..out, into + 1);
        sorted[into] = value;
    }
}

/// Median of an ascending slice; the mean of the middle two when their number is even.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let n = sorted.len();
    if n == 0 {
        return f64::NAN;
    }
    if n % 2 == 1 { sorted[n / 2] } else { midpoint(sorted[n / 2 - 1], sorted[n / 2]) }
}

/// Half-way between two values without overflow.
pub(crate) fn midpoint(a: f64, b: f64) -> f64 {
    0.5 * a + 0.5 * b
}

/// Median absolute deviation of an ascending slice from `centre`, in O(log n).
///
/// The deviations of the values below the centre, read downwards, and of those above, read
/// upwards, are two ascending lists; the median is selected from both without merging them.
pub(crate) fn median_absolute_deviation(sorted: &[f64], centre: f64) -> f64 {
    let n = sorted.len();
    if n == 0 {
        return f64::NAN;
    }
    let split = sorted.partition_point(|v| *v < centre);
    let below = |i: usize| centre - sorted[split - 1 - i];
    let above = |i: usize| sorted[split + i] - centre;
    let smallest = |k: usize| {
        // How many of the k smallest come from below: the least count that leaves no smaller one out.
        let (mut low, mut high) = (k.saturating_sub(n - split), k.min(split));
        while low < high {
            let take = (low + high) / 2;
            // take < high <= split, so below(take) exists; k - take > 0, so above(k-take-1) does too.
            if below(take) < above(k - take - 1) { low = take + 1 } else { high = take }
        }
        let next_below = if low < split { below(low) } else { f64::INFINITY };
        let next_above = if k - low < n - split { above(k - low) } else { f64::INFINITY };
        next_below.min(next_above)
    };
    if n % 2 == 1 { smallest(n / 2) } else { midpoint(smallest(n / 2 - 1), smallest(n / 2)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain_median(values: &mut [f64]) -> f64 {
        values.sort_by(f64::total_cmp);
        median(values)
    }

    proptest! {
        #[test]
        fn the_window_equals_sorting_its_last_values(
            values in prop::collection::vec(-20_i32..20, 1..200), capacity in 1_usize..12,
        ) {
            let mut ring = vec![0.0; capacity];
            let mut sorted = vec![0.0; capacity];
            let mut cursor = Cursor::default();
            for (i, value) in values.iter().enumerate() {
                push(&mut ring, &mut sorted, &mut cursor, f64::from(*value) * 0.5);
                let from = (i + 1).saturating_sub(capacity);
                let mut last: Vec<f64> =
                    values[from..=i].iter().map(|v| f64::from(*v) * 0.5).collect();
                let centre = plain_median(&mut last);
                let window = &sorted[..cursor.len as usize];
                prop_assert_eq!(window, &last[..]);
                prop_assert_eq!(median(window), centre);
                let mut deviations: Vec<f64> = last.iter().map(|v| (v - centre).abs()).collect();
                prop_assert_eq!(
                    median_absolute_deviation(window, centre),
                    plain_median(&mut deviations)
                );
            }
        }
    }
}
