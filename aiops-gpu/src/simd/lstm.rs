//! One LSTM step of a tile of series, on whatever lanes it is compiled for.
//!
//! Lanes are series: a register holds one number of `N` series, and a tile is `V` registers wide. For
//! each hidden unit the four gates of the whole tile stay in `4 · V` registers while the weights pass by
//! once, each of them used for `V` registers; the cell is finished before the next unit begins, so that
//! no gate ever reaches memory. On AVX2 with V = 3 that is twelve accumulators, three registers of `h`
//! and one of weights: all sixteen, and enough independent sums to hide the latency of the multiply-add.

#![allow(clippy::needless_range_loop, reason = "lanes of several columns go together")]

use super::{
    Simd,
    lanes::{Lanes, exp2},
    portable::Portable,
};
use crate::model::LstmWeights;

/// Weights as [`pack`] orders them, scaled for powers of two.
///
/// Rows of i, f and o are times -log2 e and those of g times -2 log2 e, so that sigmoid(x) = 1/(1+2^y)
/// and tanh(x) = (1-2^y)/(1+2^y) need no multiplication.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    hidden: usize,
    weights: Vec<f32>,
    readout: Vec<f32>,
    bias: f32,
    simd: Simd,
    /// No gate can leave the range in which powers of two and their products are exact, whatever the
    /// state, with inputs of the usual size: then nothing needs to be clamped.
    bounded: bool,
}

/// Inputs up to this size are usual; larger ones take the clamped path.
const USUAL_INPUT: f32 = 16.0;

/// The product of three `1 + 2^y` stays in the range of `f32` while the powers sum to less.
const LARGEST_POWER: f64 = 120.0;

/// The state of a tile: rows are hidden units, [`Packed::width`] floats each.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    /// Read, not written.
    pub(crate) h: &'a [f32],
    /// Replaced by the next.
    pub(crate) c: &'a mut [f32],
    /// Where the next goes. Where the mask is zero it keeps what it held.
    pub(crate) h_next: &'a mut [f32],
    /// `h` and `c` of the tile that comes next, to fetch ahead of time; empty when none does.
    pub(crate) ahead: [&'a [f32]; 2],
}

/// Registers of series in a tile.
const V: usize = 3;

/// Hidden units whose cells are finished together.
const GROUP: usize = 16;

/// Beyond this power the product of three `1 + 2^y` leaves the range of `f32`. A sigmoid is below
/// 2e-12 there.
const LIMIT: f32 = 39.0;

/// Gates i, f and o are negated, g is negated and doubled.
const SCALE: [f64; 4] = [-1.0, -1.0, -2.0, -1.0];

/// Weights in the order in which a step reads them: per hidden unit four biases, four input weights, then
/// four recurrent weights for each unit read; scaled for powers of e with `per_power` = 1, of two with
/// log2 e.
pub(crate) fn pack(weights: &LstmWeights, per_power: f64) -> Vec<f32> {
    let hidden = weights.hidden();
    let mut packed = Vec::with_capacity(4 * hidden * (hidden + 2));
    let scaled = |gate: usize, w: f64| (w * SCALE[gate] * per_power) as f32;
    for unit in 0..hidden {
        packed.extend((0..4).map(|gate| scaled(gate, weights.bias(gate, unit))));
        packed.extend((0..4).map(|gate| scaled(gate, weights.input(gate, unit))));
        for from in 0..hidden {
            packed.extend((0..4).map(|gate| scaled(gate, weights.recurrent(gate, unit, from))));
        }
    }
    packed
}

impl Packed {
    pub(crate) fn new(weights: &LstmWeights, simd: Simd) -> Self {
        let hidden = weights.hidden();
        let packed = pack(weights, std::f64::consts::LOG2_E);
        // Outputs of the layer lie within ±1.
        let largest = |gate: usize, unit: usize| {
            let recurrent: f64 = (0..hidden).map(|k| weights.recurrent(gate, unit, k).abs()).sum();
            let input = f64::from(USUAL_INPUT) * weights.input(gate, unit).abs();
            (weights.bias(gate, unit).abs() + input + recurrent)
                * -SCALE[gate]
                * std::f64::consts::LOG2_E
        };
        let bounded = (0..hidden).all(|unit| {
            let [i, f, g, o] = [0, 1, 2, 3].map(|gate| largest(gate, unit));
            i + f + g < LARGEST_POWER && o + f64::from(LIMIT) < LARGEST_POWER
        });
        let readout = weights.readout().to_vec();
        Packed { hidden, weights: packed, readout, bias: weights.readout_bias(), simd, bounded }
    }

