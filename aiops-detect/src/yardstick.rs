//! From a value, its expectation and a scale to a verdict: what every detector with a band does last.

use crate::{Result, State, Tail, Tier, Verdict, error::probability, verdict::side};

/// How many scales away is rare, and how rare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Yardstick {
    /// The deviation, in scales, that belongs to `rate`.
    limit: f64,
    rate: f64,
    tail: Tail,
}

/// Bands are cut to this size, so that they stay finite.
const LARGEST: f64 = 1e150;

impl Yardstick {
    /// Flags what has probability `rate` or less under `tail`.
    pub(crate) fn new(tail: Tail, rate: f64) -> Result<Self> {
        probability("false_positive_rate", rate)?;
        Ok(Yardstick { limit: tail.threshold(rate), rate, tail })
    }

    pub(crate) fn p_value(&self, score: f64) -> f64 {
        self.tail.p_value(score)
    }

    /// The verdict on `value` where `expected` was expected, give or take `scale > 0`; its score is the
    /// deviation in scales.
    pub(crate) fn verdict(&self, tier: Tier, value: f64, expected: f64, scale: f64) -> Verdict {
        let score = ((value - expected).abs() / scale).min(f64::MAX);
        let flagged = score >= self.limit;
        let p_value = self.p_value(score);
        let half_band = (self.limit * scale).min(LARGEST);
        Verdict {
            state: State::Scored,
            tier,
            direction: side(value, expected),
            flagged,
            score,
            // The decision is made on the score; the p-value must not contradict it by rounding.
            p_value: if flagged { p_value.min(self.rate) } else { p_value },
            expected,
            lower: expected - half_band,
            upper: expected + half_band,
        }
    }
}
