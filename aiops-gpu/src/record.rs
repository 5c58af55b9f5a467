//! What is written of a series, and what a judgement looks like as a verdict.

use aiops_core::{SnapshotError, SnapshotReader, SnapshotWriter, Timestamp};
use aiops_detect::{State, Tier, Verdict};

use crate::{
    model::{RUN, side},
    rule::{Judgement, Moments},
};

/// The part of a series' state that does not depend on the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Record {
    pub(crate) moments: Moments,
    pub(crate) run: [f32; RUN],
}

impl Record {
    pub(crate) fn save(&self, out: &mut SnapshotWriter) {
        let Moments { mean, variance, error, last, seen, gaps } = self.moments;
        out.f64(mean);
        out.f64(variance);
        out.f64(error);
        out.i64(last.as_nanos());
        out.u32(seen);
        out.u32(gaps);
        self.run.iter().for_each(|value| out.f32(*value));
    }

    /// Every number is checked: a NaN that slips in here would stay in every later judgement.
    pub(crate) fn load(from: &mut SnapshotReader<'_>) -> Result<Self, SnapshotError> {
        let mut number = |what: &str, least: f64, most: f64| {
            let value = from.f64()?;
            if !(value >= least && value <= most) {
                return Err(SnapshotError::Malformed(format!("{what} cannot be {value}")));
            }
            Ok(value)
        };
        let mean = number("mean", -1e101, 1e101)?;
        let variance = number("variance", 0.0, 1e250)?;
        let error = number("error", 0.0, 1e15)?;
        let last = Timestamp::from_nanos(from.i64()?);
        let (seen, gaps) = (from.u32()?, from.u32()?);
        let mut run = [0.0; RUN];
        for value in &mut run {
            *value = from.f32()?;
            if !(value.abs() <= crate::rule::CLIP as f32) {
                return Err(SnapshotError::Malformed(format!("a deviation cannot be {value}")));
            }
        }
        Ok(Record { moments: Moments { mean, variance, error, last, seen, gaps }, run })
    }
}

/// The verdict of a judgement. Its p-value is the weighted geometric mean of those of the models.
pub(crate) fn verdict(judgement: &Judgement, value: f64) -> Verdict {
    // Finite whatever the series: a band of the widest values would overflow.
    let within = |v: f64| v.clamp(-1e300, 1e300);
    let expected = within(judgement.expected);
    Verdict {
        direction: side(value, expected),
        flagged: judgement.flagged,
        score: judgement.score,
        p_value: (-judgement.score).exp().clamp(f64::MIN_POSITIVE, 1.0),
        expected,
        lower: within(expected - judgement.margin),
        upper: within(expected + judgement.margin),
        ..Verdict::unjudged(State::Scored, Tier::Three)
    }
}
