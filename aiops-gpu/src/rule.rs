//! What is common to all engines: how a series is standardised, and what its models' deviations mean.
//!
//! Plain `f64` and a few dozen operations a row; the models proper run elsewhere.

use aiops_core::Timestamp;
use aiops_detect::Tail;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Votes};

/// Settings of an engine's judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleConfig {
    /// Samples after which a series' past counts half in mean and scales. Default 100, a guess.
    pub half_life: f64,
    /// Samples before a series is judged. Default 30.
    pub warm_up: u32,
    /// A model votes when its p-value is at or below this. Default 1e-3.
    pub false_positive_rate: f64,
    /// Weight of the vote of each model: statistics, LSTM, forest. Default 1, 2, 1: the network knows
    /// what comes next, the others only what is usual.
    pub weights: [f64; 3],
    /// Share of the weight of all models that judged which must vote for a flag. Default 0.5.
    pub quorum: f64,
}

impl Default for RuleConfig {
    fn default() -> Self {
        RuleConfig {
            half_life: 100.0,
            warm_up: 30,
            false_positive_rate: 1e-3,
            weights: [1.0, 2.0, 1.0],
            quorum: 0.5,
        }
    }
}

impl RuleConfig {
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub(crate) fn build(&self) -> Result<Rule> {
        let RuleConfig { half_life, warm_up, false_positive_rate: rate, weights, quorum } = *self;
        if !(1.0..=1e9).contains(&half_life) {
            let reason = format!("must be within 1 and 1e9, got {half_life}");
            return Err(Error::config("half_life", reason));
        }
        if !(1..=1_000_000).contains(&warm_up) {
            let reason = format!("must be within 1 and 1000000, got {warm_up}");
            return Err(Error::config("warm_up", reason));
        }
        if !(rate > 0.0 && rate < 1.0) {
            let reason = format!("must be between 0 and 1, got {rate}");
            return Err(Error::config("false_positive_rate", reason));
        }
        if !weights.iter().all(|w| *w >= 0.0 && w.is_finite()) || !(weights[0] > 0.0) {
            let reason = format!("must be finite, not negative, the first positive: {weights:?}");
            return Err(Error::config("weights", reason));
        }
        if !(quorum > 0.0 && quorum <= 1.0) {
            let reason = format!("must be above 0 and at most 1, got {quorum}");
            return Err(Error::config("quorum", reason));
        }
        Ok(Rule {
            alpha: 1.0 - 0.5_f64.powf(1.0 / half_life),
            warm_up,
            rate,
            weights,
            quorum,
            margin: Tail::HeavyTailed.threshold(rate),
        })
    }
}

/// Standardised values beyond this reach the models as this.
pub(crate) const CLIP: f64 = 8.0;
/// Larger deviations say no more.
const LARGEST_DEVIATION: f64 = 1e6;
/// Larger values could overflow where they are squared.
const LARGEST: f64 = 1e100;
/// The least scale of prediction errors, in scales of the series: a perfectly predicted series must not
/// make the last digit an anomaly.
const LEAST_ERROR: f64 = 0.1;

/// The checked form of [`RuleConfig`].
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) alpha: f64,
    pub(crate) warm_up: u32,
    pub(crate) rate: f64,
    pub(crate) weights: [f64; 3],
    pub(crate) quorum: f64,
    pub(crate) margin: f64,
}

/// What is known of a series besides the state of its models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
    /// Mean square of the prediction errors, in squared scales of the series.
    pub(crate) error: f64,
    pub(crate) last: Timestamp,
    pub(crate) seen: u32,
    pub(crate) gaps: u32,
}

impl Default for Moments {
    fn default() -> Self {
        Moments { mean: 0.0, variance: 0.0, error: 1.0, last: Timestamp::MIN, seen: 0, gaps: 0 }
    }
}

impl Moments {
    fn scale(&self) -> f64 {
        // A constant series has no scale of its own; its digits give one.
        self.variance.sqrt().max(1e-12 * self.mean.abs()).max(1e-30)
    }

    /// Deviation of a finite value from the mean, in scales; 0 for the first.
    pub(crate) fn deviation(&self, value: f64) -> f64 {
        if self.seen == 0 {
            return 0.0;
        }
        let value = value.clamp(-LARGEST, LARGEST);
        ((value - self.mean) / self.scale()).clamp(-LARGEST_DEVIATION, LARGEST_DEVIATION)
    }
}

/// What the models say of one value, and what that makes.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Judgement {
    /// Mean of -ln p over the models that judged, by weight: 0 or more, 6.9 where all say one in a
    /// thousand.
    pub score: f64,
    /// The models whose p-value is at or below the rate.
    pub votes: Votes,
    /// Whether the votes reach the quorum.
    pub flagged: bool,
    /// What was expected.
    pub expected: f64,
    /// Half the width of the band in which values are usual.
    pub margin: f64,
}

