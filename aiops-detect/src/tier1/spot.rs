//! [`Spot`]: how extreme a value is, by the tail of those before it (SPOT and DSPOT).

use aiops_core::{Direction, Sample, SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{
    Calibrator, CalibratorConfig, Error, Method, Result, Single, State, Tier, Verdict,
    error::probability, saved, verdict::side, window,
};

/// Settings of [`Spot`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpotConfig {
    /// Values in the moving average that extremes are measured from, up to 2^20; 0 for the median of the
    /// first [`warm_up`](Self::warm_up) values for good (SPOT). Default 10 (DSPOT, as in its paper).
    pub depth: usize,
    /// Whether values far below count too. Default true.
    pub both_sides: bool,
    /// Values to learn before judging, 8 to 10,000. Default 200.
    pub warm_up: usize,
    /// Tolerated share of normal samples that are flagged. Default 0.001.
    pub false_positive_rate: f64,
    /// The distribution of distances, body and tail. Default horizon 100,000.
    pub calibrator: CalibratorConfig,
}

impl Default for SpotConfig {
    fn default() -> Self {
        SpotConfig {
            depth: 10,
            both_sides: true,
            warm_up: 200,
            false_positive_rate: 1e-3,
            calibrator: CalibratorConfig::default(),
        }
    }
}

impl SpotConfig {
    /// Extremes of a series without drift, from its median.
    pub fn stationary() -> Self {
        SpotConfig { depth: 0, ..SpotConfig::default() }
    }

    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Spot>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Spot> {
        probability("false_positive_rate", self.false_positive_rate)?;
        if self.depth > 1 << 20 {
            let reason = format!("must be at most 2^20, got {}", self.depth);
            return Err(Error::config("depth", reason));
        }
        if !(8..=10_000).contains(&self.warm_up) {
            let reason = format!("must be within 8 and 10000, got {}", self.warm_up);
            return Err(Error::config("warm_up", reason));
        }
        let calibrator = self.calibrator.clone().build()?;
        Ok(Spot { config: self, calibrator })
    }
}

/// Extreme values by extreme value theory, in one knob: the tolerated rate.
///
/// Finds single values further out than the tail of the earlier ones makes likely, whatever their
/// distribution. Fails on seasons, which are its body, and on what is odd without being extreme.
///
/// A value's distance from the average of the last [`depth`](SpotConfig::depth) values (DSPOT), or from the median of the
/// first ones (SPOT), above and below apart, gets the p-value that the distances so far give it: their ranks in the body, a
/// Pareto tail beyond, both from [`Calibrator`]. Score = distance. The tolerated rate is shared
/// between the sides.
///
/// A gap changes nothing. Values are taken as at most 1e100 in size. Time O(1), memory 2 KiB, 8
/// bytes a value of the depth, and 16 a value of the warm-up while it lasts.
///
/// Source: Siffer, Fouque, Termier & Largouët 2017, "Anomaly detection in streams with extreme value
/// theory", sections 4.3 and 4.4. Deviations: the tail is the heavy one of the calibrator, fitted by Hill's
/// estimate to logarithmic bins, instead of a generalised Pareto tail by likelihood: the same for heavy tails,
/// quieter for light ones, and without a search at each peak. Flagged values are learnt too: without them the observed rate
/// runs away from the knob (measured: see [`Calibrator`]).
#[derive(Debug, Clone)]
pub struct Spot {
    config: SpotConfig,
    calibrator: Calibrator,
}

/// What a [`Spot`] knows of one series.
#[derive(Debug, Clone)]
pub struct Peaks {
    /// Last values; in SPOT the first ones, until the level is known.
    ring: Vec<f64>,
    head: usize,
    sum: f64,
    /// SPOT's level.
    level: Option<f64>,
    seen: u64,
    above: Calibrator,
    below: Calibrator,
}

const LARGEST: f64 = 1e100;

impl Spot {
    fn level(&self, peaks: &Peaks) -> Option<f64> {
        if self.config.depth == 0 {
            return peaks.level;
        }
        (peaks.ring.len() == self.config.depth).then(|| peaks.sum / self.config.depth as f64)
    }

    fn side<'a>(&self, peaks: &'a Peaks, distance: f64) -> &'a Calibrator {
        if distance >= 0.0 { &peaks.above } else { &peaks.below }
    }

    /// How many sides share the tolerated rate.
    fn sides(&self) -> f64 {
        if self.config.both_sides { 2.0 } else { 1.0 }
    }

    fn push(&self, peaks: &mut Peaks, value: f64) {
        let depth = self.config.depth;
        if depth == 0 {
            if peaks.level.is_some() {
                return;
            }
            peaks.ring.push(value);
            if peaks.ring.len() == self.config.warm_up {
                let values = std::mem::take(&mut peaks.ring);
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                let level = window::median(&sorted);
                peaks.level = Some(level);
                values.iter().for_each(|value| learn(peaks, value - level));
            }
            return;
        }
        if peaks.ring.len() < depth {
            peaks.ring.push(value);
            peaks.sum += value;
            return;
        }
        let old = std::mem::replace(&mut peaks.ring[peaks.head], value);
        peaks.head += 1;
        if peaks.head == depth {
            peaks.head = 0;
            peaks.sum = peaks.ring.iter().sum(); // anew, so that rounding does not add up
        } else {
            peaks.sum += value - old;
        }
    }
}

