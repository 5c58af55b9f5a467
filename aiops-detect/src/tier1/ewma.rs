//! Exponentially weighted mean and variance: the cheapest expectation there is.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Detector, Result, State, Tail, Tier, Verdict,
    error::{not_negative, positive, probability},
    verdict::side,
};

/// Settings of [`Ewma`] and [`EwmaBank`](super::EwmaBank).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EwmaConfig {
    /// Samples after which the weight of an observation has halved. Default 60 (a guess: a minute of
    /// one-second samples, an hour of one-minute samples).
    pub half_life: f64,
    /// Samples to learn before judging. Default 30, where the error of a standard deviation is
    /// about 13 %.
    pub warm_up: u32,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Reference distribution for p-values. Default [`Tail::HeavyTailed`].
    pub tail: Tail,
    /// Least scale, as a share of the mean, so that a series that was constant is not flagged for
    /// its last digit. Default 0.001.
    pub relative_floor: f64,
    /// Least scale in the unit of the series, at least 1e-50. Default 1e-9.
    pub absolute_floor: f64,
}

impl Default for EwmaConfig {
    fn default() -> Self {
        EwmaConfig {
            half_life: 60.0,
            warm_up: 30,
            false_positive_rate: 1e-3,
            tail: Tail::default(),
            relative_floor: 1e-3,
            absolute_floor: 1e-9,
        }
    }
}

impl EwmaConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Ewma> {
        Ok(Ewma { rule: self.rule()?, moments: Moments::default() })
    }

    /// A bank for very many series with the same settings.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_bank(self) -> Result<super::EwmaBank> {
        Ok(super::EwmaBank::new(self.rule()?))
    }

    pub(super) fn rule(self) -> Result<Rule> {
        positive("half_life", self.half_life)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        not_negative("relative_floor", self.relative_floor)?;
        if self.relative_floor > 1e6 {
            let reason = format!("must be at most 1e6, got {}", self.relative_floor);
            return Err(crate::Error::config("relative_floor", reason));
        }
        if !(SMALLEST..=LARGEST).contains(&self.absolute_floor) {
            let reason = format!("must be within 1e-50 and 1e100, got {}", self.absolute_floor);
            return Err(crate::Error::config("absolute_floor", reason));
        }
        let alpha = 1.0 - 0.5_f64.powf(1.0 / self.half_life);
        let threshold = self.tail.threshold(self.false_positive_rate);
        Ok(Rule {
            alpha,
            keep: 1.0 - alpha,
            limit: threshold * threshold,
            relative: self.relative_floor * self.relative_floor,
            absolute: self.absolute_floor * self.absolute_floor,
            warm_up: self.warm_up.max(1),
            rate: self.false_positive_rate,
            tail: self.tail,
        })
    }
}

/// Deviation from an exponentially weighted mean, in exponentially weighted variances.
///
/// Finds spikes and drops against a slowly moving level. Fails to see a slow drift, which it
/// follows, and knows no seasons; a flagged sample is learnt like any other, so a lasting shift is
/// absorbed within a few half-lives. Where outliers must not widen the band, take
/// [`Robust`](super::Robust).
///
/// With `d = x - m`: the score is `d² / (v + f)`, the *squared* standardised deviation (9 means three
/// standard deviations; no square root on the hot path), then `m += αd` and `v = (1-α)(v + αd²)`,
/// where `α = 1 - ½^(1/half_life)` and `f` is the squared floor of the scale. During warm-up α is
/// `1/n`, which makes `m` and `v` the plain mean and variance. The p-value is the chance of `√score`
/// scales in [`EwmaConfig::tail`]; nothing is learnt about the shape of the noise, so trust it to
/// about 1e-3 and wrap the detector in [`Calibrated`](crate::Calibrated) to go further.
///
/// A gap is answered with [`State::Gap`] and changes only the clock. Values are taken as at most
/// 1e100 in size. Time O(1), memory 28 bytes a series.
///
/// Source: Finch 2009, "Incremental calculation of weighted mean and variance", section 9;
/// deviations: the floor, and the warm-up.
///
/// ```
/// use aiops_core::{Sample, Timestamp};
/// use aiops_detect::{Detector, tier1::EwmaConfig};
/// let mut detector = EwmaConfig::default().build()?;
/// for second in 0..100 {
///     let usual = 20.0 + f64::from(second % 5);
///     assert!(!detector.update(Sample::new(Timestamp::from_secs(second.into()), usual)).flagged);
/// }
/// let verdict = detector.update(Sample::new(Timestamp::from_secs(100), 90.0));
/// assert!(verdict.flagged && verdict.upper < 90.0);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ewma {
    rule: Rule,
    moments: Moments,
}