    pub(crate) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Series in a tile.
    pub(crate) fn width(&self) -> usize {
        match self.simd {
            Simd::Portable => 12,
            Simd::Avx2 => 24,
            Simd::Avx512 => 48,
        }
    }

    /// One step: `x` and `out` hold an input and a prediction a lane. With a mask, lanes whose mask is
    /// zero (all bits clear; all set otherwise) keep their state.
    pub(crate) fn step(&self, tile: Tile<'_>, x: &[f32], mask: Option<&[f32]>, out: &mut [f32]) {
        let (width, size) = (self.width(), self.width() * self.hidden);
        assert!(tile.h.len() == size && tile.c.len() == size && tile.h_next.len() == size);
        assert!(x.len() == width && out.len() == width);
        assert!(mask.is_none_or(|mask| mask.len() == width));
        assert_eq!(self.weights.len(), 4 * self.hidden * (self.hidden + 2));
        assert_eq!(self.readout.len(), self.hidden);
        // SAFETY: the lengths that `step` accesses were checked above. `simd` came from the caller of
        // `new`, and only `Simd::available` hands out what this processor has; see `supported`.
        let bounded = self.bounded && x.iter().all(|x| x.abs() <= USUAL_INPUT);
        let m = mask.unwrap_or_default();
        unsafe {
            match (self.simd, mask.is_some(), bounded) {
                (Simd::Portable, false, _) => step::<Portable, false, false>(self, tile, x, m, out),
                (Simd::Portable, true, _) => step::<Portable, true, false>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx2, false, false) => avx2::<false, false>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx2, false, true) => avx2::<false, true>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx2, true, false) => avx2::<true, false>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx2, true, true) => avx2::<true, true>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx512, false, false) => avx512::<false, false>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx512, false, true) => avx512::<false, true>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx512, true, false) => avx512::<true, false>(self, tile, x, m, out),
                #[cfg(target_arch = "x86_64")]
                (Simd::Avx512, true, true) => avx512::<true, true>(self, tile, x, m, out),
                #[cfg(not(target_arch = "x86_64"))]
                _ => unreachable!("only x86-64 finds these instructions"),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const M: bool, const B: bool>(
    p: &Packed,
    t: Tile<'_>,
    x: &[f32],
    m: &[f32],
    out: &mut [f32],
) {
    // SAFETY: the caller checked the lengths, and that the processor has AVX2 and FMA.
    unsafe { step::<super::x86::Avx2, M, B>(p, t, x, m, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const M: bool, const B: bool>(
    p: &Packed,
    t: Tile<'_>,
    x: &[f32],
    m: &[f32],
    out: &mut [f32],
) {
    // SAFETY: the caller checked the lengths, and that the processor has AVX-512F.
    unsafe { step::<super::x86::Avx512, M, B>(p, t, x, m, out) }
}

/// # Safety
/// The processor has the instructions of `L`; with `BOUNDED` no power of two leaves the range of `exp2`; `V * L::N` is the width of `packed`; the slices have the
/// lengths that [`Packed::step`] checks (`mask` only where `MASKED`).
#[inline(always)]
unsafe fn step<L: Lanes, const MASKED: bool, const BOUNDED: bool>(
    packed: &Packed,
    tile: Tile<'_>,
    x: &[f32],
    mask: &[f32],
    out: &mut [f32],
) {
    // SAFETY: all pointers below stay within the slices whose lengths the caller checked: row `k` of
    // `h`, `c` and `h_next` starts at `k * width`, unit `j` of the weights at `j * 4 * (hidden + 2)`.
    unsafe {
        let width = L::N * V;
        let hidden = packed.hidden;
        let one = L::splat(1.0);
        let limit = L::splat(LIMIT);
        let twice = L::splat(-2.0 * std::f32::consts::LOG2_E);
        let mut input = [one; V];
        for (v, input) in input.iter_mut().enumerate() {
            *input = L::load(x.as_ptr().add(v * L::N));
        }
        let mut prediction = [L::splat(packed.bias); V];
        // Gates of a few units, then their cells in four passes of independent work: as one chain a unit
        // the latency of exponentials and divisions would show, which costs as much as the sums do.
        let mut gates = [const { std::mem::MaybeUninit::<L>::uninit() }; GROUP * 4 * V];
        let gates = gates.as_mut_ptr().cast::<L>();
        for first in (0..hidden).step_by(GROUP) {
            let units = GROUP.min(hidden - first);
            for unit in 0..units {
                let w = packed.weights.as_ptr().add((first + unit) * 4 * (hidden + 2));
                for state in tile.ahead {
                    let row = state.as_ptr().wrapping_add((first + unit) * width);
                    L::prefetch(row);
                    L::prefetch(row.wrapping_add(16));
                }
                let mut sums = [[one; V]; 4];
                for (gate, sums) in sums.iter_mut().enumerate() {
                    let (bias, weight) = (L::splat(*w.add(gate)), L::splat(*w.add(4 + gate)));
                    for v in 0..V {
                        sums[v] = weight.mul_add(input[v], bias);
                    }
                }
                L::accumulate(&mut sums, w.add(8), tile.h.as_ptr(), hidden);
                for (gate, sums) in sums.iter().enumerate() {
                    for (v, sum) in sums.iter().enumerate() {
                        // Gate by gate, the registers of all units side by side.
                        gates.add((gate * GROUP + unit) * V + v).write(*sum);
                    }
                }
            }
            let c_rows = tile.c.as_mut_ptr().add(first * width);
            let h_rows = tile.h_next.as_mut_ptr().add(first * width);
            if units == GROUP && BOUNDED {
                exp2::<L, false>(gates, 4 * GROUP * V, limit);
            } else if units == GROUP {
                exp2::<L, true>(gates, 4 * GROUP * V, limit);
            } else {
                for gate in 0..4 {
                    exp2::<L, true>(gates.add(gate * GROUP * V), units * V, limit);
                }
            }
            let gate = |gate: usize| gates.add(gate * GROUP * V);
            let (gate_i, gate_f, gate_g, gate_o) = (gate(0), gate(1), gate(2), gate(3));
            // c' = f c + i g, with one division.
            for r in 0..units * V {
                let (i, f, g) = (gate_i.add(r).read(), gate_f.add(r).read(), gate_g.add(r).read());
                let before = L::load(c_rows.add(r * L::N));
                let (not_f, not_ig) = (f.add(one), i.add(one).mul(g.add(one)));
                let top = before.mul_add(not_ig, one.sub(g).mul(not_f));
                let c = top.div(not_ig.mul(not_f));
                gate_g.add(r).write(c.mul(twice));
                let c = if MASKED {
                    L::masked(L::load(mask.as_ptr().add(r % V * L::N)), c, before)
                } else {
                    c
                };
                c.store(c_rows.add(r * L::N));
            }
            exp2::<L, true>(gate_g, units * V, limit);
            // h' = o tanh c', with one division.
            for unit in 0..units {
                let readout = L::splat(*packed.readout.as_ptr().add(first + unit));
                for v in 0..V {
                    let r = unit * V + v;
                    let (o, e) = (gate_o.add(r).read(), gate_g.add(r).read());
                    let next = one.sub(e).div(o.add(one).mul(e.add(one)));
                    prediction[v] = readout.mul_add(next, prediction[v]);
                    let to = h_rows.add(r * L::N);
                    let next = if MASKED {
                        L::masked(L::load(mask.as_ptr().add(v * L::N)), next, L::load(to))
                    } else {
                        next
                    };
                    next.store(to);
                }
            }
        }
        for (v, prediction) in prediction.iter().enumerate() {
            prediction.store(out.as_mut_ptr().add(v * L::N));
        }
    }
}
