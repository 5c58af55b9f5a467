//! Hot loops compiled twice: for any processor, and for one with 256-bit vectors.

/// Runs `work` as code for AVX2 where the processor has it, else as it is.
///
/// Only what is inlined into `work` is compiled anew, so it must be small and marked so. Both forms
/// round alike: fused multiply-add stays off, and no sum is reordered that was not before.
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "calling a function compiled for a processor feature")
)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2")]
        fn wide<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor was just asked for the one feature that `wide` needs.
            return unsafe { wide(work) };
        }
    }
    work()
}
