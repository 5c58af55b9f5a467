//! A batch on its way to a device, and its outcome on the way back.

use aiops_core::{SampleBatch, SeriesId, Timestamp};

use super::{
    kernels::{FLAG, GAP, IN, LATE, NO_VALUE, WARMING_UP, word},
    resident::{Chunk, Returned},
};
use crate::{
    Ask, Columns, EngineKind, Flag, Outcome, RUN, Votes,
    record::{Record, SeriesState},
    rounds::rounds,
    rule::Moments,
};

/// Rows that are sent at once.
const CHUNK: usize = 1 << 22;

/// Values beyond this are this on a device: their squares must stay in the range of `f32`.
pub(super) const LARGEST: f64 = 1e18;

/// What is kept here of a batch that is on a device.
#[derive(Debug)]
pub(super) struct Staged {
    ids: Vec<SeriesId>,
    values: Vec<f64>,
    /// The row of the batch, for each row in the order of work; none where they are the same.
    order: Option<Vec<usize>>,
    /// Where each chunk begins in the order of work.
    starts: Vec<usize>,
    pub(super) ask: Ask,
}

/// Time as 64 bits that ascend as time does.
fn ascending(time: Timestamp) -> u64 {
    (time.as_nanos() as u64) ^ (1 << 63)
}

/// A number as the sum of two of single precision.
fn split(value: f64) -> (f32, f32) {
    let value = value.clamp(-LARGEST, LARGEST);
    let high = value as f32;
    (high, (value - f64::from(high)) as f32)
}

/// Puts a batch in the order of work: rounds in which every series comes once, each in ascending order.
pub(super) fn stage(batch: &SampleBatch<'_>, ask: Ask) -> (Staged, Vec<Chunk>) {
    let (ids, values) = (batch.ids(), batch.values());
    // The usual batch is in this order already, and then nothing is looked up.
    let (order, ends) = if ids.is_sorted_by(|a, b| a < b) {
        (None, vec![ids.len()])
    } else {
        let rounds = rounds(ids, ask.learn);
        let mut end = 0;
        let ends = rounds.iter().map(|round| {
            end += round.len();
            end
        });
        let ends = ends.collect();
        (Some(rounds.concat()), ends)
    };
    let starts: Vec<usize> = (0..ids.len()).step_by(CHUNK).collect();
    let mut chunks = Vec::new();
    for start in &starts {
        let rows = *start..(start + CHUNK).min(ids.len());
        let words = match &order {
            None => words(rows.clone(), batch),
            Some(order) => words(order[rows.clone()].iter().copied(), batch),
        };
        let mut within = Vec::new();
        let mut from = 0;
        for end in &ends {
            let (low, high) = (from.max(*start), (*end).min(rows.end));
            if low < high {
                within.push((low - start) as u32..(high - start) as u32);
            }
            from = *end;
        }
        chunks.push(Chunk { words, rounds: within });
    }
    (Staged { ids: ids.to_vec(), values: values.to_vec(), order, starts, ask }, chunks)
}

fn words(rows: impl ExactSizeIterator<Item = usize> + Clone, batch: &SampleBatch<'_>) -> Vec<u32> {
    let (ids, times, values) = (batch.ids(), batch.times(), batch.values());
    let mut words = Vec::with_capacity(rows.len() * IN as usize);
    words.extend(rows.clone().map(|row| ids[row].0));
    words.extend(rows.clone().map(|row| ascending(times[row]) as u32));
    words.extend(rows.clone().map(|row| (ascending(times[row]) >> 32) as u32));
    let bits = |v: f64| if v.is_finite() { split(v).0.to_bits() } else { NO_VALUE };
    words.extend(rows.clone().map(|row| bits(values[row])));
    let below = |v: f64| if v.is_finite() { split(v).1.to_bits() } else { 0 };
    words.extend(rows.map(|row| below(values[row])));
    words
}

impl Staged {
    /// The row of the batch that came at this place in the order of work.
    fn row(&self, place: usize) -> Option<usize> {
        match &self.order {
            Some(order) => order.get(place).copied(),
            None => (place < self.ids.len()).then_some(place),
        }
    }

    /// The outcome that a device's words tell.
    pub(super) fn outcome(
        &self,
        engine: EngineKind,
        returned: &[Returned],
        max_flags: usize,
    ) -> Outcome {
        let rows = if self.ask.columns { self.ids.len() } else { 0 };
        let mut columns = Columns {
            scores: vec![0.0; rows],
            expected: vec![f64::NAN; rows],
            margins: vec![f64::NAN; rows],
        };
        let mut outcome = Outcome {
            engine,
            tally: Default::default(),
            flags: Vec::new(),
            overflow: false,
            columns: None,
        };
        let number = |word: u32| f64::from(f32::from_bits(word));
        let tally = &mut outcome.tally;
        for (returned, start) in returned.iter().zip(&self.starts) {
            tally.flagged += u64::from(returned.counts[0]);
            tally.warming_up += u64::from(returned.counts[WARMING_UP as usize]);
            tally.gaps += u64::from(returned.counts[GAP as usize]);
            tally.late += u64::from(returned.counts[LATE as usize]);
            for flag in returned.flags.chunks_exact(FLAG as usize) {
                let Some(row) = self.row(start + flag[0] as usize) else { continue };
                outcome.flags.push(Flag {
                    row,
                    id: self.ids[row],
                    score: number(flag[1]),
                    votes: Votes::from_bits(flag[2]),
                    expected: number(flag[3]) + number(flag[4]),
                    actual: self.values[row],
                });
            }
            let Some(words) = &returned.rows else { continue };
            let n = words.len() / super::kernels::OUT as usize;
            for i in 0..n {
                let Some(row) = self.row(start + i) else { continue };
                columns.scores[row] = f32::from_bits(words[i]);
                if words[2 * n + i] != NO_VALUE {
                    columns.expected[row] = number(words[2 * n + i]) + number(words[3 * n + i]);
                    columns.margins[row] = number(words[4 * n + i]);
                }
            }
        }
        tally.scored = self.ids.len() as u64 - tally.warming_up - tally.gaps - tally.late;
        outcome.flags.sort_unstable_by_key(|flag| flag.row);
        outcome.flags.truncate(max_flags);
        outcome.overflow = outcome.tally.flagged > outcome.flags.len() as u64;
        outcome.columns = self.ask.columns.then_some(columns);
        outcome
    }
}