/// What was learnt about one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) mean: f64,
    pub(super) variance: f64,
    pub(super) last: Timestamp,
    /// Values learnt, counted up to the warm-up.
    pub(super) seen: u32,
}

impl Default for Moments {
    fn default() -> Self {
        Moments { mean: 0.0, variance: 0.0, last: Timestamp::MIN, seen: 0 }
    }
}

/// The checked configuration in the form the arithmetic wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) alpha: f64,
    pub(super) keep: f64,
    pub(super) limit: f64,
    relative: f64,
    absolute: f64,
    pub(super) warm_up: u32,
    rate: f64,
    tail: Tail,
}

/// Values are cut to this size and floors are at least [`SMALLEST`], so that no square or quotient
/// below overflows and the hot path needs no test for it.
pub(super) const LARGEST: f64 = 1e100;
const SMALLEST: f64 = 1e-50;

/// Cuts a finite value to the largest size; two selects, which vectorise where `clamp` does not.
#[inline(always)]
pub(super) fn cut(value: f64) -> f64 {
    let value = if value < LARGEST { value } else { LARGEST };
    if value > -LARGEST { value } else { -LARGEST }
}

impl Rule {
    /// Squared standardised deviation of a finite value. Kept free of branches: the bank's sweep
    /// is this function, vectorised.
    #[inline(always)]
    pub(super) fn score(&self, mean: f64, variance: f64, value: f64) -> f64 {
        let d = cut(value) - mean;
        d * d / self.scale_squared(mean, variance)
    }

    #[inline(always)]
    pub(super) fn scale_squared(&self, mean: f64, variance: f64) -> f64 {
        variance + (self.relative * (mean * mean) + self.absolute)
    }

    /// Mean and variance after `value` with weight `alpha`, where `keep` is `1 - alpha`.
    #[inline(always)]
    pub(super) fn blend(mean: f64, variance: f64, value: f64, alpha: f64, keep: f64) -> (f64, f64) {
        let d = cut(value) - mean;
        (mean + alpha * d, keep * (variance + alpha * (d * d)))
    }

    pub(super) fn p_value(&self, score: f64) -> f64 {
        self.tail.p_value(score.max(0.0).sqrt())
    }

    pub(super) fn assess(&self, moments: &Moments, sample: Sample) -> Verdict {
        if sample.time <= moments.last {
            return Verdict::unjudged(State::Late, Tier::One);
        }
        if sample.is_gap() {
            return Verdict::unjudged(State::Gap, Tier::One);
        }
        if moments.seen < self.warm_up {
            return Verdict::unjudged(State::WarmingUp, Tier::One);
        }
        let score = self.score(moments.mean, moments.variance, sample.value);
        self.verdict(moments.mean, moments.variance, sample.value, score)
    }

    pub(super) fn verdict(&self, mean: f64, variance: f64, value: f64, score: f64) -> Verdict {
        let half_band = (self.limit * self.scale_squared(mean, variance)).sqrt().min(LARGEST);
        let flagged = score >= self.limit;
        // The decision is made on the score; where rounding would let the two disagree, the p-value
        // follows it.
        let p_value = self.p_value(score);
        Verdict {
            state: State::Scored,
            tier: Tier::One,
            direction: side(value, mean),
            flagged,
            score,
            p_value: if flagged { p_value.min(self.rate) } else { p_value },
            expected: mean,
            lower: mean - half_band,
            upper: mean + half_band,
        }
    }

