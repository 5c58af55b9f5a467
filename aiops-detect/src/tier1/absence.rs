//! [`Absence`]: series that have fallen silent.

use std::time::Duration;

use aiops_core::{Reason, Sample, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Columns, Method, Result, Single, State, Tier, Verdict,
    error::{positive, probability},
    explain_band, saved,
};

/// Settings of [`Absence`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AbsenceConfig {
    /// Intervals to learn before judging. Default 10.
    pub warm_up: u32,
    /// Samples after which an interval counts half in what is usual. Default 100.
    pub half_life: f64,
    /// Tolerated share of samples that are flagged. Default 0.001: silence of seven usual intervals.
    pub false_positive_rate: f64,
}

impl Default for AbsenceConfig {
    fn default() -> Self {
        AbsenceConfig { warm_up: 10, half_life: 100.0, false_positive_rate: 1e-3 }
    }
}

impl AbsenceConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Single<Absence>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`] are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Absence> {
        positive("half_life", self.half_life)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        Ok(Absence { forget: 1.0 - 0.5_f64.powf(1.0 / self.half_life), config: self })
    }
}

/// Time since the last value, against the usual interval.
///
/// Finds series that stopped. A detector is only asked when a sample comes, which is too late, so ask
/// [`overdue`](Self::overdue) with the time of day; the verdict on a sample says how long it was awaited.
///
/// Score = time since the last value over the usual interval, an exponentially weighted mean of
/// intervals cut at three times itself. The p-value is `e^-score`: exact for values that come at random, and
/// careful for regular ones, for which much less silence is already strange. A sample without a
/// value is no value. Time O(1), memory 28 bytes.
///
/// ```
/// use aiops_core::{SampleBatch, SeriesId, Timestamp};
/// use aiops_detect::{Columns, DetectorBank, tier1::{Absence, AbsenceConfig}};
/// let mut bank = Columns::new(AbsenceConfig::default().method()?);
/// for minute in 0..30 {
///     // The second series stops after twenty minutes.
///     let ids = if minute < 20 { vec![SeriesId(0), SeriesId(1)] } else { vec![SeriesId(0)] };
///     let (times, values) = (vec![Timestamp::from_secs(60 * minute); ids.len()], vec![1.0; ids.len()]);
///     let batch = SampleBatch::new(&ids, &times, &values)?;
///     bank.update(&batch, &mut vec![0.0; ids.len()], &mut Vec::new())?;
/// }
/// let silent: Vec<_> = Absence::overdue(&bank, Timestamp::from_secs(60 * 30)).collect();
/// assert_eq!(silent.len(), 1);
/// assert_eq!((silent[0].id, silent[0].last), (SeriesId(1), Timestamp::from_secs(60 * 19)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Absence {
    config: AbsenceConfig,
    forget: f64,
}

/// What an [`Absence`] knows of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intervals {
    last: Timestamp,
    /// Usual interval in seconds.
    usual: f64,
    /// Intervals learnt.
    seen: u32,
}

/// A series that is silent for longer than tolerated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Overdue {
    /// The series.
    pub id: SeriesId,
    /// When its last value was.
    pub last: Timestamp,
    /// Its usual interval.
    pub usual: Duration,
    /// Chance of such a silence.
    pub p_value: f64,
}

impl Absence {
    /// The series of a bank that are silent for too long at `now`, in the order of their ids.
    pub fn overdue(bank: &Columns<Absence>, now: Timestamp) -> impl Iterator<Item = Overdue> {
        bank.states().filter_map(move |(id, intervals)| {
            let method = bank.method();
            let p_value = p_value(method.score(intervals, now)?);
            (p_value <= method.config.false_positive_rate).then(|| Overdue {
                id,
                last: intervals.last,
                usual: Duration::from_secs_f64(intervals.usual.min(1e9)),
                p_value,
            })
        })
    }

    fn score(&self, intervals: &Intervals, now: Timestamp) -> Option<f64> {
        if intervals.seen < self.config.warm_up.max(1) {
            return None;
        }
        let waited = now.seconds_after(intervals.last).max(0.0);
        Some((waited / intervals.usual.max(1e-9)).min(f64::MAX))
    }
}

fn p_value(score: f64) -> f64 {
    (-score).exp().clamp(f64::MIN_POSITIVE, 1.0)
}

impl Method for Absence {
    type State = Intervals;

    fn name(&self) -> &'static str {
        "absence"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Intervals {
        Intervals { last: Timestamp::MIN, usual: 0.0, seen: 0 }
    }

    fn judge(&self, intervals: &Intervals, sample: Sample) -> Option<Verdict> {
        let score = self.score(intervals, sample.time)?;
        let p_value = p_value(score);
        Some(Verdict {
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::One)
        })
    }

    fn learn(&self, intervals: &mut Intervals, sample: Sample) {
        if intervals.last > Timestamp::MIN {
            let mut seconds = sample.time.seconds_after(intervals.last);
            if intervals.seen > 0 {
                seconds = seconds.min(3.0 * intervals.usual.max(1e-9));
            }
            intervals.seen = intervals.seen.saturating_add(1);
            let weight = self.forget.max(1.0 / f64::from(intervals.seen));
            intervals.usual += weight * (seconds - intervals.usual);
        }
        intervals.last = sample.time;
    }

    fn p_value(&self, _intervals: &Intervals, score: f64) -> f64 {
        p_value(score)
    }

    fn explain(&self, intervals: &Intervals, sample: Sample, verdict: &Verdict) -> Reason {
        if !verdict.is_scored() {
            return explain_band(self.name(), sample, verdict);
        }
        let sentence = format!(
            "the value came after {:.1} usual intervals of {:.1} s",
            verdict.score, intervals.usual
        );
        Reason::new("was_absent", sentence)
            .with("detector", self.name())
            .with("score", verdict.score)
            .with("p_value", verdict.p_value)
            .with("usual_seconds", intervals.usual)
    }

    fn save(&self, intervals: &Intervals, out: &mut SnapshotWriter) {
        saved::time(out, intervals.last);
        out.f64(intervals.usual);
        out.u32(intervals.seen);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Intervals> {
        Ok(Intervals {
            last: saved::read_time(from)?,
            usual: saved::not_negative(from, "usual interval")?,
            seen: from.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;

    #[test]
    fn the_sample_after_a_silence_says_how_long_it_was() {
        let at = |second: i64, value: f64| Sample::new(Timestamp::from_secs(second), value);
        let mut detector = AbsenceConfig::default().build().unwrap();
        let mut samples: Vec<Sample> = (0..50).map(|i| at(60 * i, 1.0)).collect();
        // Rows without a value do not break the silence.
        samples.extend((50..60).map(|i| at(60 * i, f64::NAN)));
        samples.push(at(60 * 60, 1.0));
        let verdicts = detector.replay(samples);
        assert!(verdicts[11..50].iter().all(|v| !v.flagged && v.score == 1.0));
        assert!(verdicts[60].flagged && verdicts[60].score == 11.0, "{:?}", verdicts[60]);
    }
}
