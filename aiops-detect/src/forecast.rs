//! [`Forecaster`] and [`Residual`]: whoever can say what comes next is a detector.

use std::time::Duration;

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Method, Result, Tail, Tier, Verdict,
    error::{not_negative, positive},
    saved,
    yardstick::Yardstick,
};

/// Expects the next value of a series, one step after the other.
///
/// Implementations keep every number they hold below 1e140 in size when what they learn is below
/// 1e100, so that nothing overflows, and answer `None` until they have something to go by.
pub trait Forecaster: Clone + Send {
    /// A short, stable name for reports.
    fn name(&self) -> &'static str;

    /// The tier that verdicts made of its forecasts belong to.
    fn tier(&self) -> Tier {
        Tier::Two
    }

    /// The value expected after `skipped` more steps without one; `None` before anything can be said.
    fn forecast(&self, skipped: u64) -> Option<f64>;

    /// Takes the value of this step.
    fn learn(&mut self, value: f64);

    /// Moves on by steps that had no value.
    fn skip(&mut self, steps: u64);

    /// Bytes of state.
    fn bytes(&self) -> usize;

    /// Writes everything that was learnt.
    fn save(&self, out: &mut SnapshotWriter);

    /// Replaces what was learnt by what `save` wrote.
    ///
    /// # Errors
    /// When the bytes do not fit these settings; the forecaster may then be in any valid state.
    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()>;
}

/// Settings of a [`Residual`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResidualConfig {
    /// Residuals to learn before judging. Default 30.
    pub warm_up: u32,
    /// Samples after which a residual counts half in the scale. Default 1000: slow, or a burst
    /// widens the very band that it should leave.
    pub scale_half_life: f64,
    /// What is learnt, by forecaster and scale, is at most this many scales from the forecast. Default
    /// 6. One absurd value must not spoil the next season; a lasting shift still gets through, a
    /// step at a time. Infinite to switch it off.
    pub cut: f64,
    /// Time between samples, where it is regular: steps that are missing are then counted from the
    /// time stamps. Default `None`: every sample, gaps included, is one step.
    pub step: Option<Duration>,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Reference distribution for p-values. Default [`Tail::HeavyTailed`].
    pub tail: Tail,
    /// Least scale, as a share of the forecast. Default 0.001.
    pub relative_floor: f64,
    /// Least scale in the unit of the series. Default 1e-9.
    pub absolute_floor: f64,
}

impl Default for ResidualConfig {
    fn default() -> Self {
        ResidualConfig {
            warm_up: 30,
            scale_half_life: 1000.0,
            cut: 6.0,
            step: None,
            false_positive_rate: 1e-3,
            tail: Tail::default(),
            relative_floor: 1e-3,
            absolute_floor: 1e-9,
        }
    }
}

impl ResidualConfig {
    /// Judges by the forecasts of `forecaster`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn of<F: Forecaster>(self, forecaster: F) -> Result<Residual<F>> {
        positive("scale_half_life", self.scale_half_life)?;
        not_negative("relative_floor", self.relative_floor)?;
        positive("absolute_floor", self.absolute_floor)?;
        if !(self.cut >= 1.0) {
            let reason = format!("must be at least 1 or infinite, got {}", self.cut);
            return Err(Error::config("cut", reason));
        }
        if self.step.is_some_and(|step| step.is_zero()) {
            return Err(Error::config("step", "must be longer than nothing"));
        }
        Ok(Residual {
            yardstick: Yardstick::new(self.tail, self.false_positive_rate)?,
            forget: 1.0 - 0.5_f64.powf(1.0 / self.scale_half_life),
            config: self,
            forecaster,
        })
    }
}

/// Distance of a value from its forecast, in slowly forgetting mean residuals.
///
/// Finds what its forecaster does not expect. Score = `|x - f| / s`, where `s` is `1.2533` times the
/// exponentially weighted mean of `|x - f|` (the standard deviation of normal noise), at least
/// `relative_floor · |f| + absolute_floor`. During the first half-life all residuals count alike. The
/// p-value is the chance of `score` scales in [`ResidualConfig::tail`]; wrap the detector in
/// [`Calibrated`](crate::Calibrated) for p-values from the series' own past.
///
/// A gap is answered with [`State::Gap`](crate::State::Gap) and moves the forecaster on by a step;
/// where [`ResidualConfig::step`] is given, so does every step without a sample. Values are taken as
/// at most 1e100 in size. Time and memory: those of the forecaster and 24 bytes.
#[derive(Debug, Clone)]
pub struct Residual<F> {
    config: ResidualConfig,
    yardstick: Yardstick,
    forget: f64,
    forecaster: F,
}

