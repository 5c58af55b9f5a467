//! The kernels: what a device does with a batch.
//!
//! A thread is a row. [`step`] is one fused pass over what is known of the row's series: standardise, take
//! in, run the LSTM on. [`judge`] walks the forest, lets the models vote and writes down what was flagged.
//! The others move state in and out.
//!
//! Everything is `u32` and `f32`, which every device has. Where `f32` is not enough, the mean of a series,
//! a number is the sum of two; where it could not be told from bits, a time, it is two words.

use cubecl::prelude::*;

/// Words that are known of a series besides the state of its LSTM, each in a column of its own.
pub(super) mod word {
    /// The mean is the sum of two: to single precision, and what is left.
    pub(crate) const MEAN: u32 = 0;
    pub(crate) const MEAN_BELOW: u32 = 1;
    pub(crate) const VARIANCE: u32 = 2;
    pub(crate) const ERROR: u32 = 3;
    /// Time of the last sample: 64 bits in ascending order.
    pub(crate) const LAST: u32 = 4;
    pub(crate) const LAST_HIGH: u32 = 5;
    pub(crate) const SEEN: u32 = 6;
    pub(crate) const GAPS: u32 = 7;
    /// Where in the ring the next deviation goes.
    pub(crate) const HEAD: u32 = 8;
    pub(crate) const PREDICTED: u32 = 9;
    /// The last eight deviations, in a ring.
    pub(crate) const RING: u32 = 10;
    /// How many words.
    pub(crate) const COUNT: u32 = 18;
}

/// Words of a row on its way in: series, time (two), value (two).
pub(super) const IN: u32 = 5;
/// Words of a row between the kernels, and of its columns when they come back: deviation, then score;
/// residual of the LSTM; what was expected (two); margin; what became of it.
pub(super) const OUT: u32 = 6;
/// Words of a flag: row, score, votes, what was expected (two).
pub(super) const FLAG: u32 = 5;

/// What became of a row.
pub(super) const SCORED: u32 = 0;
pub(super) const WARMING_UP: u32 = 1;
pub(super) const GAP: u32 = 2;
pub(super) const LATE: u32 = 3;

/// A value that is none. Tested as bits: on some devices a comparison with NaN is anything.
pub(super) const NO_VALUE: u32 = 0x7FC0_0000;

/// Neighbouring series whose state lies side by side, unit by unit, so that threads read it together.
pub(super) const TILE: u32 = 32;
/// Threads in a cube.
pub(super) const THREADS: u32 = 128;
/// Values in a ring.
const RUN: u32 = crate::RUN as u32;

/// Up to so many hidden units a thread's copy of them stays in registers.
pub(super) const UNROLLED: u32 = 64;

/// As in `rule.rs`.
const CLIP: f32 = crate::rule::CLIP as f32;
const LARGEST_DEVIATION: f32 = 1e6;
const LEAST_ERROR: f32 = 0.1;
/// The least scale of a series here.
pub(super) const LEAST_SCALE: f32 = 1e-18;

/// Beyond this a sigmoid is below 2e-12, and a product of three would leave the range.
const LIMIT: f32 = 27.0;

/// Ratio of the upper quartile of Student's t(4) to that of the normal, as in `aiops_detect::Tail`.
const QUARTILE_RATIO: f32 = 1.098_158;

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

/// -ln p of a deviation under Student's t with four degrees of freedom.
#[cube]
fn surprise(deviation: f32) -> f32 {
    let x = f32::abs(deviation) * QUARTILE_RATIO;
    let root = f32::sqrt(x * x + 4.0);
    let c = 4.0 / (root * (root + x));
    f32::max(-(2.0 * f32::ln(c) + f32::ln((3.0 - c) * 0.5)), 0.0)
}

/// The cell and the output of a unit after a step, from the sums of its gates and the cell before.
#[cube]
fn cell(sums: Vector<f32, Const<4>>, before: f32) -> (f32, f32) {
    // exp of the negated (doubled, for g) gates, as the weights are packed.
    let i = f32::exp(f32::min(sums[0], LIMIT));
    let f = f32::exp(f32::min(sums[1], LIMIT));
    let g = f32::exp(f32::min(sums[2], LIMIT));
    let o = f32::exp(f32::min(sums[3], LIMIT));
    let not_f = f + 1.0;
    let not_ig = (i + 1.0) * (g + 1.0);
    let c = (before * not_ig + (1.0 - g) * not_f) / (not_ig * not_f);
    let e = f32::exp(f32::min(-2.0 * c, LIMIT));
    (c, (1.0 - e) / ((o + 1.0) * (e + 1.0)))
}

/// The sum of the paths of this thread's run through all trees, in their order.
#[cube]
fn walk(
    run: &SharedMemory<f32>,
    nodes: &Array<u32>,
    paths: &Array<f32>,
    roots: &Array<u32>,
    trees: u32,
    depth: u32,
) -> f32 {
    let mut path = 0.0f32;
    for tree in 0..trees {
        let mut at = roots[tree as usize];
        for _level in 0..depth {
            let cut = f32::reinterpret(nodes[(2 * at) as usize]);
            let packed = nodes[(2 * at + 1) as usize];
            let value = run[((packed % RUN) * THREADS + UNIT_POS) as usize];
            at = packed / RUN + select(value >= cut, 1u32, 0u32);
        }
        path += paths[at as usize];
    }
    path
}

