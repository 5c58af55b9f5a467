//! Vectors of `f32` under one name, so that a kernel is written once and compiled for each width.
//!
//! `unsafe` of this crate lives here and in the two kernels built on it ([`lstm`], [`forest`]). Every
//! kernel is compiled three times: for [`Simd::Portable`] in plain Rust, the twin that tests compare
//! the others with, and for AVX2 with FMA and AVX-512 where the processor has them.

use std::sync::OnceLock;

use crate::{EngineKind, Error, Result};

pub(crate) mod forest;
mod lanes;
mod lines;
pub(crate) mod lstm;
mod portable;
mod proof;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use lines::Lines;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub(crate) use lstm::pack;

/// Which instructions the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Simd {
    /// Plain Rust, on any processor. Correct, and about a quarter as fast.
    Portable,
    /// Eight lanes with fused multiply-add: x86-64 since about 2013.
    Avx2,
    /// Sixteen lanes.
    Avx512,
}

impl Simd {
    /// The widest that this processor has, and that gave what the portable twin gives when it was first
    /// asked.
    pub fn detect() -> Simd {
        static WIDEST: OnceLock<Simd> = OnceLock::new();
        *WIDEST.get_or_init(|| {
            let proven = |simd: &Simd| *simd == Simd::Portable || proof::agrees(*simd);
            Simd::available().into_iter().rev().find(proven).unwrap_or(Simd::Portable)
        })
    }

    /// All that this processor has, narrowest first.
    pub fn available() -> Vec<Simd> {
        let mut found = vec![Simd::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                found.push(Simd::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                found.push(Simd::Avx512);
            }
        }
        found
    }

    /// Itself, if this processor has it.
    pub(crate) fn check(self) -> Result<Simd> {
        if Simd::available().contains(&self) {
            return Ok(self);
        }
        let reason = format!("this processor has no {}", self.name());
        Err(Error::Unavailable { engine: EngineKind::Cpu, reason })
    }

    /// A short, stable name for reports.
    pub fn name(self) -> &'static str {
        match self {
            Simd::Portable => "portable",
            Simd::Avx2 => "avx2+fma",
            Simd::Avx512 => "avx512f",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portable_twin_is_always_there() {
        assert_eq!(Simd::available()[0], Simd::Portable);
        assert!(Simd::available().contains(&Simd::detect()));
        assert!(Simd::available().into_iter().all(proof::agrees));
    }
}
