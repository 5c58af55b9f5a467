//! What a detector says of one sample.

use aiops_core::Direction;
use serde::{Deserialize, Serialize};

/// Whether a sample was judged, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Judged: score and p-value mean what they say.
    Scored,
    /// Too few samples yet to judge.
    #[default]
    WarmingUp,
    /// The value was not finite; there was nothing to judge.
    Gap,
    /// Not newer than the last sample of the series; neither judged nor learnt.
    Late,
    /// Judged, but by a lower tier than the one that was asked.
    Fallback,
}

/// How costly a detector is, and what it can see.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Streaming statistics of one series, well under a microsecond a sample.
    #[default]
    One,
    /// Seasonal and adaptive models of one series.
    Two,
    /// Models of many series together, and ensembles.
    Three,
}

/// What a detector says of one sample: small, `Copy`, no heap. Reasons are made on demand, by
/// [`Detector::explain`](crate::Detector::explain).
///
/// No score or p-value is ever NaN or infinite. `expected`, `lower` and `upper` are NaN where the
/// detector has no expectation; two verdicts are equal when they are so bit for bit, NaN included.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the sample was judged.
    pub state: State,
    /// The tier that judged it.
    pub tier: Tier,
    /// The side on which the value left its expectation.
    pub direction: Direction,
    /// The decision: the p-value is at or below the false-positive rate the detector was given.
    pub flagged: bool,
    /// Continuous, zero or more, higher is worse. Comparable within one detector only.
    pub score: f64,
    /// Chance of a score at least this large when all is normal; comparable across detectors.
    pub p_value: f64,
    /// The value that was expected.
    pub expected: f64,
    /// Below this the value would have been flagged.
    pub lower: f64,
    /// Above this the value would have been flagged.
    pub upper: f64,
}

impl Verdict {
    /// A verdict that judges nothing: score 0, p-value 1, no expectation.
    ///
    /// ```
    /// use aiops_detect::{State, Tier, Verdict};
    /// let gap = Verdict::unjudged(State::Gap, Tier::One);
    /// assert_eq!((gap.score, gap.p_value, gap.flagged), (0.0, 1.0, false));
    /// ```
    pub const fn unjudged(state: State, tier: Tier) -> Self {
        Verdict {
            state,
            tier,
            direction: Direction::None,
            flagged: false,
            score: 0.0,
            p_value: 1.0,
            expected: f64::NAN,
            lower: f64::NAN,
            upper: f64::NAN,
        }
    }

    /// Whether score and p-value are a judgement.
    pub fn is_scored(&self) -> bool {
        matches!(self.state, State::Scored | State::Fallback)
    }
}

impl PartialEq for Verdict {
    fn eq(&self, other: &Self) -> bool {
        let bits =
            |v: &Verdict| [v.score, v.p_value, v.expected, v.lower, v.upper].map(f64::to_bits);
        (self.state, self.tier, self.direction, self.flagged)
            == (other.state, other.tier, other.direction, other.flagged)
            && bits(self) == bits(other)
    }
}

/// The side on which `value` lies of `expected`.
pub(crate) fn side(value: f64, expected: f64) -> Direction {
    match value.partial_cmp(&expected) {
        Some(std::cmp::Ordering::Greater) => Direction::Above,
        Some(std::cmp::Ordering::Less) => Direction::Below,
        _ => Direction::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_small() {
        assert!(size_of::<Verdict>() <= 48, "{} bytes", size_of::<Verdict>());
    }

    #[test]
    fn missing_expectations_are_equal() {
        let gap = Verdict::unjudged(State::Gap, Tier::One);
        assert_eq!(gap, gap);
        assert_ne!(gap, Verdict { score: 1.0, ..gap });
    }
}
