//! [`Cusum`]: small deviations that add up, as CUSUM and as the Page-Hinkley test.

use aiops_core::{Sample, SnapshotReader, SnapshotWriter};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Method, Result, Single, State, Tier, Verdict,
    error::{at_least, not_negative, positive, probability},
    saved,
    verdict::side,
};

/// What deviations are measured from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Baseline {
    /// A mean that is known: the textbook CUSUM.
    Known {
        /// The mean, in the unit of the series.
        mean: f64,
    },
    /// The exponentially weighted mean of what came before: a tabular CUSUM that forgets.
    Slow {
        /// Samples after which a sample counts half.
        half_life: f64,
    },
    /// The plain mean since the last change that was flagged: the Page-Hinkley test.
    SinceChange,
}

/// Settings of [`Cusum`]. The defaults are a CUSUM against a slow mean;
/// [`page_hinkley`](Self::page_hinkley) has those of the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CusumConfig {
    /// What deviations are measured from. Default: slow, half-life 1000.
    pub baseline: Baseline,
    /// Standard deviation of the noise, where it is known. Default `None`: learnt with the baseline.
    pub scale: Option<f64>,
    /// Deviations of so many scales do not add up. Default 0.5, best for shifts of one scale.
    pub slack: f64,
    /// A single deviation counts as at most so many scales, at least 1. Default 4: it takes several.
    pub cut: f64,
    /// Samples to learn before judging, at least 2. Default 30; a known baseline and scale need none.
    pub warm_up: u32,
    /// Tolerated share of normal samples that are flagged, of independent normal noise. Default 0.001.
    pub false_positive_rate: f64,
    /// Least scale, as a share of the mean. Default 0.001.
    pub relative_floor: f64,
    /// Least scale in the unit of the series. Default 1e-9.
    pub absolute_floor: f64,
}

impl Default for CusumConfig {
    fn default() -> Self {
        CusumConfig {
            baseline: Baseline::Slow { half_life: 1000.0 },
            scale: None,
            slack: 0.5,
            cut: 4.0,
            warm_up: 30,
            false_positive_rate: 1e-3,
            relative_floor: 1e-3,
            absolute_floor: 1e-9,
        }
    }
}

impl CusumConfig {
    /// The Page-Hinkley test: from the plain mean since the last change, with less slack.
    pub fn page_hinkley() -> Self {
        CusumConfig { baseline: Baseline::SinceChange, slack: 0.25, ..CusumConfig::default() }
    }

    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Single<Cusum>> {
        Ok(Single::new(self.method()?))
    }

    /// What [`Single`] and [`Columns`](crate::Columns) are made of.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn method(self) -> Result<Cusum> {
        if let Some(scale) = self.scale {
            positive("scale", scale)?;
        }
        match self.baseline {
            Baseline::Known { mean } if !(mean.abs() <= LARGEST) => {
                return Err(Error::config("baseline", format!("must be finite, got {mean}")));
            }
            Baseline::Slow { half_life } => positive("half_life", half_life)?,
            Baseline::Known { .. } | Baseline::SinceChange => {}
        }
        if !(self.slack > 0.0 && self.slack <= 10.0) {
            let reason = format!("must be above 0 and at most 10, got {}", self.slack);
            return Err(Error::config("slack", reason));
        }
        if !(self.cut >= 1.0 && self.cut > self.slack) {
            let reason = format!("must be at least 1 and above slack, got {}", self.cut);
            return Err(Error::config("cut", reason));
        }
        at_least("warm_up", self.warm_up as usize, 2)?;
        probability("false_positive_rate", self.false_positive_rate)?;
        not_negative("relative_floor", self.relative_floor)?;
        positive("absolute_floor", self.absolute_floor)?;
        let forget = match self.baseline {
            Baseline::Slow { half_life } => 1.0 - 0.5_f64.powf(1.0 / half_life),
            Baseline::Known { .. } | Baseline::SinceChange => 0.0,
        };
        let limit = limit(self.slack, self.false_positive_rate);
        Ok(Cusum { forget, limit, config: self })
    }
}

