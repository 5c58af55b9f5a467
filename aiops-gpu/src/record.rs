//! What is written of a series, and what a judgement looks like as a verdict.

use aiops_core::{SeriesId, Snapshot, SnapshotError, SnapshotReader, SnapshotWriter, Timestamp};
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

/// All that an engine knows of a series, as every engine writes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SeriesState {
    pub(crate) record: Record,
    /// The part of the mean below single precision, for an engine that keeps it as a sum of two.
    pub(crate) below: f32,
    /// Prediction, `h`, `c`; empty without an LSTM.
    pub(crate) lstm: Vec<f32>,
}

const KIND: &str = "gpu:series";
/// 2: with the part of the mean below single precision.
const VERSION: u16 = 2;

impl SeriesState {
    /// Writes series of an engine with so many hidden units.
    pub(crate) fn save(
        states: impl ExactSizeIterator<Item = SeriesState>,
        hidden: usize,
    ) -> Vec<u8> {
        let mut out = SnapshotWriter::new();
        out.u32(states.len() as u32);
        out.u32(hidden as u32);
        for state in states {
            state.record.save(&mut out);
            out.f32(state.below);
            state.lstm.iter().for_each(|value| out.f32(*value));
        }
        Snapshot::new(KIND, VERSION, out.finish()).to_bytes()
    }

    /// Reads what [`save`](Self::save) wrote, of as many series as `ids`, for an engine with `own` hidden
    /// units. An engine of statistics takes what it can use, so that state survives a fall and a return.
    pub(crate) fn load(
        ids: &[SeriesId],
        own: usize,
        bytes: &[u8],
    ) -> Result<Vec<SeriesState>, SnapshotError> {
        let snapshot = Snapshot::from_bytes(bytes, KIND, VERSION)?;
        let mut from = SnapshotReader::new(snapshot.payload());
        let count = from.u32()? as usize;
        let hidden = from.u32()? as usize;
        if count != ids.len() || hidden > crate::model::MAX_HIDDEN {
            let reason = format!("{count} series of {hidden} units, {} wanted", ids.len());
            return Err(SnapshotError::ConfigMismatch(reason));
        }
        if own != 0 && hidden != own {
            let reason = format!("{hidden} hidden units, here {own}");
            return Err(SnapshotError::ConfigMismatch(reason));
        }
        let mut read = Vec::new();
        for _ in ids {
            let record = Record::load(&mut from)?;
            let below = from.f32()?;
            if !(f64::from(below).abs() <= 1e-6 * record.moments.mean.abs() + 1e-40) {
                return Err(SnapshotError::Malformed(format!("a mean and {below} below it")));
            }
            let mut lstm = Vec::with_capacity(2 * own + 1);
            for _ in 0..if hidden == 0 { 0 } else { 2 * hidden + 1 } {
                let value = from.f32()?;
                if !(value.abs() <= 1e9) {
                    let reason = format!("a state cannot be {value}");
                    return Err(SnapshotError::Malformed(reason));
                }
                lstm.push(value);
            }
            read.push(SeriesState { record, below, lstm });
        }
        from.end()?;
        Ok(read)
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
