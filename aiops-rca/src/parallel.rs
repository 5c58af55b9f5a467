//! The one door to threads. With the feature `rayon` the work is spread over its pool, without it is
//! done in place; the results come in the order of the items either way.

/// `work` of each item, in order.
#[cfg(feature = "rayon")]
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    items.par_iter().map(work).collect()
}

/// `work` of each number below `n`, in order.
#[cfg(feature = "rayon")]
pub(crate) fn map_below<R: Send>(n: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    use rayon::prelude::*;
    (0..n).into_par_iter().map(work).collect()
}

/// `work` of each item, in order.
#[cfg(not(feature = "rayon"))]
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.iter().map(work).collect()
}

/// `work` of each number below `n`, in order.
#[cfg(not(feature = "rayon"))]
pub(crate) fn map_below<R: Send>(n: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    (0..n).map(work).collect()
}
