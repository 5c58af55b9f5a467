//! [`EwmaBank`]: exponentially weighted moments of very many series, in columns.

use aiops_core::{Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};

use super::ewma::{LARGEST, Moments, Rule};
use crate::{
    DetectorBank, Flagged, Result, Tally, Tier, Verdict,
    bank::{rows, same_length, width},
    simd::widest,
};

/// Series per block. A block whose series are all warm is swept without looking at clocks and
/// counts; 64 of each column stay in the first-level cache between the two passes of a sweep.
const BLOCK: usize = 64;

/// [`Ewma`](super::Ewma) for very many series: the same verdicts bit for bit, 29 bytes a series.
///
/// [`sweep`](DetectorBank::sweep) is the fast way: one step of all series is a dense pass over two
/// columns, about a nanosecond a series. [`update`](DetectorBank::update) with ids in random order
/// touches four cache lines a sample; when that is the usual case and the series do not fit the
/// caches, [`GuardBank`](super::GuardBank) keeps a series in one line.
#[derive(Debug, Clone)]
pub struct EwmaBank {
    rule: Rule,
    mean: Vec<f64>,
    variance: Vec<f64>,
    last: Vec<Timestamp>,
    seen: Vec<u32>,
    blocks: Vec<Block>,
}

/// What a sweep needs to know of 64 series to pass over them without looking at each.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// No sample of the block is newer than this.
    latest: Timestamp,
    /// Every series of the block was swept at this time; stands in for older entries of `last`.
    swept: Timestamp,
    /// Whether all are warm.
    warm: bool,
}

const EMPTY: Block = Block { latest: Timestamp::MIN, swept: Timestamp::MIN, warm: false };

impl EwmaBank {
    pub(super) fn new(rule: Rule) -> Self {
        EwmaBank {
            rule,
            mean: Vec::new(),
            variance: Vec::new(),
            last: Vec::new(),
            seen: Vec::new(),
            blocks: Vec::new(),
        }
    }

    /// Makes room for ids below `n`, in whole blocks.
    fn grow(&mut self, n: usize) {
        if n <= self.mean.len() {
            return;
        }
        let blocks = n.div_ceil(BLOCK);
        let rows = blocks * BLOCK;
        let empty = Moments::default();
        self.mean.resize(rows, empty.mean);
        self.variance.resize(rows, empty.variance);
        self.last.resize(rows, empty.last);
        self.seen.resize(rows, empty.seen);
        self.blocks.resize(blocks, EMPTY);
    }

    fn moments(&self, i: usize) -> Moments {
        if i >= self.mean.len() {
            return Moments::default();
        }
        Moments {
            mean: self.mean[i],
            variance: self.variance[i],
            last: self.last[i].max(self.blocks[i / BLOCK].swept),
            seen: self.seen[i],
        }
    }

    fn set(&mut self, i: usize, moments: Moments) {
        self.mean[i] = moments.mean;
        self.variance[i] = moments.variance;
        self.last[i] = moments.last;
        self.seen[i] = moments.seen;
        let block = &mut self.blocks[i / BLOCK];
        block.latest = block.latest.max(moments.last);
    }

    fn one(&mut self, i: usize, sample: Sample) -> Verdict {
        let mut moments = self.moments(i);
        let verdict = self.rule.assess(&moments, sample);
        self.rule.learn(&mut moments, sample);
        self.set(i, moments);
        verdict
    }

