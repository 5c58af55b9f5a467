//! Four lanes in plain Rust: the twin that the others are compared with.

use super::lanes::Lanes;

/// Four floats that the compiler may or may not keep in one register.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; 4]);

impl Portable {
    #[inline(always)]
    fn with(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Lanes for Portable {
    const N: usize = 4;
    const AT_A_TIME: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Portable([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for four floats; the read needs no alignment.
        Portable(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for room for four floats; the write needs no alignment.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        // Not `f32::mul_add`, which is a library call where the processor has no such instruction.
        self.with(factor, |a, b| a * b).with(term, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn clamp(self, limit: Self) -> Self {
        self.with(limit, |a, l| a.max(-l).min(l))
    }
    #[inline(always)]
    unsafe fn times_power(self, shifted: Self) -> Self {
        self.with(shifted, |p, s| f32::from_bits(p.to_bits().wrapping_add(s.to_bits() << 23)))
    }
    #[inline(always)]
    unsafe fn choose(self, cut: Self, yes: Self, no: Self) -> Self {
        let pick = |i: usize| if self.0[i] >= cut.0[i] { yes.0[i] } else { no.0[i] };
        Portable(std::array::from_fn(pick))
    }
    #[inline(always)]
    unsafe fn masked(mask: Self, yes: Self, no: Self) -> Self {
        let pick = |i: usize| if mask.0[i].to_bits() == 0 { no.0[i] } else { yes.0[i] };
        Portable(std::array::from_fn(pick))
    }
}
