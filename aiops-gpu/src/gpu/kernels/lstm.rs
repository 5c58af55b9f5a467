//! The cell of an LSTM, and whole windows.

use cubecl::prelude::*;

use super::LIMIT;

/// The cell and the output of a unit after a step, from the sums of its gates and the cell before.
#[cube]
pub(super) fn cell(sums: Vector<f32, Const<4>>, before: f32) -> (f32, f32) {
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

/// Predictions after whole windows of `length` inputs, each from zero state.
#[cube(launch_unchecked)]
pub(in crate::gpu) fn windows(
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
