//! What is known of a series, one sample on: prologue and LSTM.

use cubecl::prelude::*;

use super::{
    CLIP, GAP, LARGEST_DEVIATION, LATE, LEAST_ERROR, LEAST_SCALE, NO_VALUE, RUN, SCORED, TILE,
    WARMING_UP, lstm::cell, word,
};

/// Two numbers whose sum is `a + b`, the first of them to single precision.
///
/// `(a + b) - a` is `b` to a compiler that reassociates, and then the second would always be zero. What
/// went through integers cannot be simplified so.
#[cube]
fn two_sum(a: f32, b: f32) -> (f32, f32) {
    let high = f32::reinterpret(u32::reinterpret(a + b) & 0xFFFF_FFFE_u32);
    let below = (a - high) + b;
    (high, below)
}

/// One step of every row's series: prologue and LSTM.
///
/// Rows `start..start + count` of `input` are of different series (or nothing is learnt), all of a page
/// that begins with the series `first`.
#[cube(launch_unchecked)]
pub(in crate::gpu) fn step(
    input: &Array<u32>,
    columns: &mut Array<u32>,
    h: &mut Array<f32>,
    c: &mut Array<f32>,
    weights: &Array<Vector<f32, Const<4>>>,
    readout: &Array<f32>,
    rows: &mut Array<u32>,
    total: u32,
    start: u32,
    count: u32,
    first: u32,
    capacity: u32,
    alpha: f32,
    warm_up: u32,
    margin: f32,
    bias: f32,
    #[comptime] hidden: u32,
    #[comptime] unrolled: bool,
    #[comptime] learn: bool,
) {
    if ABSOLUTE_POS as u32 >= count {
        terminate!();
    }
    let row = start + ABSOLUTE_POS as u32;
    let series = input[row as usize] - first;
    let time = input[(total + row) as usize];
    let time_high = input[(2 * total + row) as usize];
    let bits = input[(3 * total + row) as usize];
    let value = f32::reinterpret(bits);
    let value_below = f32::reinterpret(input[(4 * total + row) as usize]);

    let last = columns[(word::LAST * capacity + series) as usize];
    let last_high = columns[(word::LAST_HIGH * capacity + series) as usize];
    let late = time_high < last_high || (time_high == last_high && time <= last);
    let gap = bits == NO_VALUE;
    let code = RuntimeCell::<u32>::new(SCORED);
    if late {
        code.store(LATE);
    } else {
        if learn {
            columns[(word::LAST * capacity + series) as usize] = time;
            columns[(word::LAST_HIGH * capacity + series) as usize] = time_high;
        }
        if gap {
            code.store(GAP);
            if learn {
                let gaps = columns[(word::GAPS * capacity + series) as usize];
                columns[(word::GAPS * capacity + series) as usize] =
                    select(gaps == 0xFFFF_FFFF_u32, gaps, gaps + 1);
            }
        }
    }
    if late || gap {
        rows[row as usize] = 0u32;
        rows[(5 * total + row) as usize] = code.read();
        terminate!();
    }

    let seen = columns[(word::SEEN * capacity + series) as usize];
    let mean = f32::reinterpret(columns[(word::MEAN * capacity + series) as usize]);
    let mean_below = f32::reinterpret(columns[(word::MEAN_BELOW * capacity + series) as usize]);
    let variance = f32::reinterpret(columns[(word::VARIANCE * capacity + series) as usize]);
    let error = f32::reinterpret(columns[(word::ERROR * capacity + series) as usize]);
    let predicted = f32::reinterpret(columns[(word::PREDICTED * capacity + series) as usize]);

    // Exact where the two are close, and rounded to its own size where they are not.
    let distance = (value - mean) + (value_below - mean_below);
    let scale = f32::max(f32::max(f32::sqrt(variance), 1e-12 * f32::abs(mean)), LEAST_SCALE);
    let far = f32::clamp(distance / scale, -LARGEST_DEVIATION, LARGEST_DEVIATION);
    let deviation = select(seen == 0u32, 0.0f32, far);
    let error_scale = f32::max(f32::sqrt(error), LEAST_ERROR);

    // What `judge` needs, before anything is learnt.
    let usual = RuntimeCell::<f32>::new(margin * scale);
    let residual = RuntimeCell::<f32>::new(0.0f32);
    let expected = RuntimeCell::<f32>::new(mean);
    let expected_below = RuntimeCell::<f32>::new(mean_below);
    if hidden > 0 {
        let sum = two_sum(mean, scale * predicted);
        expected.store(sum.0);
        expected_below.store(sum.1 + mean_below);
        residual.store((deviation - predicted) / error_scale);
        usual.store(margin * scale * error_scale);
    }
    rows[row as usize] = u32::reinterpret(deviation);
    rows[(total + row) as usize] = u32::reinterpret(residual.read());
    rows[(2 * total + row) as usize] = u32::reinterpret(expected.read());
    rows[(3 * total + row) as usize] = u32::reinterpret(expected_below.read());
    rows[(4 * total + row) as usize] = u32::reinterpret(usual.read());
    rows[(5 * total + row) as usize] = select(seen < warm_up, WARMING_UP, SCORED);

    if learn {
        let rate = f32::max(alpha, 1.0 / (f32::cast_from(seen) + 1.0));
        if hidden > 0 {
            // One anomaly must not blind the series to the next.
            let most = CLIP * error_scale;
            let off = f32::clamp(deviation - predicted, -most, most);
            columns[(word::ERROR * capacity + series) as usize] =
                u32::reinterpret(error + rate * (off * off - error));
        }
        let most = CLIP * scale;
        let bounded = f32::clamp(distance, -most, most);
        let way = select(seen >= warm_up, bounded, distance);
        let next = two_sum(mean, mean_below + rate * way);
        // The first value is the mean, to the last bit.
        columns[(word::MEAN * capacity + series) as usize] =
            u32::reinterpret(select(seen == 0u32, value, next.0));
        columns[(word::MEAN_BELOW * capacity + series) as usize] =
            u32::reinterpret(select(seen == 0u32, value_below, next.1));
        columns[(word::VARIANCE * capacity + series) as usize] =
            u32::reinterpret((1.0 - rate) * (variance + rate * way * way));
        columns[(word::SEEN * capacity + series) as usize] =
            select(seen == 0xFFFF_FFFF_u32, seen, seen + 1);
        let x = f32::clamp(deviation, -CLIP, CLIP);
        let head = columns[(word::HEAD * capacity + series) as usize];
        columns[((word::RING + head) * capacity + series) as usize] = u32::reinterpret(x);
        columns[(word::HEAD * capacity + series) as usize] = (head + 1) % RUN;

        if hidden > 0 {
            let place = (series / TILE * hidden) * TILE + series % TILE;
            // All of h before any of it changes: in registers, where the loops over it are unrolled.
            let mut own = Array::<f32>::new(hidden as usize);
            #[unroll(unrolled)]
            for k in 0..hidden {
                own[k as usize] = h[(place + k * TILE) as usize];
            }
            let mut y = bias;
            for unit in 0..hidden {
                let w = unit * (hidden + 2);
                let mut sums = weights[w as usize]
                    + weights[(w + 1) as usize] * Vector::<f32, Const<4>>::new(x);
                #[unroll(unrolled)]
                for k in 0..hidden {
                    sums += weights[(w + 2 + k) as usize]
                        * Vector::<f32, Const<4>>::new(own[k as usize]);
                }
                let at = (place + unit * TILE) as usize;
                let after = cell(sums, c[at]);
                c[at] = after.0;
                h[at] = after.1;
                y += readout[unit as usize] * after.1;
            }
            columns[(word::PREDICTED * capacity + series) as usize] = u32::reinterpret(y);
        }
    }
}