    pub(super) fn learn(&self, moments: &mut Moments, sample: Sample) {
        if sample.time <= moments.last {
            return;
        }
        moments.last = sample.time;
        if sample.is_gap() {
            return;
        }
        let alpha = if moments.seen < self.warm_up {
            moments.seen += 1;
            self.alpha.max(1.0 / f64::from(moments.seen))
        } else {
            self.alpha
        };
        // 1 - alpha of the steady state is kept, so that bank and detector round alike.
        let keep = if alpha == self.alpha { self.keep } else { 1.0 - alpha };
        (moments.mean, moments.variance) =
            Self::blend(moments.mean, moments.variance, sample.value, alpha, keep);
    }
}

impl Moments {
    pub(super) fn save(&self, out: &mut SnapshotWriter) {
        out.f64(self.mean);
        out.f64(self.variance);
        out.i64(self.last.as_nanos());
        out.u32(self.seen);
    }

    pub(super) fn load(from: &mut SnapshotReader<'_>) -> Result<Self> {
        Ok(Moments {
            mean: crate::saved::within(from, "mean", LARGEST)?,
            variance: crate::saved::within(from, "variance", 4.0 * LARGEST * LARGEST).and_then(
                |v| if v >= 0.0 { Ok(v) } else { Err(crate::saved::invalid("variance", v)) },
            )?,
            last: Timestamp::from_nanos(from.i64()?),
            seen: from.u32()?,
        })
    }
}

impl Detector for Ewma {
    fn name(&self) -> &'static str {
        "ewma"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        self.rule.assess(&self.moments, sample)
    }

    fn learn(&mut self, sample: Sample) {
        self.rule.learn(&mut self.moments, sample);
    }

    fn p_value(&self, score: f64) -> f64 {
        self.rule.p_value(score)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        self.moments.save(out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        self.moments = Moments::load(from)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;

    fn samples(values: &[f64]) -> Vec<Sample> {
        let at = |i: usize| Timestamp::from_secs(i as i64);
        values.iter().enumerate().map(|(i, v)| Sample::new(at(i), *v)).collect()
    }

    // Golden: pandas 3.1.1, `s.ewm(halflife=2, adjust=False).mean()` and
    // `.var(bias=True)` of [1,2,4,3,7,6,5,9] at the last row; relative tolerance 1e-12.
    // `adjust=False` starts at the first value with variance 0, as warm_up = 1 does here.
    #[test]
    fn moments_match_pandas() {
        let config = EwmaConfig { half_life: 2.0, warm_up: 1, ..EwmaConfig::default() };
        let mut detector = config.build().unwrap();
        detector.replay(samples(&[1.0, 2.0, 4.0, 3.0, 7.0, 6.0, 5.0, 9.0]));
        let Moments { mean, variance, .. } = detector.moments;
        assert!((mean / GOLDEN_MEAN - 1.0).abs() < 1e-12, "{mean}");
        assert!((variance / GOLDEN_VARIANCE - 1.0).abs() < 1e-12, "{variance}");
    }

    const GOLDEN_MEAN: f64 = 5.863_514_613_495_402;
    const GOLDEN_VARIANCE: f64 = 6.589_682_532_723_264;

    #[test]
    fn warm_up_gives_the_plain_moments() {
        let config = EwmaConfig { half_life: 1e9, warm_up: 5, ..EwmaConfig::default() };
        let mut detector = config.build().unwrap();
        detector.replay(samples(&[2.0, 4.0, 4.0, 4.0, 6.0]));
        assert!((detector.moments.mean - 4.0).abs() < 1e-12);
        assert!((detector.moments.variance - 1.6).abs() < 1e-12, "population variance");
    }

    #[test]
    fn nan_settings_are_refused() {
        let config = EwmaConfig { half_life: f64::NAN, ..EwmaConfig::default() };
        let error = config.build().unwrap_err();
        assert_eq!(error.to_string(), "invalid half_life: must be finite and > 0, got NaN");
    }
}
