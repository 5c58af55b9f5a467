//! [`Threshold`]: fixed limits that have to be broken for a while, and left for a while.

use std::time::Duration;

use aiops_core::{Direction, Reason, Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Method, Result, Single, State, Tier, Verdict,
    error::{not_negative, probability},
    explain_band, saved,
};

/// Settings of [`Threshold`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThresholdConfig {
    /// Values below this are outside. Default `None`.
    pub lower: Option<f64>,
    /// Values above this are outside. Default `None`; one of the two is needed.
    pub upper: Option<f64>,
    /// A value is back inside only this far within the limits, in the unit of the series. Default 0.
    pub hysteresis: f64,
    /// How long values must be outside before they are flagged. Default zero: at once.
    pub hold: Duration,
    /// How long values must be back inside before the flag goes. Default zero: at once.
    pub release: Duration,
    /// The p-value that a flagged sample is given: a limit knows no distribution. Default 0.001.
    pub false_positive_rate: f64,
}

impl Default for ThresholdConfig {
    fn default() -> Self {
        ThresholdConfig {
            lower: None,
            upper: None,
            hysteresis: 0.0,
            hold: Duration::ZERO,
            release: Duration::ZERO,
            false_positive_rate: 1e-3,
        }
    }
}

impl ThresholdConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Threshold>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Threshold> {
        let lower = self.lower.unwrap_or(f64::NEG_INFINITY);
        let upper = self.upper.unwrap_or(f64::INFINITY);
        not_negative("hysteresis", self.hysteresis)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        if self.lower.is_none() && self.upper.is_none() {
            return Err(Error::config("upper", "or lower is needed"));
        }
        // Written so that NaN fails, and that there is an inside to come back to.
        if !(lower + self.hysteresis < upper - self.hysteresis) {
            let reason = format!(
                "must be below upper by more than twice the hysteresis, got {:?} and {:?}",
                self.lower, self.upper
            );
            return Err(Error::config("lower", reason));
        }
        Ok(Threshold { lower, upper, config: self })
    }
}

/// Fixed limits with hysteresis and minimum durations.
///
/// Finds what someone knows to be wrong, from the first sample on. Knows nothing of what is usual: an
/// error rate of 5 % may be fine at night and a disaster at noon.
///
/// Outside is a value below `lower` or above `upper`, and stays so until a value is inside by at least
/// `hysteresis`. A sample is flagged once everything since `hold` ago was outside, and until everything since
/// `release` ago was inside. Score: 0 when inside and not flagged, else `1 + e / (e + w)`, where `e` is how far the
/// value exceeds the limit and `w` the width between the limits, or the size of the only one (at least
/// the hysteresis and 1e-9): between 1 and 2, growing with the excess.
///
/// A gap neither starts nor ends anything; time goes on. Time O(1), memory 18 bytes.
#[derive(Debug, Clone)]
pub struct Threshold {
    config: ThresholdConfig,
    lower: f64,
    upper: f64,
}

/// What a [`Threshold`] knows of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    outside: bool,
    flagged: bool,
    /// Time of the first sample of the run of outside, or inside, that lasts.
    since: Timestamp,
}

impl Threshold {
    fn after(&self, crossing: &Crossing, sample: Sample) -> Crossing {
        let Sample { time, value } = sample;
        let margin = if crossing.outside { self.config.hysteresis } else { 0.0 };
        let outside = value < self.lower + margin || value > self.upper - margin;
        let turned = outside != crossing.outside || crossing.since == Timestamp::MIN;
        let since = if turned { time } else { crossing.since };
        let needed = if outside { self.config.hold } else { self.config.release };
        let lasted = time.since(since) >= needed;
        Crossing { outside, since, flagged: if lasted { outside } else { crossing.flagged } }
    }

    /// How far a value exceeds a limit; zero or less inside.
    fn excess(&self, value: f64) -> f64 {
        (self.lower - value).max(value - self.upper).min(f64::MAX)
    }
}

impl Method for Threshold {
    type State = Crossing;

    fn name(&self) -> &'static str {
        "threshold"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Crossing {
        Crossing { outside: false, flagged: false, since: Timestamp::MIN }
    }