/// Cumulative sum of deviations from a baseline, above and below.
///
/// Finds small lasting shifts that no single sample shows: one of a standard deviation within about
/// ten samples. Fails on seasons and on autocorrelated noise, where deviations add up by themselves:
/// give it residuals, or wrap it in [`Calibrated`](crate::Calibrated).
///
/// With `z = (x - m) / s`, cut at ±[`cut`](CusumConfig::cut): `S⁺ = max(0, S⁺ + z - k)`,
/// `S⁻ = max(0, S⁻ - z - k)`, `k` being [`slack`](CusumConfig::slack). Score = the larger. The p-value is one over the number
/// of independent normal samples until such a score, by Siegmund's approximation for two sides:
/// `(e^(2kb) - 2kb - 1) / 4k²` with `b = score + 1.166`. Sums stop at three times the threshold, so that they come
/// down again when the shift is over. The baseline's scale is `1.2533` times the mean of
/// the cut distances. With [`Baseline::SinceChange`] the mean includes the sample itself, and everything starts anew after a
/// flag, as Page-Hinkley has it.
///
/// A gap changes nothing. Values are taken as at most 1e100 in size. Time O(1), memory 40 bytes.
///
/// Source: Page 1954, "Continuous inspection schemes"; Siegmund 1985, "Sequential analysis", section
/// 2.6; Montgomery 2013, "Introduction to statistical quality control", section 9.1. Deviations: the cut, the
/// ceiling, and the learnt baseline.
///
/// ```
/// use aiops_core::{Sample, Timestamp};
/// use aiops_detect::{Detector, tier1::CusumConfig};
/// let mut detector = CusumConfig::default().build()?;
/// let noise = |i: i64| (i * 37 % 11) as f64 - 5.0;
/// let mut found = None;
/// for i in 0..500 {
///     let level = if i < 400 { 100.0 } else { 106.0 }; // two standard deviations
///     let sample = Sample::new(Timestamp::from_secs(i), level + noise(i));
///     if detector.update(sample).flagged {
///         found = found.or(Some(i));
///     }
/// }
/// assert!(found.is_some_and(|at| (400..410).contains(&at)), "{found:?}");
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cusum {
    config: CusumConfig,
    forget: f64,
    limit: f64,
}

/// What a [`Cusum`] knows of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sums {
    above: f64,
    below: f64,
    mean: f64,
    /// Mean absolute deviation.
    spread: f64,
    /// Samples in the mean.
    seen: u32,
    /// Samples in the spread, which outlives a change.
    spread_seen: u32,
}

const LARGEST: f64 = 1e100;
const MEAN_TO_SIGMA: f64 = 1.253_314_137_315_500_3;
/// Siegmund's correction for sums that overshoot.
const OVERSHOOT: f64 = 1.166;

/// One over the average run length of the two-sided sum until `score`.
fn p_value(slack: f64, score: f64) -> f64 {
    let x = 2.0 * slack * (score + OVERSHOOT);
    // For short runs the difference of the three terms would cancel.
    let excess = if x < 1e-3 { x * x / 2.0 } else { x.min(700.0).exp() - x - 1.0 };
    let one_side = excess / (2.0 * slack * slack);
    (2.0 / one_side).clamp(f64::MIN_POSITIVE, 1.0)
}

/// The score whose p-value is `rate`, by bisection: p-values fall in the score.
fn limit(slack: f64, rate: f64) -> f64 {
    let (mut low, mut high) = (0.0, 350.0 / slack);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if p_value(slack, middle) > rate { low = middle } else { high = middle }
    }
    high
}

impl Cusum {
    /// Mean and scale that a sample is measured by; `None` while warming up.
    fn baseline(&self, sums: &Sums, value: f64) -> Option<(f64, f64)> {
        let config = &self.config;
        let mean = match config.baseline {
            Baseline::Known { mean } => mean,
            Baseline::Slow { .. } if sums.seen < config.warm_up => return None,
            Baseline::Slow { .. } => sums.mean,
            Baseline::SinceChange => sums.mean + (value - sums.mean) / (f64::from(sums.seen) + 1.0),
        };
        let scale = match config.scale {
            Some(scale) => scale,
            None if sums.spread_seen < config.warm_up => return None,
            None => {
                let floor = config.relative_floor * mean.abs() + config.absolute_floor;
                (MEAN_TO_SIGMA * sums.spread).max(floor)
            }
        };
        Some((mean, scale))
    }

