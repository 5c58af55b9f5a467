//! What the models say of rows, and the forest of runs alone.

use cubecl::prelude::*;

use super::{CLIP, FLAG, NO_VALUE, QUARTILE_RATIO, RUN, SCORED, THREADS, word};

/// -ln p of a deviation under Student's t with four degrees of freedom.
#[cube]
fn surprise(deviation: f32) -> f32 {
    let x = f32::abs(deviation) * QUARTILE_RATIO;
    let root = f32::sqrt(x * x + 4.0);
    let c = 4.0 / (root * (root + x));
    f32::max(-(2.0 * f32::ln(c) + f32::ln((3.0 - c) * 0.5)), 0.0)
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

/// What the models say of every row, and which of them are flagged.
///
/// `tables` holds the roots of the trees, then the thresholds of the path sums of usual runs in descending
/// order, then the surprise of each rank; `flagging` has a bit for each set of votes that is enough.
#[cube(launch_unchecked)]
pub(in crate::gpu) fn judge(
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

/// Sums of paths of runs that lie row by row.
#[cube(launch_unchecked)]
pub(in crate::gpu) fn runs(
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
