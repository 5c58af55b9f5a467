//! How long each stage took: the one place that asks the machine's clock, for the notes of a report.

use std::time::{Duration, Instant};

/// Adds up the time of named stages.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    laps: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    /// A watch that has measured nothing.
    pub(crate) fn new() -> Self {
        Stopwatch::default()
    }

    /// Runs `work` and adds its time to `stage`.
    #[allow(
        clippy::disallowed_methods,
        reason = "a driver may time itself; no decision depends on it"
    )]
    pub(crate) fn time<T>(&mut self, stage: &'static str, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let done = work();
        let took = started.elapsed();
        match self.laps.iter_mut().find(|(name, _)| *name == stage) {
            Some((_, total)) => *total += took,
            None => self.laps.push((stage, took)),
        }
        done
    }

    /// Seconds by stage, in the order in which they first ran.
    pub(crate) fn laps(&self) -> Vec<(&'static str, f64)> {
        self.laps.iter().map(|(stage, took)| (*stage, took.as_secs_f64())).collect()
    }
}