    fn judge(&self, crossing: &Crossing, sample: Sample) -> Option<Verdict> {
        let after = self.after(crossing, sample);
        let width = match (self.config.lower, self.config.upper) {
            (Some(lower), Some(upper)) => upper - lower,
            (Some(limit), None) | (None, Some(limit)) => limit.abs(),
            (None, None) => 1.0,
        };
        let width = width.max(self.config.hysteresis).max(1e-9);
        let excess = self.excess(sample.value);
        let mut score = 0.0;
        if after.outside || after.flagged {
            // Written as a ratio of halves, since the sum of two large numbers may not be finite.
            let excess = 0.5 * excess.max(0.0);
            score = 1.0 + excess / (excess + 0.5 * width);
        }
        let direction = if excess <= 0.0 {
            Direction::None
        } else if sample.value > self.upper {
            Direction::Above
        } else {
            Direction::Below
        };
        Some(Verdict {
            direction,
            flagged: after.flagged,
            score,
            p_value: if after.flagged { self.config.false_positive_rate } else { 1.0 },
            ..Verdict::unjudged(State::Scored, Tier::One)
        })
    }

    fn learn(&self, crossing: &mut Crossing, sample: Sample) {
        *crossing = self.after(crossing, sample);
    }

    fn p_value(&self, _crossing: &Crossing, score: f64) -> f64 {
        if score >= 1.0 { self.config.false_positive_rate } else { 1.0 }
    }

    fn explain(&self, crossing: &Crossing, sample: Sample, verdict: &Verdict) -> Reason {
        if !verdict.is_scored() {
            return explain_band(self.name(), sample, verdict);
        }
        let value = sample.value;
        let (what, limit) = if value > self.upper {
            ("is above its upper limit", self.upper)
        } else if value < self.lower {
            ("is below its lower limit", self.lower)
        } else {
            ("is within its limits", self.config.upper.or(self.config.lower).unwrap_or(0.0))
        };
        let suffix = match (verdict.flagged, value > self.upper || value < self.lower) {
            (true, false) => ", but not by enough or for long enough to be over",
            (false, true) => ", but not for long enough yet",
            _ => "",
        };
        let sentence = format!("{value} {what} of {limit}{suffix}");
        Reason::new("outside_static_bounds", sentence)
            .with("detector", self.name())
            .with("observed", value)
            .with("bound", limit)
            .with("since", crossing.since.as_secs())
    }

    fn save(&self, crossing: &Crossing, out: &mut SnapshotWriter) {
        out.u8(u8::from(crossing.outside) | (u8::from(crossing.flagged) << 1));
        saved::time(out, crossing.since);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Crossing> {
        let bits = from.u8()?;
        if bits > 3 {
            return Err(saved::invalid("flags", bits));
        }
        let since = saved::read_time(from)?;
        Ok(Crossing { outside: bits & 1 > 0, flagged: bits & 2 > 0, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;

    #[test]
    fn flags_come_after_the_hold_and_go_after_the_release() {
        let config = ThresholdConfig {
            upper: Some(90.0),
            hysteresis: 5.0,
            hold: Duration::from_secs(2),
            release: Duration::from_secs(1),
            ..ThresholdConfig::default()
        };
        let values = [80.0, 95.0, 91.0, 95.0, 88.0, 84.0, 96.0, 84.0, 84.0, 95.0, 80.0];
        //                                  ^ not by 5  ^ one second only     ^ gone
        let samples = values.iter().enumerate();
        let samples = samples.map(|(i, v)| Sample::new(Timestamp::from_secs(i as i64), *v));
        let mut detector = config.build().unwrap();
        let verdicts = detector.replay(samples);
        let flags: Vec<usize> = (0..values.len()).filter(|i| verdicts[*i].flagged).collect();
        assert_eq!(flags, [3, 4, 5, 6, 7]);
        assert!(verdicts[6].score > verdicts[3].score, "further out, higher score");
        assert_eq!(verdicts[1].p_value, 1.0, "not for long enough yet");
    }

    #[test]
    fn a_gap_does_not_interrupt() {
        let hold = Duration::from_secs(20);
        let config = ThresholdConfig { lower: Some(1.0), hold, ..ThresholdConfig::default() };
        let mut detector = config.build().unwrap();
        let at = |second, value| Sample::new(Timestamp::from_secs(second), value);
        let verdicts = detector.replay([at(0, 0.0), at(10, f64::NAN), at(20, 0.5)]);
        assert!(verdicts[2].flagged);
        let reason = crate::Detector::explain(&detector, at(20, 0.5), &verdicts[2]);
        assert_eq!(reason.sentence, "0.5 is below its lower limit of 1");
    }

    #[test]
    fn limits_without_an_inside_are_refused() {
        let config = ThresholdConfig {
            lower: Some(1.0),
            upper: Some(2.0),
            hysteresis: 0.5,
            ..ThresholdConfig::default()
        };
        assert!(config.build().is_err());
        assert!(ThresholdConfig::default().build().is_err());
        assert!(ThresholdConfig { upper: Some(f64::NAN), ..Default::default() }.build().is_err());
    }
}