/// What a device's words say of a series.
pub(super) fn read(words: &[u32], lstm: bool) -> SeriesState {
    let at = |word: u32| words[word as usize];
    let number = |word: u32| f64::from(f32::from_bits(at(word)));
    let last = u64::from(at(word::LAST_HIGH)) << 32 | u64::from(at(word::LAST));
    let moments = Moments {
        mean: number(word::MEAN) + number(word::MEAN_BELOW),
        variance: number(word::VARIANCE),
        error: number(word::ERROR),
        last: Timestamp::from_nanos((last ^ (1 << 63)) as i64),
        seen: at(word::SEEN),
        gaps: at(word::GAPS),
    };
    let head = at(word::HEAD) as usize;
    let ring = |lag: usize| words[word::RING as usize + (head + 2 * RUN - 1 - lag) % RUN];
    let run = std::array::from_fn(|lag| f32::from_bits(ring(lag)));
    let mut rest = Vec::new();
    if lstm {
        rest.push(f32::from_bits(at(word::PREDICTED)));
        rest.extend(words[word::COUNT as usize..].iter().map(|word| f32::from_bits(*word)));
    }
    SeriesState {
        record: Record { moments, run },
        below: f32::from_bits(at(word::MEAN_BELOW)),
        lstm: rest,
    }
}

/// The words of a series.
pub(super) fn write(state: &SeriesState, hidden: usize, out: &mut Vec<u32>) {
    let start = out.len();
    out.resize(start + word::COUNT as usize + 2 * hidden, 0);
    let words = &mut out[start..];
    let Record { moments, run } = state.record;
    let mean = moments.mean.clamp(-LARGEST, LARGEST);
    // What a device wrote comes back as it was, to the last bit.
    let (high, below) = if mean == moments.mean {
        ((mean - f64::from(state.below)) as f32, state.below)
    } else {
        split(mean)
    };
    let mut set = |word: u32, value: u32| words[word as usize] = value;
    set(word::MEAN, high.to_bits());
    set(word::MEAN_BELOW, below.to_bits());
    set(word::VARIANCE, (moments.variance.min(LARGEST * LARGEST) as f32).to_bits());
    set(word::ERROR, (moments.error as f32).to_bits());
    let last = ascending(moments.last);
    set(word::LAST, last as u32);
    set(word::LAST_HIGH, (last >> 32) as u32);
    set(word::SEEN, moments.seen);
    set(word::GAPS, moments.gaps);
    for (lag, value) in run.into_iter().enumerate() {
        set(word::RING + (RUN - 1 - lag) as u32, value.to_bits());
    }
    if let [predicted, rest @ ..] = &state.lstm[..]
        && hidden > 0
    {
        set(word::PREDICTED, predicted.to_bits());
        for (unit, value) in rest.iter().enumerate() {
            set(word::COUNT + unit as u32, value.to_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_ascends_as_words_do() {
        let times = [i64::MIN, -1, 0, 1, 1 << 40, i64::MAX].map(Timestamp::from_nanos);
        assert!(times.map(ascending).is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_number_is_the_sum_of_its_parts() {
        for value in [0.1, -1e17 / 3.0, 1.0 + 1e-12, 123_456_789.012_345] {
            let (high, below) = split(value);
            let back = f64::from(high) + f64::from(below);
            assert!((back / value - 1.0).abs() < 1e-14, "{value}");
        }
    }

    #[test]
    fn words_of_a_series_come_back() {
        let moments = Moments {
            mean: 1.0 / 3.0,
            variance: 2.5,
            error: 0.25,
            last: Timestamp::from_secs(-5),
            seen: 1000,
            gaps: 3,
        };
        let record = Record { moments, run: std::array::from_fn(|lag| lag as f32) };
        let below = (moments.mean - f64::from(moments.mean as f32)) as f32;
        let lstm = (0..9).map(|i| i as f32 * 0.5).collect();
        let state = SeriesState { record, below, lstm };
        let mut words = Vec::new();
        write(&state, 4, &mut words);
        let back = read(&words, true);
        assert!((back.record.moments.mean - moments.mean).abs() < 1e-15);
        assert_eq!((back.record.run, &back.lstm), (record.run, &state.lstm));
        let mut again = Vec::new();
        write(&back, 4, &mut again);
        assert_eq!(again, words);
    }
}
