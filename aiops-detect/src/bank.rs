//! [`DetectorBank`]: very many series at once, in columns.

use aiops_core::{
    Reason, Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp, telemetry,
};

use crate::{Error, Result, State, Tier, Verdict};

/// A sample that a bank flagged, with its full verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flagged {
    /// Row of the batch; in a sweep the index of the series.
    pub row: usize,
    /// The series.
    pub id: SeriesId,
    /// The verdict, equal to that of the twin [`Detector`](crate::Detector).
    pub verdict: Verdict,
}

/// What became of the rows of one or more batches. Nothing is lost: the parts add up to the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Judged, flagged ones included.
    pub scored: u64,
    /// Judged and flagged.
    pub flagged: u64,
    /// Learnt, but too early to judge.
    pub warming_up: u64,
    /// Rows without a value.
    pub gaps: u64,
    /// Rows not newer than the last of their series: neither judged nor learnt.
    pub late: u64,
    /// Rows in time that was excluded: neither judged nor learnt.
    pub excluded: u64,
}

impl Tally {
    /// How many rows were counted.
    pub fn rows(&self) -> u64 {
        self.scored + self.warming_up + self.gaps + self.late + self.excluded
    }

    /// Adds the counts to what the process reports of itself (feature `metrics`); once a batch.
    /// [`Watcher`](crate::Watcher) does so for the batches that it judges.
    pub fn report(&self) {
        let count = |state, n| telemetry::count("aiops_detect_samples_total", "state", state, n);
        count("scored", self.scored);
        count("warming_up", self.warming_up);
        count("gap", self.gaps);
        count("late", self.late);
        count("excluded", self.excluded);
        telemetry::count("aiops_detect_flagged_total", "state", "scored", self.flagged);
    }

    /// Counts one verdict.
    pub fn count(&mut self, verdict: &Verdict) {
        match verdict.state {
            State::Scored | State::Fallback => self.scored += 1,
            State::WarmingUp => self.warming_up += 1,
            State::Gap => self.gaps += 1,
            State::Late => self.late += 1,
        }
        self.flagged += u64::from(verdict.flagged);
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.scored += other.scored;
        self.flagged += other.flagged;
        self.warming_up += other.warming_up;
        self.gaps += other.gaps;
        self.late += other.late;
        self.excluded += other.excluded;
    }
}

/// Watches very many series, its state in columns or records of a few bytes a series.
///
/// Scores go to a column that the caller owns, full verdicts only to flagged rows: a million
/// verdicts nobody reads would cost more than the detection.
///
/// # For who implements it
/// - A bank equals its twin [`Detector`](crate::Detector) sample by sample; where its state is `f32`,
///   within a stated, tested tolerance. `check_bank` of the `testing` module judges it.
/// - Rows that are not judged get score 0. Rows of one series are processed in their order.
/// - Series need no registration: an id that was not seen before starts warming up. State grows to
///   the largest id, so ids must be dense, as an [`Interner`](aiops_core::Interner) makes them.
///
/// # For who calls it
/// - An evicted series must be [`release`](Self::release)d before its id is given to another
///   series. Wrong: reusing the id at once, so that the new series inherits an expectation.
pub trait DetectorBank: Send {
    /// A short, stable name, equal to that of the twin detector.
    fn name(&self) -> &'static str;

    /// The tier its verdicts carry.
    fn tier(&self) -> Tier;

    /// Judges and learns every row, in order. `scores[i]` becomes the score of row `i`; flagged rows
    /// are appended to `flagged` in the order of the batch.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when `scores` has another length than `batch`; nothing was processed.
    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally>;

    /// Judges every row against what was learnt before the batch, and learns nothing: for known
    /// incidents and maintenance, and for trying a bank on old data.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally>;

    /// One step of all series at once: `values[i]` is what series `i` had at `time`, NaN for a gap.
    /// Means the same as [`update`](Self::update) with the ids 0, 1, 2, ...; override it where a dense
    /// pass is faster.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    fn sweep(
        &mut self,
        time: Timestamp,
        values: &[f64],
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        same_length(values.len(), scores.len())?;
        let ids: Vec<_> = (0..values.len() as u32).map(SeriesId).collect();
        let times = vec![time; values.len()];
        let batch = SampleBatch::new(&ids, &times, values).expect("three columns of one length");
        self.update(&batch, scores, flagged)
    }

    /// The p-value that a score of series `id` stands for, given what was learnt so far.
    fn p_value(&self, id: SeriesId, score: f64) -> f64;

    /// How far the next judgement of series `id` can be trusted, from 0 (too early to judge) to 1; see
    /// [`Detector::confidence`](crate::Detector::confidence).
    fn confidence(&self, id: SeriesId) -> f64 {
        let (ids, times, values) = ([id], [Timestamp::MAX], [0.0]);
        let batch = SampleBatch::new(&ids, &times, &values).expect("three columns of one row");
        match self.assess(&batch, &mut [0.0], &mut Vec::new()) {
            Ok(tally) if tally.warming_up == 0 => 1.0,
            _ => 0.0,
        }
    }

    /// Why `verdict` was given for `sample`, as data and in words.
    fn explain(&self, _id: SeriesId, sample: Sample, verdict: &Verdict) -> Reason {
        crate::explain_band(self.name(), sample, verdict)
    }

    /// Forgets these series, so that their ids may be used for others.
    fn release(&mut self, ids: &[SeriesId]);

    /// Bytes of state held per series, for capacity planning.
    fn bytes_per_series(&self) -> usize;

    /// Writes everything that was learnt about one series.
    fn save(&self, id: SeriesId, out: &mut SnapshotWriter);

    /// Replaces what is known about one series by what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the bytes are not of this kind of bank or do not fit its configuration; the series is
    /// then left as it was.
    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()>;
}

/// Checks that a score column fits its rows.
///
/// # Errors
/// [`Error::ShapeMismatch`] when it does not.
pub fn same_length(rows: usize, scores: usize) -> Result<()> {
    if rows != scores {
        return Err(Error::ShapeMismatch { what: "score column", expected: rows, got: scores });
    }
    Ok(())
}

/// How many series a bank must have room for to take a batch in.
pub(crate) fn width(batch: &SampleBatch<'_>) -> usize {
    batch.ids().iter().map(|id| id.index() + 1).max().unwrap_or(0)
}

/// The loop over the rows of a batch that every bank shares: `judge` gives the verdict of one row.
#[inline(always)]
pub(crate) fn rows(
    batch: &SampleBatch<'_>,
    scores: &mut [f64],
    flagged: &mut Vec<Flagged>,
    mut judge: impl FnMut(SeriesId, Sample) -> Verdict,
) -> Result<Tally> {
    same_length(batch.len(), scores.len())?;
    let mut tally = Tally::default();
    for (row, (id, sample)) in batch.iter().enumerate() {
        record(row, id, judge(id, sample), scores, flagged, &mut tally);
    }
    Ok(tally)
}

/// Writes one verdict into the columns of a batch.
pub(crate) fn record(
    row: usize,
    id: SeriesId,
    verdict: Verdict,
    scores: &mut [f64],
    flagged: &mut Vec<Flagged>,
    tally: &mut Tally,
) {
    scores[row] = verdict.score;
    tally.count(&verdict);
    if verdict.flagged {
        flagged.push(Flagged { row, id, verdict });
    }
}