    /// The sums after a deviation of `z` scales.
    fn sums(&self, sums: &Sums, z: f64) -> (f64, f64) {
        let z = z.clamp(-self.config.cut, self.config.cut);
        let most = 3.0 * self.limit;
        let add = |sum: f64, z: f64| (sum + z - self.config.slack).clamp(0.0, most);
        (add(sums.above, z), add(sums.below, -z))
    }
}

impl Method for Cusum {
    type State = Sums;

    fn name(&self) -> &'static str {
        match self.config.baseline {
            Baseline::SinceChange => "page_hinkley",
            Baseline::Known { .. } | Baseline::Slow { .. } => "cusum",
        }
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn fresh(&self) -> Sums {
        Sums { above: 0.0, below: 0.0, mean: 0.0, spread: 0.0, seen: 0, spread_seen: 0 }
    }

    fn judge(&self, sums: &Sums, sample: Sample) -> Option<Verdict> {
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let (mean, scale) = self.baseline(sums, value)?;
        let (above, below) = self.sums(sums, (value - mean) / scale);
        let score = above.max(below);
        let flagged = score >= self.limit;
        let p_value = p_value(self.config.slack, score);
        // The side that has added up, even if this one sample is on the other.
        let towards = mean + (above - below);
        // What this sample alone would need to be flagged.
        let room = |sum: f64| (self.limit - sum + self.config.slack).max(0.0) * scale;
        Some(Verdict {
            state: State::Scored,
            tier: Tier::One,
            direction: if score > 0.0 { side(towards, mean) } else { side(value, mean) },
            flagged,
            score,
            p_value: if flagged { p_value.min(self.config.false_positive_rate) } else { p_value },
            expected: mean,
            lower: mean - room(sums.below),
            upper: mean + room(sums.above),
        })
    }

    fn learn(&self, sums: &mut Sums, sample: Sample) {
        let value = sample.value.clamp(-LARGEST, LARGEST);
        let known = self.baseline(sums, value);
        let mut learnt = value;
        if let Some((mean, scale)) = known {
            (sums.above, sums.below) = self.sums(sums, (value - mean) / scale);
            let most = self.config.cut * scale;
            learnt = value.clamp(mean - most, mean + most);
            if matches!(self.config.baseline, Baseline::SinceChange)
                && sums.above.max(sums.below) >= self.limit
            {
                (sums.above, sums.below) = (0.0, 0.0);
                (sums.mean, sums.seen) = (0.0, 0);
                return;
            }
        }
        sums.seen = sums.seen.saturating_add(1);
        let from = if sums.seen == 1 { learnt } else { sums.mean };
        // Page-Hinkley's mean is of the values as they are.
        let next = if self.forget > 0.0 { learnt } else { value };
        sums.mean += self.forget.max(1.0 / f64::from(sums.seen)) * (next - sums.mean);
        sums.spread_seen = sums.spread_seen.saturating_add(1);
        let weight = self.forget.max(1.0 / f64::from(sums.spread_seen));
        sums.spread += weight * ((learnt - from).abs() - sums.spread);
    }

    fn p_value(&self, _sums: &Sums, score: f64) -> f64 {
        p_value(self.config.slack, score)
    }

    fn save(&self, sums: &Sums, out: &mut SnapshotWriter) {
        [sums.above, sums.below, sums.mean, sums.spread].iter().for_each(|v| out.f64(*v));
        out.u32(sums.seen);
        out.u32(sums.spread_seen);
    }

