//! [`EwmaBank`]: exponentially weighted moments of very many series, in columns.

use aiops_core::{Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp};

use super::ewma::{Moments, Rule};
use crate::{DetectorBank, Flagged, Result, Tally, Tier, Verdict, bank::same_length};

/// Series per block. A block whose series are all warm is swept without looking at clocks and
/// counts; 64 of each column stay in the first-level cache between the two passes of a sweep.
const BLOCK: usize = 64;

/// [`Ewma`](super::Ewma) for very many series: the same verdicts bit for bit, 28.2 bytes a series.
///
/// [`sweep`](DetectorBank::sweep) is the fast way: one step of all series is a dense pass over two
/// columns, about a nanosecond a series. [`update`](DetectorBank::update) with ids in random order
/// touches four cache lines a sample; when that is the usual case and the series do not fit the
/// caches, a record bank keeps a series in one line.
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

    /// One step of a block whose series are all warm and older than the step.
    fn sweep_block(
        &mut self,
        first: usize,
        values: &[f64; BLOCK],
        scores: &mut [f64; BLOCK],
        flagged: &mut Vec<Flagged>,
    ) -> Tally {
        let rule = self.rule;
        let mean: &mut [f64; BLOCK] =
            (&mut self.mean[first..first + BLOCK]).try_into().expect("columns are whole blocks");
        let variance: &mut [f64; BLOCK] = (&mut self.variance[first..first + BLOCK])
            .try_into()
            .expect("columns are whole blocks");
        let mut gaps = 0_u64;
        let mut over = 0_u64;
        for i in 0..BLOCK {
            let gap = !values[i].is_finite();
            // A gap is judged as if the mean had arrived, whose score is 0.
            let value = if gap { mean[i] } else { values[i] };
            let score = rule.score(mean[i], variance[i], value);
            scores[i] = score;
            gaps += u64::from(gap);
            over += u64::from(score >= rule.limit);
        }
        if over > 0 {
            // Rare, so the verdicts are made in a second look, while the old state still stands.
            for i in (0..BLOCK).filter(|&i| scores[i] >= rule.limit) {
                let verdict = rule.verdict(mean[i], variance[i], values[i], scores[i]);
                let row = first + i;
                flagged.push(Flagged { row, id: SeriesId(row as u32), verdict });
            }
        }
        for i in 0..BLOCK {
            let gap = !values[i].is_finite();
            let value = if gap { mean[i] } else { values[i] };
            let keep = if gap { 1.0 } else { rule.keep };
            (mean[i], variance[i]) = Rule::blend(mean[i], variance[i], value, rule.alpha, keep);
        }
        Tally { scored: BLOCK as u64 - gaps, flagged: over, gaps, ..Tally::default() }
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
        same_length(batch.len(), scores.len())?;
        self.grow(batch.ids().iter().map(|id| id.index() + 1).max().unwrap_or(0));
        let mut tally = Tally::default();
        for (row, (id, sample)) in batch.iter().enumerate() {
            let verdict = self.one(id.index(), sample);
            crate::bank::record(row, id, verdict, scores, flagged, &mut tally);
        }
        Ok(tally)
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        same_length(batch.len(), scores.len())?;
        let mut tally = Tally::default();
        for (row, (id, sample)) in batch.iter().enumerate() {
            let verdict = self.rule.assess(&self.moments(id.index()), sample);
            crate::bank::record(row, id, verdict, scores, flagged, &mut tally);
        }
        Ok(tally)
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
        let (blocks, _) = values.as_chunks::<BLOCK>();
        let (score_blocks, _) = scores.as_chunks_mut::<BLOCK>();
        for (b, (block_values, block_scores)) in blocks.iter().zip(score_blocks).enumerate() {
            let Block { latest, warm, .. } = self.blocks[b];
            if warm && time > latest {
                tally += self.sweep_block(b * BLOCK, block_values, block_scores, flagged);
                self.blocks[b].latest = time;
                self.blocks[b].swept = time;
            } else {
                tally += self.sweep_rows(b * BLOCK, time, block_values, block_scores, flagged);
                let rows = b * BLOCK..(b + 1) * BLOCK;
                self.blocks[b].warm = self.seen[rows].iter().all(|n| *n >= self.rule.warm_up);
            }
        }
        let rest = blocks.len() * BLOCK;
        tally += self.sweep_rows(rest, time, &values[rest..], &mut scores[rest..], flagged);
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
