//! [`FlatLine`]: values that stay the same for longer than they do.

use aiops_core::{Direction, Reason, Sample, SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{
    Method, Result, Single, State, Tier, Verdict,
    error::{not_negative, probability},
    explain_band, saved,
};

/// Settings of [`FlatLine`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FlatLineConfig {
    /// Values this close are the same, in the unit of the series. Default 0: equal.
    pub tolerance: f64,
    /// Samples to learn before judging. Default 100.
    pub warm_up: u32,
    /// Repetitions before anything is flagged, however rare they are. Default 5.
    pub at_least: u32,
    /// Samples after which one counts half in what is usual. Default 5000.
    pub half_life: f64,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
}

impl Default for FlatLineConfig {
    fn default() -> Self {
        FlatLineConfig {
            tolerance: 0.0,
            warm_up: 100,
            at_least: 5,
            half_life: 5000.0,
            false_positive_rate: 1e-3,
        }
    }
}

impl FlatLineConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Single<FlatLine>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<FlatLine> {
        not_negative("tolerance", self.tolerance)?;
        crate::error::positive("half_life", self.half_life)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        Ok(FlatLine { forget: 1.0 - 0.5_f64.powf(1.0 / self.half_life), config: self })
    }
}

/// A run of equal values that is too long for the series.
///
/// Finds stuck sensors, frozen exporters and queues that stopped moving. A series that is constant by
/// nature is never flagged, since repetition is usual there. Fails to see a flat line that jitters by
/// more than the tolerance.
///
/// With `q` the share of samples that repeat the one before them, a run of `k` repetitions has p-value
/// `qᵏ` and score `-k ln q`. `q` is an exponentially weighted mean that starts at one half, as if one of two
/// samples had repeated. A long flat line raises it, too slowly to vouch for itself: after `n` samples without
/// repetition, `qᵏ` stays below `e⁻ⁿ` or so however long the line. Runs are taken as independent; where they come in
/// clumps, wrap the detector in [`Calibrated`](crate::Calibrated).
///
/// A gap changes nothing. Time O(1), memory 32 bytes.
#[derive(Debug, Clone)]
pub struct FlatLine {
    config: FlatLineConfig,
    forget: f64,
}

/// What a [`FlatLine`] knows of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repetition {
    /// The value that the run began with.
    value: f64,
    /// Repetitions so far.
    run: u32,
    /// Samples learnt.
    seen: u32,
    /// Share of samples that are repetitions.
    share: f64,
}

impl FlatLine {
    fn repeats(&self, state: &Repetition, value: f64) -> bool {
        state.seen > 0 && (value - state.value).abs() <= self.config.tolerance
    }

    /// Repetitions if `value` came now.
    fn run(&self, state: &Repetition, value: f64) -> u32 {
        if self.repeats(state, value) { state.run.saturating_add(1) } else { 0 }
    }
}

impl Method for FlatLine {
    type State = Repetition;

    fn name(&self) -> &'static str {
        "flat_line"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Repetition {
        Repetition { value: 0.0, run: 0, seen: 0, share: 0.5 }
    }

    fn judge(&self, state: &Repetition, sample: Sample) -> Option<Verdict> {
        if state.seen < self.config.warm_up.max(1) {
            return None;
        }
        let run = self.run(state, sample.value);
        // A share of one would make every run as usual as any other, and its logarithm zero.
        let score = f64::from(run) * -state.share.clamp(1e-12, 1.0).ln();
        let p_value = self.p_value(state, score);
        Some(Verdict {
            direction: Direction::None,
            flagged: run >= self.config.at_least && p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::One)
        })
    }

    fn learn(&self, state: &mut Repetition, sample: Sample) {
        let run = self.run(state, sample.value);
        if run == 0 {
            state.value = sample.value;
        }
        state.run = run;
        state.seen = state.seen.saturating_add(1);
        let weight = self.forget.max(1.0 / (f64::from(state.seen) + 2.0));
        state.share += weight * (f64::from(u8::from(run > 0)) - state.share);
    }

    fn p_value(&self, _state: &Repetition, score: f64) -> f64 {
        (-score).exp().clamp(f64::MIN_POSITIVE, 1.0)
    }

    fn explain(&self, state: &Repetition, sample: Sample, verdict: &Verdict) -> Reason {
        if !verdict.is_scored() {
            return explain_band(self.name(), sample, verdict);
        }
        let run = verdict.score / -state.share.clamp(1e-12, 1.0 - 1e-12).ln();
        let sentence = format!(
            "{} has come {:.0} times in a row; normal data does this with probability {:.1e}",
            sample.value,
            run + 1.0,
            verdict.p_value
        );
        Reason::new("flat_line", sentence)
            .with("detector", self.name())
            .with("observed", sample.value)
            .with("score", verdict.score)
            .with("p_value", verdict.p_value)
    }

    fn save(&self, state: &Repetition, out: &mut SnapshotWriter) {
        out.f64(state.value);
        out.u32(state.run);
        out.u32(state.seen);
        out.f64(state.share);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Repetition> {
        let value = saved::within(from, "value", f64::MAX)?;
        let (run, seen) = (from.u32()?, from.u32()?);
        let share = saved::within(from, "share", 1.0)?;
        if share < 0.0 {
            return Err(saved::invalid("share", share));
        }
        Ok(Repetition { value, run, seen, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;
    use aiops_core::Timestamp;

    fn flags(values: impl Iterator<Item = f64>) -> Vec<usize> {
        let samples =
            values.enumerate().map(|(i, v)| Sample::new(Timestamp::from_secs(i as i64), v));
        let verdicts = FlatLineConfig::default().build().unwrap().replay(samples);
        (0..verdicts.len()).filter(|i| verdicts[*i].flagged).collect()
    }

    #[test]
    fn a_stuck_value_is_found_until_it_moves() {
        let found =
            flags((0..600).map(|i| f64::from(if (400..450).contains(&i) { 400 } else { i })));
        assert_eq!(found, (405..450).collect::<Vec<_>>());
    }

    #[test]
    fn what_repeats_by_nature_is_left_alone() {
        assert!(flags((0..5000).map(|_| 7.0)).is_empty());
        // Two values in turns of twelve: repetition is usual, if not for long.
        assert!(flags((0..5000).map(|i| f64::from(i / 12 % 2))).is_empty());
    }
}
