//! [`Detector`]: one series, one sample at a time.

use aiops_core::{Reason, Sample, SnapshotReader, SnapshotWriter};

use crate::{Result, State, Verdict};

/// Watches one series.
///
/// # For who implements it
/// - [`assess`](Self::assess) judges a sample against what was learnt before it and changes nothing;
///   [`learn`](Self::learn) takes it in. What is not finite is a gap ([`State::Gap`]): never learn it.
/// - A sample whose time is not after that of the last sample learnt, gaps included, is late or a
///   duplicate ([`State::Late`]): neither judge nor learn it.
/// - Until there is enough to judge by, say [`State::WarmingUp`]. That is a state, not an error.
/// - Scores and p-values are finite whatever comes in: constant series, one sample, only gaps, values
///   at both ends of `f64`. The same samples give the same verdicts, bit for bit.
/// - [`save`](Self::save) and [`load`](Self::load) carry everything that was learnt, so that a
///   restored detector continues bit for bit. Configuration is not state: `load` is called on a
///   detector built with the same configuration.
/// - Call `check_detector` of the `testing` module (feature `testing`) in your tests.
///
/// # For who calls it
/// Use [`update`](Self::update) for the usual assess-then-learn. The order matters:
/// ```
/// # use aiops_core::{Sample, Timestamp};
/// # use aiops_detect::{Detector, tier1::EwmaConfig};
/// # let mut detector = EwmaConfig::default().build()?;
/// # let sample = Sample::new(Timestamp::from_secs(1), 1.0);
/// // Wrong: a sample that was learnt first vouches for itself, and a spike looks half as tall.
/// // detector.learn(sample); let verdict = detector.assess(sample);
/// // Right: judged by what came before it.
/// let verdict = detector.update(sample);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
/// To keep known incidents and maintenance out of what is learnt, call `assess` alone there.
pub trait Detector: Send {
    /// A short, stable name for reports and [`Anomaly::detector`](aiops_core::Anomaly), as in `robust`.
    fn name(&self) -> &'static str;

    /// Judges a sample against what was learnt so far.
    fn assess(&self, sample: Sample) -> Verdict;

    /// Takes a sample into what is known.
    fn learn(&mut self, sample: Sample);

    /// Assesses first, so that a sample cannot vouch for itself, then learns. Override only to
    /// share work between the two; the verdict must stay the same.
    fn update(&mut self, sample: Sample) -> Verdict {
        let verdict = self.assess(sample);
        self.learn(sample);
        verdict
    }

    /// The p-value that a score stands for, given what was learnt so far.
    fn p_value(&self, score: f64) -> f64;

    /// How far the next judgement can be trusted, from 0 (too early to judge) to 1.
    ///
    /// A router hands a series over to a lower tier when this is low. By default 0 while a sample
    /// that came last of all would be answered with [`State::WarmingUp`], else 1.
    fn confidence(&self) -> f64 {
        let last = Sample::new(aiops_core::Timestamp::MAX, 0.0);
        if self.assess(last).state == State::WarmingUp { 0.0 } else { 1.0 }
    }

    /// Why this detector gave `verdict` for `sample`, as data and in words.
    ///
    /// The verdict carries what the decision was made of, so this may be asked at any time after.
    fn explain(&self, sample: Sample, verdict: &Verdict) -> Reason {
        explain_band(self.name(), sample, verdict)
    }

    /// Writes everything that was learnt.
    fn save(&self, out: &mut SnapshotWriter);

    /// Replaces what was learnt by what `save` wrote.
    ///
    /// # Errors
    /// When the bytes are not of this kind of detector or do not fit its configuration; the detector
    /// is then left as it was.
    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()>;
}

/// Comfort for every detector.
pub trait DetectorExt: Detector {
    /// The verdicts of a whole history, learning along the way.
    fn replay(&mut self, samples: impl IntoIterator<Item = Sample>) -> Vec<Verdict>
    where
        Self: Sized,
    {
        samples.into_iter().map(|sample| self.update(sample)).collect()
    }
}

impl<D: Detector> DetectorExt for D {}

#[deny(clippy::missing_trait_methods)]
impl<D: Detector + ?Sized> Detector for Box<D> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn assess(&self, sample: Sample) -> Verdict {
        (**self).assess(sample)
    }
    fn learn(&mut self, sample: Sample) {
        (**self).learn(sample);
    }
    fn update(&mut self, sample: Sample) -> Verdict {
        (**self).update(sample)
    }
    fn p_value(&self, score: f64) -> f64 {
        (**self).p_value(score)
    }
    fn confidence(&self) -> f64 {
        (**self).confidence()
    }
    fn explain(&self, sample: Sample, verdict: &Verdict) -> Reason {
        (**self).explain(sample, verdict)
    }
    fn save(&self, out: &mut SnapshotWriter) {
        (**self).save(out);
    }
    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        (**self).load(from)
    }
}

/// The explanation of a detector that compares a value with a band.
pub fn explain_band(detector: &'static str, sample: Sample, verdict: &Verdict) -> Reason {
    let sentence = match verdict.state {
        State::WarmingUp => format!("{detector} has seen too few samples to judge"),
        State::Gap => "there was no value to judge".to_owned(),
        State::Late => "the sample is not newer than the last one of its series".to_owned(),
        State::Scored | State::Fallback if verdict.expected.is_finite() => format!(
            "{} is {} the expected {} ({} to {}); normal data does this with probability {:.1e}",
            short(sample.value),
            match verdict.direction {
                aiops_core::Direction::Above => "above",
                aiops_core::Direction::Below => "below",
                aiops_core::Direction::None => "at",
            },
            short(verdict.expected),
            short(verdict.lower),
            short(verdict.upper),
            verdict.p_value,
        ),
        State::Scored | State::Fallback => format!(
            "score {} has probability {:.1e} on normal data",
            short(verdict.score),
            verdict.p_value
        ),
    };
    let mut reason = Reason::new("left_expected_range", sentence)
        .with("detector", detector)
        .with("observed", sample.value)
        .with("score", verdict.score)
        .with("p_value", verdict.p_value);
    if verdict.expected.is_finite() {
        reason = reason
            .with("expected", verdict.expected)
            .with("lower", verdict.lower)
            .with("upper", verdict.upper);
    }
    reason
}

/// Four significant digits: what a reader of a sentence can use.
fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..9.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (3.0 - magnitude).clamp(0.0, 8.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_round_for_people() {
        let cases = [
            (0.0, "0"),
            (1234.5678, "1235"),
            (0.012_346, "0.01235"),
            (-2.5, "-2.5"),
            (1e12, "1.000e12"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
