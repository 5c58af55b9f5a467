//! [`Hindsight`]: the default for looking back at one whole series.

use aiops_core::Frame;
use serde::{Deserialize, Serialize};

use crate::{
    BatchDetector, Fit, OneSeries, Ranked, Result,
    error::{at_least, not_negative, positive},
    hold::{Hold, HoldRule},
    window,
};

/// Settings of [`Hindsight`]. The defaults are `default-uni-offline` of the leaderboard, chosen like
/// those of [`SurpriseConfig`](super::SurpriseConfig).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HindsightConfig {
    /// Samples of the short centred median. Default 25.
    pub short: usize,
    /// Samples of the long centred median. Default 288.
    pub long: usize,
    /// Samples of the trailing median that lasting deviations are measured from. Default 1000.
    pub trailing: usize,
    /// A deviation counts as at most this many mean deviations. Default 30.
    pub cap: f64,
    /// Samples for which a sudden deviation is held, to both sides. Default 12.
    pub hold_sudden: f64,
    /// Weight of lasting deviations. Default 1.
    pub lasting: f64,
    /// Span of the two-sided average of lasting deviations. Default 20.
    pub span: f64,
    /// Samples for which a lasting deviation is held at least, to both sides. Default 700.
    pub hold_lasting: f64,
}

impl Default for HindsightConfig {
    fn default() -> Self {
        HindsightConfig {
            short: 25,
            long: 288,
            trailing: 1000,
            cap: 30.0,
            hold_sudden: 12.0,
            lasting: 1.0,
            span: 20.0,
            hold_lasting: 700.0,
        }
    }
}

impl HindsightConfig {
    fn check(&self) -> Result<()> {
        at_least("short", self.short, 3)?;
        at_least("long", self.long, 3)?;
        at_least("trailing", self.trailing, 3)?;
        positive("cap", self.cap)?;
        positive("hold_sudden", self.hold_sudden)?;
        not_negative("lasting", self.lasting)?;
        positive("span", self.span)?;
        positive("hold_lasting", self.hold_lasting)
    }
}

/// [`Surprise`](super::Surprise) with both sides of every sample in view: for reports on the past and
/// for labelling, never for alerts.
///
/// Medians are centred, and deviations are held forwards and backwards in time, so an anomaly is
/// covered from shortly before its peak to shortly after. Lasting deviations are measured from a
/// trailing median, averaged to both sides. The score is in the unit of the series.
///
/// Gaps take the value before them and get score 0. **Looks ahead.** Time O(n log w), memory O(n).
///
/// The p-value of a score is its rank among the scores of the training series.
///
/// Source: ours.
pub type Hindsight = Ranked<HindsightConfig>;

impl Fit for HindsightConfig {
    /// Learns the distribution of scores; the frame has one series.
    fn fit(&self, train: &Frame) -> Result<Box<dyn BatchDetector>> {
        self.check()?;
        Ok(Box::new(Ranked::train(self.clone(), train, 8)?))
    }
}

const LARGEST: f64 = 1e100;

impl OneSeries for HindsightConfig {
    fn name(&self) -> &'static str {
        "hindsight"
    }

    fn judge(&self, series: &Frame) -> Result<Vec<f64>> {
        Ok(self.scores(series.row(0)))
    }
}

impl HindsightConfig {
    /// The scores of a series.
    fn scores(&self, values: &[f64]) -> Vec<f64> {
        let mut last = values.iter().copied().find(|v| v.is_finite()).unwrap_or(0.0);
        let filled: Vec<f64> = values
            .iter()
            .map(|value| {
                if value.is_finite() {
                    last = value.clamp(-LARGEST, LARGEST);
                }
                last
            })
            .collect();
        let near = self.cut(deviations(&filled, self.short / 2, self.short / 2));
        let far = self.cut(deviations(&filled, self.long / 2, self.long / 2));
        let sudden: Vec<f64> = near.iter().zip(&far).map(|(a, b)| a + b).collect();
        let rule = HoldRule { least: self.hold_sudden, share: 0.0, alike: 0.3 };
        let sudden = held_both_ways(&sudden, rule);
        let mut lasting = deviations(&filled, self.trailing, 0);
        average(&mut lasting, self.span);
        lasting.reverse();
        average(&mut lasting, self.span);
        lasting.reverse();
        let rule = HoldRule { least: self.hold_lasting, share: 0.1, alike: 0.5 };
        let lasting = held_both_ways(&lasting, rule);
        let mut scores: Vec<f64> =
            sudden.iter().zip(&lasting).map(|(a, b)| a + self.lasting * b).collect();
        for (score, value) in scores.iter_mut().zip(values) {
            if !value.is_finite() {
                *score = 0.0;
            }
        }
        scores
    }

    /// Cuts each deviation at `cap` times the mean of those before it.
    fn cut(&self, mut deviations: Vec<f64>) -> Vec<f64> {
        let mut mean = 0.0;
        for (i, deviation) in deviations.iter_mut().enumerate() {
            if i > 20 {
                *deviation = deviation.min(self.cap * mean);
            }
            mean += (*deviation - mean) / (i + 1) as f64;
        }
        deviations
    }
}

/// Distance of each value from the median of the `before` values before it, itself and the `after`
/// values after it; of those before it alone when `after` is 0.
fn deviations(values: &[f64], before: usize, after: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(before + after + 1);
    let mut next = 0;
    (0..values.len())
        .map(|i| {
            let end = if after > 0 { (i + after + 1).min(values.len()) } else { i };
            while next < end {
                let at = sorted.partition_point(|v| *v < values[next]);
                sorted.insert(at, values[next]);
                next += 1;
            }
            if let Some(gone) = i.checked_sub(before + 1) {
                let at = sorted.partition_point(|v| *v < values[gone]);
                sorted.remove(at);
            }
            // A trailing median of a few values says nothing yet.
            let known = after > 0 || sorted.len() >= 8;
            if known { (values[i] - window::median(&sorted)).abs() } else { 0.0 }
        })
        .collect()
}

fn average(values: &mut [f64], span: f64) {
    let weight = 2.0 / (span + 1.0);
    let mut mean = values.first().copied().unwrap_or(0.0);
    for value in values {
        mean += weight * (*value - mean);
        *value = mean;
    }
}

fn held_both_ways(values: &[f64], rule: HoldRule) -> Vec<f64> {
    let mut forwards = Hold::new(rule);
    let mut backwards = Hold::new(rule);
    let mut held: Vec<f64> = values.iter().map(|value| forwards.push(*value)).collect();
    for (held, value) in held.iter_mut().zip(values).rev() {
        *held = held.max(backwards.push(*value));
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::check_batch_detector;

    #[test]
    fn keeps_the_contract() {
        check_batch_detector(&HindsightConfig::default(), 1);
    }

    // By hand: of 1, 5, 2, 4, 3 the centred medians of three are 3, 2, 4, 3, 3.5.
    #[test]
    fn centred_medians() {
        let found = deviations(&[1.0, 5.0, 2.0, 4.0, 3.0], 1, 1);
        assert_eq!(found, [2.0, 3.0, 2.0, 1.0, 0.5]);
    }
}
