//! The few operations on a vector of `f32` that the kernels need.

#![allow(clippy::needless_range_loop, reason = "lanes of several columns go together")]

/// A vector of `f32`.
///
/// # Safety
/// The methods may execute instructions of the implementing type's instruction set: callers run
/// inside a function compiled for that set, on a processor that was asked whether it has it. `load`
/// and `store` access `N` floats at the pointer, which need no alignment.
pub(super) trait Lanes: Copy {
    /// How many lanes.
    const N: usize;
    /// Registers that an inner loop of the forest takes at a time: as measured.
    const AT_A_TIME: usize = 1;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `self · factor + term`, rounded once where the processor can.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// Each lane moved into `-limit..=limit`; NaN becomes one of the two.
    unsafe fn clamp(self, limit: Self) -> Self;
    /// Multiplies by two to the power that the low bits of `shifted` hold, see [`exp2`].
    unsafe fn times_power(self, shifted: Self) -> Self;
    /// Where `self >= cut`, `yes`; elsewhere `no`. Not for NaN.
    unsafe fn choose(self, cut: Self, yes: Self, no: Self) -> Self;
    /// Where `mask` is not zero (all bits set, or none), `yes`; elsewhere `no`.
    unsafe fn masked(mask: Self, yes: Self, no: Self) -> Self;

    /// Asks for a cache line that will be needed soon. Any address is allowed.
    #[inline(always)]
    unsafe fn prefetch(_line: *const f32) {}

    /// See [`accumulate`], which this is unless an instruction set has a better way.
    #[inline(always)]
    unsafe fn accumulate(
        sums: &mut [[Self; 3]; 4],
        weights: *const f32,
        row: *const f32,
        rows: usize,
    ) {
        // SAFETY: the caller vouches for what `accumulate` asks.
        unsafe { accumulate(sums, weights, row, rows) }
    }
}

/// 1.5 · 2^23: adding it rounds a float below 2^22 to a whole number, which then lies in the low bits.
const ROUNDER: f32 = 12_582_912.0;

/// Replaces each of `count` registers at `place` by two to the power of its lanes, which are first moved
/// into `±limit` if `CLAMP`; they must lie within ±126 then. Relative error below 2.5e-7.
///
/// 2^z = 2^n · 2^r, with n the nearest whole number. 2^r on ±½ is a polynomial of degree five with
/// 1 at zero, fitted by Lawson's iteration to the least greatest relative error (9.2e-8). Four registers
/// go step by step side by side: one after the other they would fill the processor's queues with
/// instructions that wait for each other.
///
/// # Safety
/// As [`Lanes`]; there are `count` initialised registers at `place`.
#[inline(always)]
pub(super) unsafe fn exp2<L: Lanes, const CLAMP: bool>(place: *mut L, count: usize, limit: L) {
    // SAFETY: the caller vouches for the registers.
    unsafe {
        let fours = count / 4;
        for i in 0..fours {
            side_by_side::<L, 4, CLAMP>(place.add(4 * i), limit);
        }
        for i in 4 * fours..count {
            side_by_side::<L, 1, CLAMP>(place.add(i), limit);
        }
    }
}

#[allow(clippy::approx_constant, reason = "the coefficient is fitted: near ln 2, and not it")]
#[inline(always)]
unsafe fn side_by_side<L: Lanes, const K: usize, const CLAMP: bool>(place: *mut L, limit: L) {
    // SAFETY: as `exp2`, for `K` registers.
    unsafe {
        let rounder = L::splat(ROUNDER);
        let mut z = [rounder; K];
        let mut shifted = [rounder; K];
        let mut p = [L::splat(1.326_472_7e-3); K];
        for k in 0..K {
            z[k] = place.add(k).read();
            if CLAMP {
                z[k] = z[k].clamp(limit);
            }
        }
        for k in 0..K {
            shifted[k] = z[k].add(rounder);
        }
        for k in 0..K {
            z[k] = z[k].sub(shifted[k].sub(rounder));
        }
        for c in [9.671_513e-3, 5.550_734e-2, 2.402_224_2e-1, 6.931_47e-1, 1.0] {
            let c = L::splat(c);
            for k in 0..K {
                p[k] = p[k].mul_add(z[k], c);
            }
        }
        for k in 0..K {
            place.add(k).write(p[k].times_power(shifted[k]));
        }
    }
}

/// Adds to the sums of four gates and three registers of series, for each of `rows` rows of three
/// registers, the row times each of its four weights.
///
/// # Safety
/// As [`Lanes`]; `4 * rows` weights stand at `weights` and `3 * N * rows` floats at `row`.
#[inline(always)]
pub(super) unsafe fn accumulate<L: Lanes>(
    sums: &mut [[L; 3]; 4],
    mut weights: *const f32,
    mut row: *const f32,
    rows: usize,
) {
    // SAFETY: the caller vouches for the weights and the floats.
    unsafe {
        for _ in 0..rows {
            let from = [L::load(row), L::load(row.add(L::N)), L::load(row.add(2 * L::N))];
            for (gate, sums) in sums.iter_mut().enumerate() {
                let weight = L::splat(*weights.add(gate));
                sums[0] = weight.mul_add(from[0], sums[0]);
                sums[1] = weight.mul_add(from[1], sums[1]);
                sums[2] = weight.mul_add(from[2], sums[2]);
            }
            weights = weights.add(4);
            row = row.add(3 * L::N);
        }
    }
}