    /// One step of a block whose series are all warm and older than the step, of values that are
    /// either gaps or at most [`LARGEST`] in size; `None`, with the state as it was, where a value
    /// is larger. Scores come first and the state learns after them, so that the verdicts of
    /// flagged rows see the state before the step.
    fn sweep_block(
        &mut self,
        first: usize,
        values: &[f64; BLOCK],
        scores: &mut [f64; BLOCK],
        flagged: &mut Vec<Flagged>,
    ) -> Option<Tally> {
        let rule = self.rule;
        let mean: &mut [f64; BLOCK] =
            (&mut self.mean[first..first + BLOCK]).try_into().expect("columns are whole blocks");
        let variance: &mut [f64; BLOCK] = (&mut self.variance[first..first + BLOCK])
            .try_into()
            .expect("columns are whole blocks");
        let usual = widest(|| score_block(&rule, mean, variance, values, scores));
        if usual == BLOCK as u64 {
            widest(|| learn_block::<false>(&rule, mean, variance, values));
            return Some(Tally { scored: usual, ..Tally::default() });
        }
        if values.iter().any(|v| v.is_finite() && v.abs() > LARGEST) {
            return None;
        }
        let mut tally = Tally::default();
        for i in 0..BLOCK {
            if !values[i].is_finite() {
                scores[i] = 0.0;
                tally.gaps += 1;
            } else if scores[i] >= rule.limit {
                let verdict = rule.verdict(mean[i], variance[i], values[i], scores[i]);
                let row = first + i;
                flagged.push(Flagged { row, id: SeriesId(row as u32), verdict });
                tally.flagged += 1;
            }
        }
        tally.scored = BLOCK as u64 - tally.gaps;
        widest(|| learn_block::<true>(&rule, mean, variance, values));
        Some(tally)
    }
}

impl DetectorBank for EwmaBank {
    fn name(&self) -> &'static str {
        "ewma"
    }

    fn tier(&self) -> Tier {
        Tier::One
    }

    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        self.grow(width(batch));
        rows(batch, scores, flagged, |id, sample| self.one(id.index(), sample))
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        rows(batch, scores, flagged, |id, sample| {
            self.rule.assess(&self.moments(id.index()), sample)
        })
    }

    fn sweep(
        &mut self,
        time: Timestamp,
        values: &[f64],
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        same_length(values.len(), scores.len())?;
        self.grow(values.len());
        let mut tally = Tally::default();
        let (blocks, rest) = values.as_chunks::<BLOCK>();
        let (score_blocks, rest_scores) = scores.as_chunks_mut::<BLOCK>();
        for (b, (block_values, block_scores)) in blocks.iter().zip(score_blocks).enumerate() {
            let Block { latest, warm, .. } = self.blocks[b];
            let swept = (warm && time > latest)
                .then(|| self.sweep_block(b * BLOCK, block_values, block_scores, flagged))
                .flatten();
            if let Some(swept) = swept {
                tally += swept;
                self.blocks[b].latest = time;
                self.blocks[b].swept = time;
            } else {
                tally += self.sweep_rows(b * BLOCK, time, block_values, block_scores, flagged);
                let rows = b * BLOCK..(b + 1) * BLOCK;
                self.blocks[b].warm = self.seen[rows].iter().all(|n| *n >= self.rule.warm_up);
            }
        }
        let first = blocks.len() * BLOCK;
        tally += self.sweep_part(first, time, rest, rest_scores, flagged);
        Ok(tally)
    }

    fn p_value(&self, _id: SeriesId, score: f64) -> f64 {
        self.rule.p_value(score)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        let known = self.mean.len();
        for id in ids.iter().filter(|id| id.index() < known) {
            let b = id.index() / BLOCK;
            // The block's clock stood in for the series' own; write it out before one is forgotten.
            for i in b * BLOCK..(b + 1) * BLOCK {
                self.last[i] = self.last[i].max(self.blocks[b].swept);
            }
            self.blocks[b].swept = Timestamp::MIN;
            self.blocks[b].warm = false;
            self.set(id.index(), Moments::default());
        }
    }

    fn bytes_per_series(&self) -> usize {
        2 * size_of::<f64>()
            + size_of::<Timestamp>()
            + size_of::<u32>()
            + size_of::<Block>().div_ceil(BLOCK)
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        self.moments(id.index()).save(out);
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let moments = Moments::load(from)?;
        self.grow(id.index() + 1);
        self.release(&[id]);
        self.set(id.index(), moments);
        Ok(())
    }
}

