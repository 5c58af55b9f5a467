//! Timing that survives a shared machine: thread CPU time, the best of several runs, and two
//! contenders measured alternately so that both meet the same neighbours.
//!
//! CPU time hides waiting for a core, not contention for caches and memory: compare ratios within a
//! run rather than figures of different runs.

use std::time::{Duration, Instant};

use cpu_time::ThreadTime;

/// CPU seconds that `work` took on this thread.
pub(crate) fn cpu_seconds(work: impl FnOnce()) -> f64 {
    let start = ThreadTime::now();
    work();
    start.elapsed().as_secs_f64().max(1e-9)
}

/// Wall-clock seconds that `work` took: for work that waits or uses several threads.
#[allow(dead_code, reason = "for rows that wait or use several threads")]
pub(crate) fn wall_seconds(work: impl FnOnce()) -> f64 {
    #[allow(clippy::disallowed_methods, reason = "measuring time is this module's purpose")]
    let start = Instant::now();
    work();
    start.elapsed().max(Duration::from_nanos(1)).as_secs_f64()
}

/// Best CPU seconds of `rounds` alternate runs of two contenders, after one warm-up run of each.
pub(crate) fn compare(
    rounds: usize,
    mut ours: impl FnMut(),
    mut baseline: impl FnMut(),
) -> (f64, f64) {
    ours();
    baseline();
    let mut best = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds.max(1) {
        best.0 = best.0.min(cpu_seconds(&mut ours));
        best.1 = best.1.min(cpu_seconds(&mut baseline));
    }
    best
}

/// Best CPU seconds of `rounds` runs, after one warm-up run.
#[allow(dead_code, reason = "for rows without a baseline")]
pub(crate) fn best_of(rounds: usize, mut work: impl FnMut()) -> f64 {
    work();
    (0..rounds.max(1)).map(|_| cpu_seconds(&mut work)).fold(f64::INFINITY, f64::min)
}