    fn load(&self, from: &mut SnapshotReader<'_>) -> Result<Sums> {
        let sum = |from: &mut SnapshotReader<'_>| {
            let sum = saved::not_negative(from, "sum")?;
            Ok::<f64, Error>(sum.min(3.0 * self.limit))
        };
        Ok(Sums {
            above: sum(from)?,
            below: sum(from)?,
            mean: saved::within(from, "mean", LARGEST)?,
            spread: saved::not_negative(from, "spread")?,
            seen: from.u32()?,
            spread_seen: from.u32()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DetectorExt, testing::Noise};
    use aiops_core::Timestamp;

    fn scores(config: CusumConfig, values: &[f64]) -> Vec<(f64, f64)> {
        let mut detector = config.build().unwrap();
        let at = |i: usize, v: f64| Sample::new(Timestamp::from_secs(i as i64), v);
        values
            .iter()
            .enumerate()
            .map(|(i, v)| {
                detector.replay([at(i, *v)]);
                (detector.state().above, detector.state().below)
            })
            .collect()
    }

    // Golden: Montgomery 2013, table 9.2: mean 10, standard deviation 1, slack 0.5; two decimals.
    #[test]
    fn the_textbook_sums() {
        let values = [
            9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34, 9.03, 11.47, 10.51,
            9.40, 10.08, 9.37, 10.62, 10.31, 8.52, 10.84, 10.90, 9.33, 12.29, 11.50, 10.60, 11.08,
            10.38, 11.62, 11.31, 10.52,
        ];
        let baseline = Baseline::Known { mean: 10.0 };
        let config = CusumConfig { baseline, scale: Some(1.0), ..CusumConfig::default() };
        let found = scores(config, &values);
        let expected = [
            (1, 0.0, 0.05),
            (3, 0.0, 1.77),
            (5, 2.82, 0.0),
            (7, 0.04, 1.46),
            (25, 2.89, 0.0),
            (29, 5.28, 0.0),
            (30, 5.30, 0.0),
        ];
        for (i, above, below) in expected {
            let (a, b) = found[i - 1];
            assert!((a - above).abs() < 6e-3 && (b - below).abs() < 6e-3, "{i}: {a} {b}");
        }
    }

    // Golden: Montgomery 2013, section 9.1.3: average run lengths 168 at h = 4 and 465 at h = 5, to the
    // percent that Siegmund's approximation is off.
    #[test]
    fn run_lengths_match_the_textbook() {
        for (h, length) in [(4.0, 168.0), (5.0, 465.0)] {
            let found = 1.0 / p_value(0.5, h);
            assert!((found / length - 1.0).abs() < 0.015, "{found}");
        }
        assert!((p_value(0.5, limit(0.5, 1e-3)) / 1e-3 - 1.0).abs() < 1e-9);
    }

    // Golden: river 0.26.1, `PageHinkley(delta=0.25, alpha=1)`, whose `sum - min` this is as long as nothing
    // is detected, see `tests/golden/tier1.py`; 1e-9.
    #[test]
    fn page_hinkley_matches_river() {
        let values: Vec<f64> = (0..40)
            .map(|i| f64::from(i * 37 % 11) / 5.0 - if i < 25 { 1.0 } else { 0.4 })
            .collect();
        let config = CusumConfig { scale: Some(1.0), ..CusumConfig::page_hinkley() };
        let found = scores(config, &values);
        for (i, above, below) in RIVER {
            let (a, b) = found[i];
            assert!((a - above).abs() < 1e-9 && (b - below).abs() < 1e-9, "{i}: {a} {b}");
        }
    }

    #[test]
    fn independent_noise_is_flagged_as_often_as_tolerated() {
        let mut noise = Noise::new(8);
        let config = CusumConfig {
            baseline: Baseline::Known { mean: 0.0 },
            scale: Some(1.0),
            false_positive_rate: 0.01,
            cut: 100.0,
            ..CusumConfig::default()
        };
        let method = config.method().unwrap();
        let mut runs = Vec::new();
        for _ in 0..400 {
            let mut sums = method.fresh();
            let mut length = 0;
            while sums.above.max(sums.below) < method.limit {
                method.learn(&mut sums, Sample::new(Timestamp::EPOCH, noise.normal()));
                length += 1;
            }
            runs.push(f64::from(length));
        }
        let mean = runs.iter().sum::<f64>() / 400.0;
        assert!(
            (85.0..115.0).contains(&mean),
            "{mean} samples until a flag, where 100 are tolerated"
        );
    }

    const RIVER: [(usize, f64, f64); 4] = [
        (2, 0.700_000_000_000_000_1, 0.0),
        (10, 0.366_428_571_428_571_16, 0.0),
        (30, 2.890_375_255_280_705, 0.0),
        (39, 3.422_771_611_922_417_6, 0.0),
    ];
}
