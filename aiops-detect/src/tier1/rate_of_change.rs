//! [`RateOfChange`]: how fast a series moves, and counters with their resets.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Method, Result, Single, Tail, Tier, Verdict,
    error::{not_negative, positive},
    saved,
    yardstick::Yardstick,
};

/// Settings of [`RateOfChange`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RateOfChangeConfig {
    /// Whether the series only grows, but for resets to zero, as a counter does. Default false.
    pub counter: bool,
    /// Samples after which a rate counts half in what is usual. Default 480.
    pub half_life: f64,
    /// Rates to learn before judging. Default 30.
    pub warm_up: u32,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// Reference distribution for p-values. Default [`Tail::HeavyTailed`].
    pub tail: Tail,
    /// Least scale of the rate, as a share of the usual rate. Default 0.001.
    pub relative_floor: f64,
    /// Least scale, in units of the series per second. Default 1e-9.
    pub absolute_floor: f64,
}

impl Default for RateOfChangeConfig {
    fn default() -> Self {
        RateOfChangeConfig {
            counter: false,
            half_life: 480.0,
            warm_up: 30,
            false_positive_rate: 1e-3,
            tail: Tail::default(),
            relative_floor: 1e-3,
            absolute_floor: 1e-9,
        }
    }
}

impl RateOfChangeConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Single<RateOfChange>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<RateOfChange> {
        positive("half_life", self.half_life)?;
        not_negative("relative_floor", self.relative_floor)?;
        positive("absolute_floor", self.absolute_floor)?;
        Ok(RateOfChange {
            forget: 1.0 - 0.5_f64.powf(1.0 / self.half_life),
            yardstick: Yardstick::new(self.tail, self.false_positive_rate)?,
            config: self,
        })
    }
}

/// Change per second since the last value, against the usual one.
///
/// Finds jumps, bursts of a counter and counters that stall, whatever the level; time between samples
/// may differ. Fails to see what stays bad after it came: take a detector of the level for that.
///
/// With `r = (x - x_last) / (t - t_last)`: score = `|r - m| / s`, where `m` is the exponentially weighted
/// mean of the rates and `s` is `1.2533` times that of `|r - m|`, both learnt from rates cut at six scales, and `s` at
/// least `relative_floor · |m| + absolute_floor`. Of a [`counter`](RateOfChangeConfig::counter) that falls, `x_last` is taken as
/// zero: it was reset. Expectation and band are of the value, not of the rate.
///
/// A gap changes nothing: the next rate is over the whole gap. Values are taken as at most 1e100 in
/// size. Time O(1), memory 40 bytes.
#[derive(Debug, Clone)]
pub struct RateOfChange {
    config: RateOfChangeConfig,
    forget: f64,
    yardstick: Yardstick,
}

/// What a [`RateOfChange`] knows of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    value: f64,
    time: Timestamp,
    mean: f64,
    spread: f64,
    /// Rates learnt.
    seen: u32,
}

const LARGEST: f64 = 1e100;
const MEAN_TO_SIGMA: f64 = 1.253_314_137_315_500_3;
const CUT: f64 = 6.0;

/// A rate, and what it was measured with.
struct Step {
    rate: f64,
    from: f64,
    seconds: f64,
}

impl RateOfChange {
    fn step(&self, rates: &Rates, sample: Sample) -> Option<Step> {
        if rates.time == Timestamp::MIN {
            return None;
        }
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let reset = self.config.counter && value < rates.value;
        let from = if reset { 0.0 } else { rates.value };
        // At least a nanosecond, since it is later.
        let seconds = sample.time.seconds_after(rates.time).max(1e-9);
        Some(Step { rate: (value - from) / seconds, from, seconds })
    }

    fn scale(&self, rates: &Rates) -> f64 {
        let floor = self.config.relative_floor * rates.mean.abs() + self.config.absolute_floor;
        (MEAN_TO_SIGMA * rates.spread).max(floor)
    }
}

impl Method for RateOfChange {
    type State = Rates;

    fn name(&self) -> &'static str {
        "rate_of_change"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Rates {
        Rates { value: 0.0, time: Timestamp::MIN, mean: 0.0, spread: 0.0, seen: 0 }
    }

    fn judge(&self, rates: &Rates, sample: Sample) -> Option<Verdict> {
        let step = self.step(rates, sample).filter(|_| rates.seen >= self.config.warm_up)?;
        let verdict = self.yardstick.verdict(Tier::One, step.rate, rates.mean, self.scale(rates));
        let value = |rate: f64| (step.from + rate * step.seconds).clamp(-f64::MAX, f64::MAX);
        let (expected, lower, upper) =
            (value(verdict.expected), value(verdict.lower), value(verdict.upper));
        Some(Verdict { expected, lower, upper, ..verdict })
    }

    fn learn(&self, rates: &mut Rates, sample: Sample) {
        if let Some(step) = self.step(rates, sample) {
            rates.seen = rates.seen.saturating_add(1);
            let weight = self.forget.max(1.0 / f64::from(rates.seen));
            let mut off = step.rate - rates.mean;
            if rates.seen > self.config.warm_up {
                let most = CUT * self.scale(rates);
                off = off.clamp(-most, most);
            } else if rates.seen == 1 {
                // The first rate is all that is known; it says nothing of the spread.
                rates.mean = step.rate;
                off = 0.0;
            }
            rates.mean += weight * off;
            rates.spread += weight * (off.abs() - rates.spread);
        }
        rates.value = sample.value.clamp(-LARGEST, LARGEST);
        rates.time = sample.time;
    }

    fn p_value(&self, _rates: &Rates, score: f64) -> f64 {
        self.yardstick.p_value(score)
    }

    fn save(&self, rates: &Rates, out: &mut SnapshotWriter) {
        [rates.value, rates.mean, rates.spread].iter().for_each(|v| out.f64(*v));
        saved::time(out, rates.time);
        out.u32(rates.seen);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Rates> {
        Ok(Rates {
            value: saved::within(from, "value", LARGEST)?,
            mean: saved::finite(from, "mean")?,
            spread: saved::not_negative(from, "spread")?,
            time: saved::read_time(from)?,
            seen: from.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detector, DetectorExt};

    #[test]
    fn a_counter_reset_is_no_jump_and_a_stall_is_found() {
        let config = RateOfChangeConfig { counter: true, ..RateOfChangeConfig::default() };
        let mut detector = config.build().unwrap();
        let mut total = 0.0;
        let mut samples = Vec::new();
        for i in 0..400_i64 {
            let requests = 100.0 + (i * 37 % 11) as f64;
            total = if i == 200 {
                requests
            } else if i > 380 {
                total
            } else {
                total + requests
            };
            samples.push(Sample::new(Timestamp::from_secs(10 * i), total));
        }
        let verdicts = detector.replay(samples);
        assert!(verdicts[..381].iter().all(|v| !v.flagged), "neither usual growth nor the reset");
        assert!(verdicts[381].flagged, "nothing was counted");
        assert!(verdicts[381].lower > total, "it should have grown");
    }

    // By hand: from 5 at 0 s to 11 at 3 s, two a second.
    #[test]
    fn rates_are_per_second() {
        let mut detector = RateOfChangeConfig::default().build().unwrap();
        detector.learn(Sample::new(Timestamp::from_secs(0), 5.0));
        detector.learn(Sample::new(Timestamp::from_secs(3), 11.0));
        assert_eq!(detector.state().mean, 2.0);
    }
}