fn learn(peaks: &mut Peaks, distance: f64) {
    if distance >= 0.0 {
        peaks.above.learn(distance);
    } else {
        peaks.below.learn(-distance);
    }
}

impl Method for Spot {
    type State = Peaks;

    fn name(&self) -> &'static str {
        if self.config.depth == 0 { "spot" } else { "dspot" }
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Peaks {
        let (above, below) = (self.calibrator.clone(), self.calibrator.clone());
        Peaks { ring: Vec::new(), head: 0, sum: 0.0, level: None, seen: 0, above, below }
    }

    fn judge(&self, peaks: &Peaks, sample: Sample) -> Option<Verdict> {
        if peaks.seen < self.config.warm_up as u64 {
            return None;
        }
        let level = self.level(peaks)?;
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let distance = value - level;
        let counts = distance >= 0.0 || self.config.both_sides;
        let score = if counts { distance.abs() } else { 0.0 };
        // Each side has its own distribution and its share of all values.
        let (here, there) = (self.side(peaks, distance), self.side(peaks, -distance));
        let share = here.learnt() / (here.learnt() + there.learnt()).max(1.0);
        let p_value = match here.p_value(score).filter(|_| counts) {
            Some(p) => (p * share * self.sides()).clamp(f64::MIN_POSITIVE, 1.0),
            None => 1.0,
        };
        Some(Verdict {
            direction: if counts { side(value, level) } else { Direction::None },
            flagged: p_value <= self.config.false_positive_rate,
            score,
            p_value,
            ..Verdict::unjudged(State::Scored, Tier::One)
        })
    }

    fn learn(&self, peaks: &mut Peaks, sample: Sample) {
        let value = sample.value.clamp(-LARGEST, LARGEST);
        peaks.seen = peaks.seen.saturating_add(1);
        if let Some(level) = self.level(peaks) {
            learn(peaks, value - level);
        }
        self.push(peaks, value);
    }

    fn p_value(&self, peaks: &Peaks, score: f64) -> f64 {
        peaks.above.p_value(score).unwrap_or(1.0)
    }

    fn bytes(&self) -> usize {
        size_of::<Peaks>() + self.config.depth * size_of::<f64>()
    }

    fn save(&self, peaks: &Peaks, out: &mut SnapshotWriter) {
        out.f64s(&peaks.ring);
        out.u32(peaks.head as u32);
        out.f64(peaks.sum);
        out.f64(peaks.level.unwrap_or(f64::NAN));
        out.u64(peaks.seen);
        peaks.above.save(out);
        peaks.below.save(out);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Peaks> {
        let mut peaks = self.fresh();
        let most = if self.config.depth == 0 { self.config.warm_up - 1 } else { self.config.depth };
        peaks.ring = saved::numbers(from, "window", most, LARGEST)?;
        peaks.head = from.u32()? as usize;
        if peaks.head >= most {
            return Err(saved::invalid("head", peaks.head));
        }
        peaks.sum = saved::within(from, "sum", 1e108)?;
        let level = from.f64()?;
        if level.abs() > LARGEST {
            return Err(saved::invalid("level", level));
        }
        peaks.level = (!level.is_nan()).then_some(level);
        peaks.seen = from.u64()?;
        peaks.above.load(from)?;
        peaks.below.load(from)?;
        Ok(peaks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DetectorExt, testing::Noise};
    use aiops_core::Timestamp;

    fn flags(config: SpotConfig, value: impl Fn(usize, f64) -> f64) -> Vec<(usize, Direction)> {
        let mut noise = Noise::new(11);
        let samples = (0..40_000)
            .map(|i| Sample::new(Timestamp::from_secs(i as i64), value(i, noise.normal())));
        let verdicts = config.build().unwrap().replay(samples);
        let flagged = verdicts.iter().enumerate().filter(|(_, v)| v.flagged);
        flagged.map(|(i, v)| (i, v.direction)).collect()
    }

    #[test]
    fn flags_are_as_frequent_as_tolerated_on_both_sides() {
        // The third power of normal noise: heavy tails on both sides.
        for config in [SpotConfig::default(), SpotConfig::stationary()] {
            let found = flags(config.clone(), |_, noise| 100.0 + noise.powi(3));
            assert!((20..=60).contains(&found.len()), "{config:?}: {} for 40", found.len());
            let above = found.iter().filter(|f| f.1 == Direction::Above).count();
            assert!((0.25..0.75).contains(&(above as f64 / found.len() as f64)), "{above}");
        }
    }

    #[test]
    fn drift_is_no_extreme_for_dspot_and_a_spike_is() {
        let value =
            |i: usize, noise: f64| 0.01 * i as f64 + noise + if i == 30_000 { 15.0 } else { 0.0 };
        let found = flags(SpotConfig::default(), value);
        assert!(found.contains(&(30_000, Direction::Above)) && found.len() < 60, "{}", found.len());
    }

    #[test]
    fn one_side_can_be_asked_for() {
        let config = SpotConfig { both_sides: false, ..SpotConfig::default() };
        let found = flags(config, |_, noise| noise.powi(3));
        assert!(found.iter().all(|f| f.1 == Direction::Above) && found.len() >= 20);
    }
}
