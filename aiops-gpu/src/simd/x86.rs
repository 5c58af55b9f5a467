//! AVX2 with FMA, and AVX-512, through `std::arch`.
//!
//! Every block below is sound for one reason: [`Lanes`] has its callers vouch for the instruction set
//! and for the floats behind pointers, and loads and stores are the unaligned ones.

use std::arch::{
    asm,
    x86_64::{
        __m256, __m512, _CMP_GE_OQ, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi32, _mm256_add_ps,
        _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_div_ps,
        _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps,
        _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_ps,
        _mm512_add_epi32, _mm512_add_ps, _mm512_castps_si512, _mm512_castsi512_ps,
        _mm512_cmp_ps_mask, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps,
        _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
        _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_ps, _mm512_test_epi32_mask,
    },
};

use super::lanes::{Lanes, accumulate};

/// Eight lanes of AVX2 with FMA.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256);

impl Lanes for Avx2 {
    const N: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the head of this file says.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_fmadd_ps(self.0, factor.0, term.0)) }
    }
    #[inline(always)]
    unsafe fn clamp(self, limit: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe {
            let low = _mm256_sub_ps(_mm256_setzero_ps(), limit.0);
            Avx2(_mm256_min_ps(_mm256_max_ps(self.0, low), limit.0))
        }
    }
    #[inline(always)]
    unsafe fn times_power(self, shifted: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe {
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted.0));
            Avx2(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(self.0), power)))
        }
    }
    #[inline(always)]
    unsafe fn choose(self, cut: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_GE_OQ>(self.0, cut.0))) }
    }
    #[inline(always)]
    unsafe fn masked(mask: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx2(_mm256_blendv_ps(no.0, yes.0, mask.0)) }
    }
    #[inline(always)]
    unsafe fn accumulate(sums: &mut [[Self; 3]; 4], w: *const f32, row: *const f32, rows: usize) {
        // SAFETY: as the head of this file says; four rows are 16 weights and 96 floats.
        unsafe {
            let fours = rows / 4;
            sums_of_fours(sums, w, row, fours);
            accumulate(sums, w.add(16 * fours), row.add(96 * fours), rows % 4);
        }
    }
    #[inline(always)]
    unsafe fn prefetch(line: *const f32) {
        // SAFETY: a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
    }
}

/// One row of [`sums_of_fours`], at byte offsets into row and weights.
macro_rules! one_row {
    ($x0:literal, $x1:literal, $x2:literal, $i:literal, $f:literal, $g:literal, $o:literal) => {
        concat!(
            "vmovups {x0}, [{row} + ", $x0, "]\n",
            "vmovups {x1}, [{row} + ", $x1, "]\n",
            "vmovups {x2}, [{row} + ", $x2, "]\n",
            "vbroadcastss {w}, [{weights} + ", $i, "]\n",
            "vfmadd231ps {i0}, {w}, {x0}\nvfmadd231ps {i1}, {w}, {x1}\nvfmadd231ps {i2}, {w}, {x2}\n",
            "vbroadcastss {w}, [{weights} + ", $f, "]\n",
            "vfmadd231ps {f0}, {w}, {x0}\nvfmadd231ps {f1}, {w}, {x1}\nvfmadd231ps {f2}, {w}, {x2}\n",
            "vbroadcastss {w}, [{weights} + ", $g, "]\n",
            "vfmadd231ps {g0}, {w}, {x0}\nvfmadd231ps {g1}, {w}, {x1}\nvfmadd231ps {g2}, {w}, {x2}\n",
            "vbroadcastss {w}, [{weights} + ", $o, "]\n",
            "vfmadd231ps {o0}, {w}, {x0}\nvfmadd231ps {o1}, {w}, {x1}\nvfmadd231ps {o2}, {w}, {x2}",
        )
    };
}

/// [`Lanes::accumulate`] of four rows at a time, in assembly: twelve sums, three registers of the row and
/// one of weights are all sixteen registers there are. The compiler loads early, runs out, and keeps a
/// sum in memory: a third of the speed. By fours, so that the end of the loop is predicted.
///
/// # Safety
/// The processor has AVX2 and FMA; `16 * fours` weights stand at `weights` and `96 * fours` floats at `row`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums_of_fours(
    sums: &mut [[Avx2; 3]; 4],
    weights: *const f32,
    row: *const f32,
    fours: usize,
) {
    if fours == 0 {
        return;
    }
    let [i, f, g, o] = sums;
    // SAFETY: reads what the caller vouches for, writes registers only.
    unsafe {
        asm!(
            "2:",
            // Weights do not fit the first-level cache beside the state; a line of them is four rows.
            "prefetcht0 [{weights} + 1024]",
            one_row!(0, 32, 64, 0, 4, 8, 12),
            one_row!(96, 128, 160, 16, 20, 24, 28),
            one_row!(192, 224, 256, 32, 36, 40, 44),
            one_row!(288, 320, 352, 48, 52, 56, 60),
            "add {row}, 384",
            "add {weights}, 64",
            "dec {fours}",
            "jnz 2b",
            row = inout(reg) row => _,
            weights = inout(reg) weights => _,
            fours = inout(reg) fours => _,
            x0 = out(ymm_reg) _,
            x1 = out(ymm_reg) _,
            x2 = out(ymm_reg) _,
            w = out(ymm_reg) _,
            i0 = inout(ymm_reg) i[0].0,
            i1 = inout(ymm_reg) i[1].0,
            i2 = inout(ymm_reg) i[2].0,
            f0 = inout(ymm_reg) f[0].0,
            f1 = inout(ymm_reg) f[1].0,
            f2 = inout(ymm_reg) f[2].0,
            g0 = inout(ymm_reg) g[0].0,
            g1 = inout(ymm_reg) g[1].0,
            g2 = inout(ymm_reg) g[2].0,
            o0 = inout(ymm_reg) o[0].0,
            o1 = inout(ymm_reg) o[1].0,
            o2 = inout(ymm_reg) o[2].0,
            options(readonly, nostack),
        );
    }
}

/// Sixteen lanes of AVX-512F.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

impl Lanes for Avx512 {
    const N: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as the head of this file says.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_sub_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_mul_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_div_ps(self.0, other.0)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe { Avx512(_mm512_fmadd_ps(self.0, factor.0, term.0)) }
    }
    #[inline(always)]
    unsafe fn clamp(self, limit: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe {
            let low = _mm512_sub_ps(_mm512_setzero_ps(), limit.0);
            Avx512(_mm512_min_ps(_mm512_max_ps(self.0, low), limit.0))
        }
    }
    #[inline(always)]
    unsafe fn times_power(self, shifted: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe {
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted.0));
            Avx512(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(self.0), power)))
        }
    }
    #[inline(always)]
    unsafe fn choose(self, cut: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe {
            let at = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(self.0, cut.0);
            Avx512(_mm512_mask_blend_ps(at, no.0, yes.0))
        }
    }
    #[inline(always)]
    unsafe fn masked(mask: Self, yes: Self, no: Self) -> Self {
        // SAFETY: as the head of this file says.
        unsafe {
            let bits = _mm512_castps_si512(mask.0);
            Avx512(_mm512_mask_blend_ps(_mm512_test_epi32_mask(bits, bits), no.0, yes.0))
        }
    }
    #[inline(always)]
    unsafe fn prefetch(line: *const f32) {
        // SAFETY: a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
    }
}