impl Rule {
    /// Judges a finite value: its `deviation`, what was predicted of it (in scales; none without an
    /// LSTM), and the p-value of the forest (none without one).
    pub(crate) fn judge(
        &self,
        moments: &Moments,
        deviation: f64,
        predicted: Option<f64>,
        forest: Option<f64>,
    ) -> Judgement {
        let statistics = Tail::HeavyTailed.p_value(deviation);
        let error_scale = moments.error.sqrt().max(LEAST_ERROR);
        let lstm = predicted.map(|p| Tail::HeavyTailed.p_value((deviation - p) / error_scale));
        let models =
            [(Votes::STATISTICS, Some(statistics)), (Votes::LSTM, lstm), (Votes::FOREST, forest)];
        let (mut sum, mut weight, mut voted) = (0.0, 0.0, 0.0);
        let mut votes = Votes::NONE;
        for ((model, p), w) in models.into_iter().zip(self.weights) {
            let Some(p) = p else { continue };
            sum -= w * p.ln();
            weight += w;
            if p <= self.rate {
                voted += w;
                votes = votes.and(model);
            }
        }
        let scale = moments.scale();
        Judgement {
            score: (sum / weight).max(0.0),
            votes,
            flagged: voted > 0.0 && voted >= self.quorum * weight,
            expected: moments.mean + scale * predicted.unwrap_or(0.0),
            margin: scale * self.margin * predicted.map_or(1.0, |_| error_scale),
        }
    }

    /// Takes a finite value in, with its deviation before it and what was predicted of it.
    pub(crate) fn learn(
        &self,
        moments: &mut Moments,
        value: f64,
        deviation: f64,
        predicted: Option<f64>,
    ) {
        let value = value.clamp(-LARGEST, LARGEST);
        let n = f64::from(moments.seen) + 1.0;
        let alpha = self.alpha.max(1.0 / n);
        if let Some(predicted) = predicted {
            // One anomaly must not blind the series to the next.
            let most = CLIP * moments.error.sqrt().max(LEAST_ERROR);
            let error = (deviation - predicted).clamp(-most, most);
            moments.error += alpha * (error * error - moments.error);
        }
        let mut step = value - moments.mean;
        if moments.seen >= self.warm_up {
            let most = CLIP * moments.scale();
            step = step.clamp(-most, most);
        }
        moments.mean += alpha * step;
        moments.variance = (1.0 - alpha) * (moments.variance + alpha * step * step);
        moments.seen = moments.seen.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: until 1/n falls below alpha, mean and variance are those of all values.
    #[test]
    fn young_series_have_the_plain_moments() {
        let rule = RuleConfig::default().build().unwrap();
        let mut moments = Moments::default();
        for value in [1.0, 2.0, 3.0, 6.0] {
            let deviation = moments.deviation(value);
            rule.learn(&mut moments, value, deviation, None);
        }
        assert!((moments.mean - 3.0).abs() < 1e-12);
        assert!((moments.variance - 3.5).abs() < 1e-12, "mean square deviation of 1, 2, 3, 6");
        assert!((moments.deviation(3.0 + 3.5_f64.sqrt()) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn models_that_are_not_there_do_not_vote() {
        let rule = RuleConfig::default().build().unwrap();
        let moments = Moments { variance: 1.0, seen: 100, ..Moments::default() };
        let alone = rule.judge(&moments, 20.0, None, None);
        assert!(alone.flagged && alone.votes == Votes::STATISTICS);
        let outvoted = rule.judge(&moments, 20.0, Some(20.0), Some(0.5));
        assert!(!outvoted.flagged, "one of four weights: {outvoted:?}");
        assert!(outvoted.score < alone.score);
        let p = Tail::HeavyTailed.p_value(20.0);
        let mean = -(p.ln() + 0.5_f64.ln()) / 4.0;
        assert!((outvoted.score - mean).abs() < 1e-12, "a perfect prediction has p = 1");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let bad = [
            RuleConfig { half_life: f64::NAN, ..RuleConfig::default() },
            RuleConfig { warm_up: 0, ..RuleConfig::default() },
            RuleConfig { false_positive_rate: 1.0, ..RuleConfig::default() },
            RuleConfig { weights: [0.0, 1.0, 1.0], ..RuleConfig::default() },
            RuleConfig { quorum: 1.5, ..RuleConfig::default() },
        ];
        for config in bad {
            assert!(matches!(config.build(), Err(Error::InvalidConfig { .. })), "{config:?}");
        }
    }
}
