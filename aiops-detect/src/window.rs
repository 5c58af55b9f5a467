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
/// A search in two steps and one short move: at most w/8 + 32 comparisons and w moved values, which for
/// windows of a few hundred is faster than any tree or pair of heaps, and exact. What costs most are
/// branches that no processor can foresee, so there are none but those within the move.
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
    cursor.head = if head + 1 == ring.len() { 0 } else { cursor.head + 1 };
    let (out, into) = ranks(sorted, old, value);
    // Everything between the leaver and the newcomer moves one down, or one up.
    let down = into > out;
    let from = if down { out + 1 } else { into };
    let to = if down { out } else { into + 1 };
    let moved = if down { into - out - 1 } else { out - into };
    sorted.copy_within(from..from + moved, to);
    sorted[if down { into - 1 } else { into }] = value;
}

/// How many of `sorted` are less than `a`, and how many less than `b`: whole blocks by their last
/// value, then one block value by value. Counting instead of branching, for both at once.
#[inline(always)]
fn ranks(sorted: &[f64], a: f64, b: f64) -> (usize, usize) {
    const BLOCK: usize = 16;
    let (mut blocks_a, mut blocks_b) = (0, 0);
    for block in sorted.chunks_exact(BLOCK) {
        blocks_a += usize::from(block[BLOCK - 1] < a);
        blocks_b += usize::from(block[BLOCK - 1] < b);
    }
    let within = |blocks: usize, value: f64| {
        let from = blocks * BLOCK;
        let less = |block: &[f64]| block.iter().map(|v| u64::from(*v < value)).sum::<u64>();
        // The length of a whole block is a constant, which makes it a few vector instructions.
        let count = match sorted.get(from..from + BLOCK) {
            Some(block) => less(block),
            None => less(&sorted[from..]),
        };
        from + count as usize
    };
    (within(blocks_a, a), within(blocks_b, b))
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
pub(crate) fn median_absolute_deviation(sorted: &[f64], centre: f64) -> f64 {
    median_absolute_deviation_near(sorted, centre, &mut 0)
}

/// The same, where `nearest` is what it was for a slice that differs in a value or two: O(1) as long
/// as the values nearest to the centre begin within a few places of it.
///
/// The values nearest to the centre are a run of the slice, and the next one on either side is the
/// median of the deviations. A run is too far left as long as its first value is farther from the
/// centre than the first one behind it, which is true up to one place and false from there on.
pub(crate) fn median_absolute_deviation_near(
    sorted: &[f64],
    centre: f64,
    nearest: &mut u32,
) -> f64 {
    const TRIED: usize = 8;
    let n = sorted.len();
    if n == 0 {
        return f64::NAN;
    }
    let run = (n - 1) / 2;
    let places = n - run;
    let too_far_left = |first: f64, behind: f64| centre - first > behind - centre;
    let mut found = None;
    if places >= TRIED {
        // Eight places around the last one at once; what they say together holds for all others.
        let from = (*nearest as usize).saturating_sub(TRIED / 2).min(places - TRIED);
        let firsts = &sorted[from..from + TRIED];
        let behind = &sorted[from + run..from + run + TRIED];
        let pairs = firsts.iter().zip(behind);
        let count = pairs.map(|(a, b)| u64::from(too_far_left(*a, *b))).sum::<u64>() as usize;
        let not_before = count > 0 || from == 0;
        let not_behind = count < TRIED || from == places - TRIED;
        found = (not_before && not_behind).then_some(from + count);
    }
    let start = found.unwrap_or_else(|| {
        let (mut low, mut high) = (0, places);
        while low < high {
            let at = (low + high) / 2;
            if too_far_left(sorted[at], sorted[at + run]) { low = at + 1 } else { high = at }
        }
        low
    });
    *nearest = start as u32;
    let off = |i: usize| sorted.get(i).map_or(f64::INFINITY, |v| (v - centre).abs());
    // Places before the first wrap around to where nothing is.
    let (left, right) = (off(start.wrapping_sub(1)), off(start + run));
    if n % 2 == 1 {
        return left.min(right);
    }
    let next = left.max(right).min(off(start.wrapping_sub(2))).min(off(start + run + 1));
    midpoint(left.min(right), next)
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
            values in prop::collection::vec(-20_i32..20, 1..300), capacity in 1_usize..70, fine in any::<bool>(),
        ) {
            let mut ring = vec![0.0; capacity];
            let mut sorted = vec![0.0; capacity];
            let (mut cursor, mut nearest) = (Cursor::default(), 0);
            // Ties and steep sides, or hardly any ties.
            let value = |i: usize, v: i32| if fine { (f64::from(v) + 0.001 * i as f64).exp() } else { f64::from(v) * 0.5 };
            for (i, v) in values.iter().enumerate() {
                push(&mut ring, &mut sorted, &mut cursor, value(i, *v));
                let from = (i + 1).saturating_sub(capacity);
                let mut last: Vec<f64> = (from..=i).map(|j| value(j, values[j])).collect();
                let centre = plain_median(&mut last);
                let window = &sorted[..cursor.len as usize];
                prop_assert_eq!(window, &last[..]);
                prop_assert_eq!(median(window), centre);
                let mut deviations: Vec<f64> = last.iter().map(|v| (v - centre).abs()).collect();
                let deviation = plain_median(&mut deviations);
                prop_assert_eq!(median_absolute_deviation(window, centre), deviation);
                let near = median_absolute_deviation_near(window, centre, &mut nearest);
                prop_assert_eq!(near, deviation);
            }
        }
    }
}
