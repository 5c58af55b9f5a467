//! From numbers to deviations: how far, since when, and how much of it, for each metric.
//!
//! Three decisions made here matter more than any graph (each was measured; see
//! `docs/benchmarks/rca.md`): only harm counts, a flat baseline has a floor under its scale, and a
//! level that was already there before the incident is no news.

mod deviation;
mod onset;
mod suspects;

pub use deviation::Deviation;
pub use suspects::{Prepared, Suspect};

use crate::error::within;
use crate::{Context, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Duration;

/// How a window is read.
///
/// The defaults were chosen on the first halves of three public sets together; one setting serves
/// all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrepareConfig {
    /// The scale is at least this share of the standard deviation of the normal time, beside the
    /// interquartile range. Default 1.5: a heavy tail that the quartiles do not see is not a signal.
    pub std_share: f64,
    /// The scale is at least this share of the median, so that a flat line is not infinitely
    /// sensitive. Default 0.001.
    pub relative_floor: f64,
    /// The score of anything that leaves a baseline that was exactly zero all the time, which has
    /// no scale. Default 20 (a guess: surely abnormal, and not more than a loud measured metric).
    pub flat_score: f64,
    /// How much of the incident counts: the mean over this share of its worst steps. Default 0.5:
    /// one outlier does not decide, and a fault need not fill the window.
    pub upper_share: f64,
    /// How long after the beginning the incident is looked at. Default 5 minutes, and never fewer
    /// than 4 steps.
    pub horizon: Duration,
    /// How far back a level counts as "already there before". Default 20 minutes.
    pub lookback: Duration,
    /// How late the given beginning may be: an alarm comes later than what it is about. This time
    /// before it counts neither as normal nor as the incident, and onsets may lie in it. Default
    /// 2 minutes, but never more than a third of the time before, nor less than three quarters of a
    /// step.
    pub alarm_delay: Duration,
    /// A metric with a smaller share of values in its normal time is not judged. Default 0.5.
    pub min_coverage: f64,
    /// And one with fewer values either. Default 10.
    pub min_normal: usize,
    /// From this many robust standard deviations on a step counts as abnormal. Default 3.
    pub abnormal: f64,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        PrepareConfig {
            std_share: 1.5,
            relative_floor: 0.001,
            flat_score: 20.0,
            upper_share: 0.5,
            horizon: Duration::from_secs(300),
            lookback: Duration::from_secs(1_200),
            alarm_delay: Duration::from_secs(120),
            min_coverage: 0.5,
            min_normal: 10,
            abnormal: 3.0,
        }
    }
}

impl PrepareConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn check(&self) -> Result<()> {
        within("std_share", self.std_share, 0.0, 10.0)?;
        within("relative_floor", self.relative_floor, 0.0, 1.0)?;
        within("flat_score", self.flat_score, 0.0, 1e12)?;
        within("upper_share", self.upper_share, f64::MIN_POSITIVE, 1.0)?;
        within("min_coverage", self.min_coverage, 0.0, 1.0)?;
        within("min_normal", self.min_normal as f64, 2.0, 1e9)?;
        within("abnormal", self.abnormal, f64::MIN_POSITIVE, 1e6)
    }

    /// The steps of the window that count as normal, and those that count as the incident.
    pub(crate) fn spans(&self, context: &Context<'_>) -> (Range<usize>, Range<usize>) {
        let spans = deviation::Spans::of(self, context);
        (spans.before, spans.incident)
    }

    /// Reads every row and gathers the services that they accuse.
    ///
    /// Time O(rows x steps), in parallel over rows; the result does not depend on the number of
    /// threads.
    ///
    /// # Errors
    /// Those of [`Context::check`].
    pub fn prepare(&self, context: &Context<'_>) -> Result<Prepared> {
        context.check()?;
        let rows = deviation::all(self, context);
        Ok(suspects::gather(self, context, rows))
    }
}