/// What a [`Residual`] knows of one series.
#[derive(Debug, Clone)]
pub struct Residuals<F> {
    forecaster: F,
    /// Mean absolute residual.
    scale: f64,
    /// Residuals learnt.
    seen: u64,
    /// When the forecaster last moved on.
    last: Timestamp,
}

impl<F> Residuals<F> {
    /// The forecaster, with all it has learnt.
    pub fn forecaster(&self) -> &F {
        &self.forecaster
    }
}

/// Larger values are taken as this.
const LARGEST: f64 = 1e100;
/// Standard deviation of normal noise over its mean absolute value, `√(π/2)`.
const MEAN_TO_SIGMA: f64 = 1.253_314_137_315_500_3;

impl<F: Forecaster> Residual<F> {
    /// Steps without a sample between the last one and `time`.
    fn skipped(&self, last: Timestamp, time: Timestamp) -> u64 {
        match self.config.step {
            Some(step) if last > Timestamp::MIN => {
                let steps = time.since(last).as_nanos() + step.as_nanos() / 2;
                ((steps / step.as_nanos()) as u64).saturating_sub(1)
            }
            _ => 0,
        }
    }

    fn scale(&self, state: &Residuals<F>, expected: f64) -> f64 {
        let floor = self.config.relative_floor * expected.abs() + self.config.absolute_floor;
        (MEAN_TO_SIGMA * state.scale).max(floor)
    }
}

impl<F: Forecaster> Method for Residual<F> {
    type State = Residuals<F>;

    fn name(&self) -> &'static str {
        self.forecaster.name()
    }

    fn tier(&self) -> Tier {
        self.forecaster.tier()
    }

    fn fresh(&self) -> Residuals<F> {
        let forecaster = self.forecaster.clone();
        Residuals { forecaster, scale: 0.0, seen: 0, last: Timestamp::MIN }
    }

    fn judge(&self, state: &Residuals<F>, sample: Sample) -> Option<Verdict> {
        if state.seen < u64::from(self.config.warm_up) {
            return None;
        }
        let expected = state.forecaster.forecast(self.skipped(state.last, sample.time))?;
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let scale = self.scale(state, expected);
        Some(self.yardstick.verdict(self.tier(), value, expected, scale))
    }

    fn learn(&self, state: &mut Residuals<F>, sample: Sample) {
        let skipped = self.skipped(state.last, sample.time);
        state.last = sample.time;
        if skipped > 0 {
            state.forecaster.skip(skipped);
        }
        let mut value = sample.value.clamp(-LARGEST, LARGEST);
        if let Some(expected) = state.forecaster.forecast(0) {
            if state.seen >= u64::from(self.config.warm_up) {
                let most = (self.config.cut * self.scale(state, expected)).min(4.0 * LARGEST);
                value = value.clamp(expected - most, expected + most);
            }
            state.seen = state.seen.saturating_add(1);
            let weight = self.forget.max(1.0 / state.seen as f64);
            state.scale += weight * ((value - expected).abs() - state.scale);
        }
        state.forecaster.learn(value.clamp(-LARGEST, LARGEST));
    }

    fn skip(&self, state: &mut Residuals<F>, time: Timestamp) {
        let steps = self.skipped(state.last, time) + 1;
        state.last = time;
        state.forecaster.skip(steps);
    }

    fn p_value(&self, _state: &Residuals<F>, score: f64) -> f64 {
        self.yardstick.p_value(score)
    }

    fn bytes(&self) -> usize {
        size_of::<Residuals<F>>() - size_of::<F>() + self.forecaster.bytes()
    }

    fn save(&self, state: &Residuals<F>, out: &mut SnapshotWriter) {
        out.f64(state.scale);
        out.u64(state.seen);
        saved::time(out, state.last);
        state.forecaster.save(out);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Residuals<F>> {
        let mut state = self.fresh();
        state.scale = saved::not_negative(from, "scale")?;
        state.seen = from.u64()?;
        state.last = saved::read_time(from)?;
        state.forecaster.load(from)?;
        Ok(state)
    }
}