impl EwmaBank {
    /// The last series, fewer than a block: as a block whose other values are gaps. The series behind
    /// them may not exist yet, so their clocks must not move.
    fn sweep_part(
        &mut self,
        first: usize,
        time: Timestamp,
        values: &[f64],
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Tally {
        let rows = first..first + values.len();
        let usual = !values.is_empty()
            && time > self.blocks[first / BLOCK].latest
            && self.seen[rows.clone()].iter().all(|n| *n >= self.rule.warm_up);
        let mut block_values = [f64::NAN; BLOCK];
        let mut block_scores = [0.0; BLOCK];
        block_values[..values.len()].copy_from_slice(values);
        let swept = usual
            .then(|| self.sweep_block(first, &block_values, &mut block_scores, flagged))
            .flatten();
        let Some(mut tally) = swept else {
            return self.sweep_rows(first, time, values, scores, flagged);
        };
        tally.gaps -= (BLOCK - values.len()) as u64;
        scores.copy_from_slice(&block_scores[..values.len()]);
        self.last[rows].fill(time);
        self.blocks[first / BLOCK].latest = time;
        tally
    }

    /// A sweep that looks at every series' clock and count.
    fn sweep_rows(
        &mut self,
        first: usize,
        time: Timestamp,
        values: &[f64],
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Tally {
        let mut tally = Tally::default();
        for (i, value) in values.iter().enumerate() {
            let row = first + i;
            let verdict = self.one(row, Sample::new(time, *value));
            tally.count(&verdict);
            scores[i] = verdict.score;
            if verdict.flagged {
                flagged.push(Flagged { row, id: SeriesId(row as u32), verdict });
            }
        }
        tally
    }
}

/// Scores of a block before its step; returns how many values are usual: neither gap nor huge nor
/// over the limit. A function of its own, so that the compiler knows its columns apart.
#[inline(always)]
fn score_block(
    rule: &Rule,
    mean: &[f64; BLOCK],
    variance: &[f64; BLOCK],
    values: &[f64; BLOCK],
    scores: &mut [f64; BLOCK],
) -> u64 {
    let rule = *rule;
    let mut usual = 0;
    for i in 0..BLOCK {
        let d = values[i] - mean[i];
        let score = d * d / rule.scale_squared(mean[i], variance[i]);
        scores[i] = score;
        usual += u64::from((score < rule.limit) & (values[i].abs() <= LARGEST));
    }
    usual
}

/// What a block learns; `GAPS` says whether to look for gaps, which are learnt with no weight.
#[inline(always)]
fn learn_block<const GAPS: bool>(
    rule: &Rule,
    mean: &mut [f64; BLOCK],
    variance: &mut [f64; BLOCK],
    values: &[f64; BLOCK],
) {
    let rule = *rule;
    for i in 0..BLOCK {
        let gap = GAPS && !(values[i].abs() <= LARGEST);
        let d = if gap { 0.0 } else { values[i] - mean[i] };
        let alpha = if gap { 0.0 } else { rule.alpha };
        let keep = if gap { 1.0 } else { rule.keep };
        mean[i] += alpha * d;
        variance[i] = keep * (variance[i] + alpha * (d * d));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier1::EwmaConfig;

    #[test]
    fn wide_vectors_round_as_the_portable_code_does() -> Result<()> {
        let rule = EwmaConfig::default().build_bank()?.rule;
        let column = |seed: u64| -> [f64; BLOCK] {
            std::array::from_fn(|i| {
                let bits = (seed + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
                (bits as f64 / (1_u64 << 40) as f64 - 2_000.0) / 7.0
            })
        };
        let mut values = column(3);
        values[5] = f64::NAN;
        values[9] = 1e12;
        let (mut mean, mut variance) = (column(1), column(2).map(f64::abs));
        let (mut wide_mean, mut wide_variance) = (mean, variance);
        let (mut scores, mut wide_scores) = ([0.0; BLOCK], [0.0; BLOCK]);
        for _ in 0..100 {
            let usual = score_block(&rule, &mean, &variance, &values, &mut scores);
            learn_block::<true>(&rule, &mut mean, &mut variance, &values);
            let wide_usual = widest(|| {
                score_block(&rule, &wide_mean, &wide_variance, &values, &mut wide_scores)
            });
            widest(|| learn_block::<true>(&rule, &mut wide_mean, &mut wide_variance, &values));
            assert_eq!(usual, wide_usual);
            let bits = |columns: [&[f64; BLOCK]; 3]| columns.map(|c| c.map(f64::to_bits));
            assert_eq!(
                bits([&mean, &variance, &scores]),
                bits([&wide_mean, &wide_variance, &wide_scores])
            );
        }
        Ok(())
    }
}