/// One step of every row's series: prologue and LSTM.
///
/// Rows `start..start + count` of `input` are of different series (or nothing is learnt), all of a page
/// that begins with the series `first`.
#[cube(launch_unchecked)]
pub(super) fn step(
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

/// What the models say of every row, and which of them are flagged.
///
/// `tables` holds the roots of the trees, then the thresholds of the path sums of usual runs in descending
/// order, then the surprise of each rank; `flagging` has a bit for each set of votes that is enough.
#[cube(launch_unchecked)]
pub(super) fn judge(
    input: &Array<u32>,
    columns: &Array<u32>,
    nodes: &Array<u32>,
    paths: &Array<f32>,
    tables: &Array<u32>,
    rows: &mut Array<u32>,
    counters: &mut Array<Atomic<u32>>,
    flags: &mut Array<u32>,
    total: u32,
    start: u32,
    count: u32,
    first: u32,
    capacity: u32,
    trees: u32,
    depth: u32,
    usual: u32,
    start_sum: f32,
    start_score: f32,
    start_surprise: f32,
    per_path: f32,
    per_excess: f32,
    weight_statistics: f32,
    weight_lstm: f32,
    weight_forest: f32,
    per_weight: f32,
    enough: f32,
    flagging: u32,
    most_flags: u32,
    #[comptime] lstm: bool,
    #[comptime] forest: bool,
    #[comptime] learnt: bool,
) {
    // A run a thread, each value in a bank of its own.
    let mut run = SharedMemory::<f32>::new((RUN * THREADS) as usize);
    if ABSOLUTE_POS as u32 >= count {
        terminate!();
    }
    let row = start + ABSOLUTE_POS as u32;
    let code = rows[(5 * total + row) as usize];
    if code != SCORED {
        counters[code as usize].fetch_add(1u32);
        rows[row as usize] = 0u32;
        rows[(2 * total + row) as usize] = NO_VALUE;
        rows[(4 * total + row) as usize] = NO_VALUE;
        terminate!();
    }
    let deviation = f32::reinterpret(rows[row as usize]);
    let mut votes = 0u32;
    let own = surprise(deviation);
    let mut sum = weight_statistics * own;
    if own >= enough {
        votes += 1u32;
    }
    if lstm {
        let own = surprise(f32::reinterpret(rows[(total + row) as usize]));
        sum += weight_lstm * own;
        if own >= enough {
            votes += 2u32;
        }
    }
    if forest {
        let series = input[row as usize] - first;
        let head = columns[(word::HEAD * capacity + series) as usize];
        run[UNIT_POS as usize] = f32::clamp(deviation, -CLIP, CLIP);
        for lag in 1..RUN {
            // The newest is in the ring already where it was learnt.
            let back = lag + comptime!(if learnt { 1u32 } else { 0u32 });
            let at = (head + 2 * RUN - back) % RUN;
            run[(lag * THREADS + UNIT_POS) as usize] =
                f32::reinterpret(columns[((word::RING + at) * capacity + series) as usize]);
        }
        let path = walk(&run, nodes, paths, tables, trees, depth);
        let own = RuntimeCell::<f32>::new(0.0f32);
        if path < start_sum {
            let score = f32::exp(-path * per_path);
            own.store(f32::min(start_surprise + (score - start_score) * per_excess, 708.0));
        } else {
            // How many usual runs score less, by halving.
            let mut low = 0u32;
            let mut high = usual;
            while low < high {
                let middle = (low + high) / 2;
                if path < f32::reinterpret(tables[(trees + middle) as usize]) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            own.store(f32::reinterpret(tables[(trees + usual + low) as usize]));
        }
        sum += weight_forest * own.read();
        if own.read() >= enough {
            votes += 4u32;
        }
    }
    let score = u32::reinterpret(f32::max(sum * per_weight, 0.0));
    rows[row as usize] = score;
    if (flagging >> votes) & 1u32 == 1u32 {
        // Flags are rare: an atomic for each costs less than agreeing with neighbours on one.
        let at = counters[0].fetch_add(1u32);
        if at < most_flags {
            flags[(FLAG * at) as usize] = row;
            flags[(FLAG * at + 1) as usize] = score;
            flags[(FLAG * at + 2) as usize] = votes;
            flags[(FLAG * at + 3) as usize] = rows[(2 * total + row) as usize];
            flags[(FLAG * at + 4) as usize] = rows[(3 * total + row) as usize];
        }
    }
}

/// Series of a page as they are before their first sample: those in `list`, or the first `count`.
#[cube(launch_unchecked)]
pub(super) fn clear(
    list: &Array<u32>,
    columns: &mut Array<u32>,
    h: &mut Array<f32>,
    c: &mut Array<f32>,
    start: u32,
    count: u32,
    first: u32,
    capacity: u32,
    fresh: f32,
    #[comptime] hidden: u32,
    #[comptime] all: bool,
) {
    if ABSOLUTE_POS as u32 >= count {
        terminate!();
    }
    let at = start + ABSOLUTE_POS as u32;
    let series = RuntimeCell::<u32>::new(at);
    if !all {
        series.store(list[at as usize] - first);
    }
    let series = series.read();
    for word in 0..word::COUNT {
        columns[(word * capacity + series) as usize] = 0u32;
    }
    columns[(word::ERROR * capacity + series) as usize] = u32::reinterpret(1.0f32);
    columns[(word::PREDICTED * capacity + series) as usize] = u32::reinterpret(fresh);
    let place = (series / TILE * hidden) * TILE + series % TILE;
    for unit in 0..hidden {
        h[(place + unit * TILE) as usize] = 0.0f32;
        c[(place + unit * TILE) as usize] = 0.0f32;
    }
}

/// Copies all that is known of the series in `list` out of a page, or in.
#[cube(launch_unchecked)]
pub(super) fn transfer(
    list: &Array<u32>,
    columns: &mut Array<u32>,
    h: &mut Array<f32>,
    c: &mut Array<f32>,
    outside: &mut Array<u32>,
    start: u32,
    count: u32,
    first: u32,
    capacity: u32,
    #[comptime] hidden: u32,
    #[comptime] out: bool,
) {
    if ABSOLUTE_POS as u32 >= count {
        terminate!();
    }
    let at = start + ABSOLUTE_POS as u32;
    let series = list[at as usize] - first;
    let base = at * (word::COUNT + 2 * hidden);
    for word in 0..word::COUNT {
        let here = (word * capacity + series) as usize;
        if out {
            outside[(base + word) as usize] = columns[here];
        } else {
            columns[here] = outside[(base + word) as usize];
        }
    }
    let place = (series / TILE * hidden) * TILE + series % TILE;
    for unit in 0..hidden {
        let here = (place + unit * TILE) as usize;
        let there = (base + word::COUNT + unit) as usize;
        if out {
            outside[there] = u32::reinterpret(h[here]);
            outside[there + hidden as usize] = u32::reinterpret(c[here]);
        } else {
            h[here] = f32::reinterpret(outside[there]);
            c[here] = f32::reinterpret(outside[there + hidden as usize]);
        }
    }
}

/// Predictions after whole windows of `length` inputs, each from zero state.
#[cube(launch_unchecked)]
pub(super) fn windows(
    input: &Array<f32>,
    weights: &Array<Vector<f32, Const<4>>>,
    readout: &Array<f32>,
    output: &mut Array<f32>,
    count: u32,
    length: u32,
    bias: f32,
    #[comptime] hidden: u32,
    #[comptime] unrolled: bool,
) {
    let window = ABSOLUTE_POS as u32;
    if window >= count {
        terminate!();
    }
    // Outputs before and after a step, in turn.
    let mut outputs = Array::<f32>::new((2 * hidden) as usize);
    let mut cells = Array::<f32>::new(hidden as usize);
    let mut own = Array::<f32>::new(if unrolled { hidden as usize } else { 1usize });
    for k in 0..hidden {
        outputs[k as usize] = 0.0f32;
        cells[k as usize] = 0.0f32;
    }
    let mut y = bias;
    for step in 0..length {
        let x = input[(window * length + step) as usize];
        let before = (step % 2) * hidden;
        let after = hidden - before;
        if unrolled {
            #[unroll]
            for k in 0..hidden {
                own[k as usize] = outputs[(before + k) as usize];
            }
        }
        y = bias;
        for unit in 0..hidden {
            let w = unit * (hidden + 2);
            let mut sums =
                weights[w as usize] + weights[(w + 1) as usize] * Vector::<f32, Const<4>>::new(x);
            if unrolled {
                #[unroll]
                for k in 0..hidden {
                    sums += weights[(w + 2 + k) as usize]
                        * Vector::<f32, Const<4>>::new(own[k as usize]);
                }
            } else {
                for k in 0..hidden {
                    sums += weights[(w + 2 + k) as usize]
                        * Vector::<f32, Const<4>>::new(outputs[(before + k) as usize]);
                }
            }
            let made = cell(sums, cells[unit as usize]);
            cells[unit as usize] = made.0;
            outputs[(after + unit) as usize] = made.1;
            y += readout[unit as usize] * made.1;
        }
    }
    output[window as usize] = y;
}

/// Sums of paths of runs that lie row by row.
#[cube(launch_unchecked)]
pub(super) fn runs(
    input: &Array<f32>,
    nodes: &Array<u32>,
    paths: &Array<f32>,
    roots: &Array<u32>,
    output: &mut Array<f32>,
    count: u32,
    trees: u32,
    depth: u32,
) {
    let mut run = SharedMemory::<f32>::new((RUN * THREADS) as usize);
    let row = ABSOLUTE_POS as u32;
    if row >= count {
        terminate!();
    }
    for lag in 0..RUN {
        run[(lag * THREADS + UNIT_POS) as usize] = input[(row * RUN + lag) as usize];
    }
    output[row as usize] = walk(&run, nodes, paths, roots, trees, depth);
}
