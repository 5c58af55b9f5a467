//! Dynamic bounds, static bounds, debounce and order check in one 32-byte record a series.

use aiops_core::{
    Direction, Reason, Sample, SampleBatch, SeriesId, SnapshotReader, SnapshotWriter, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::ewma::{EwmaConfig, LARGEST, Moments, Rule};
use crate::{
    Detector, DetectorBank, Error, Flagged, Result, State, Tally, Tier, Verdict,
    bank::{rows, same_length, width},
    explain_band,
};

/// Settings of [`Guard`] and [`GuardBank`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardConfig {
    /// The dynamic bounds.
    pub dynamic: EwmaConfig,
    /// Values below this violate the static bounds. Default `None`.
    pub lower: Option<f64>,
    /// Values above this violate the static bounds. Default `None`.
    pub upper: Option<f64>,
    /// Consecutive violations, of either kind of bounds, before one is flagged; 1 to 255. Default 3.
    pub consecutive: u8,
}

impl Default for GuardConfig {
    fn default() -> Self {
        GuardConfig { dynamic: EwmaConfig::default(), lower: None, upper: None, consecutive: 3 }
    }
}

impl GuardConfig {
    /// A detector of one series.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Guard> {
        let checked = self.checked()?;
        Ok(Guard { rule: checked.rule, bounds: checked.bounds, record: Record::default() })
    }

    /// A bank for very many series, all starting with the same settings.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_bank(self) -> Result<GuardBank> {
        let Checked { rule, bounds } = self.checked()?;
        Ok(GuardBank { rule, bounds: vec![bounds], records: Vec::new() })
    }

    fn checked(self) -> Result<Checked> {
        if self.consecutive == 0 {
            return Err(Error::config("consecutive", "must be at least 1, got 0"));
        }
        let bounds = Bounds::new(self.lower, self.upper)?;
        if self.dynamic.warm_up > u32::from(u16::MAX) {
            let reason = format!("must be at most {}, got {}", u16::MAX, self.dynamic.warm_up);
            return Err(Error::config("warm_up", reason));
        }
        Ok(Checked {
            rule: Watch { dynamic: self.dynamic.rule()?, consecutive: self.consecutive },
            bounds,
        })
    }
}

struct Checked {
    rule: Watch,
    bounds: Bounds,
}

/// What most monitoring asks of most series, in one cache line: is the value within its usual range,
/// within fixed limits, and for how many samples in a row not?
///
/// The dynamic part is [`Ewma`](super::Ewma), score and p-value included. A value outside the static
/// bounds gets at least the score at which the dynamic part would flag, also during warm-up, since
/// they need no history. Flagged is the `consecutive`-th violation in a row and those after it.
///
/// A gap neither counts as a violation nor ends a run of them. Time O(1), memory 32 bytes.
#[derive(Debug, Clone)]
pub struct Guard {
    rule: Watch,
    bounds: Bounds,
    record: Record,
}

/// The checked configuration.
#[derive(Debug, Clone, Copy)]
struct Watch {
    dynamic: Rule,
    consecutive: u8,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    lower: f64,
    upper: f64,
}

impl Bounds {
    fn new(lower: Option<f64>, upper: Option<f64>) -> Result<Self> {
        let bounds = Bounds {
            lower: lower.unwrap_or(f64::NEG_INFINITY),
            upper: upper.unwrap_or(f64::INFINITY),
        };
        if !(bounds.lower < bounds.upper) {
            let reason = format!("must be below upper, got {lower:?} and {upper:?}");
            return Err(Error::config("lower", reason));
        }
        Ok(bounds)
    }

    #[inline(always)]
    fn violated(self, value: f64) -> bool {
        value < self.lower || value > self.upper
    }
}

/// All that is known of a series. Two to a cache line, never across two.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(32))]
struct Record {
    mean: f64,
    variance: f64,
    last: Timestamp,
    /// Row in the table of static bounds.
    bounds: u32,
    seen: u16,
    violations: u8,
}

impl Default for Record {
    fn default() -> Self {
        Record { mean: 0.0, variance: 0.0, last: Timestamp::MIN, bounds: 0, seen: 0, violations: 0 }
    }
}

impl Record {
    fn moments(&self) -> Moments {
        let Record { mean, variance, last, seen, .. } = *self;
        Moments { mean, variance, last, seen: seen.into() }
    }
}

impl Watch {
    #[inline(always)]
    fn judge(&self, record: &Record, bounds: Bounds, sample: Sample) -> (State, f64, bool) {
        if sample.time <= record.last {
            return (State::Late, 0.0, false);
        }
        if sample.is_gap() {
            return (State::Gap, 0.0, false);
        }
        let outside = bounds.violated(sample.value);
        let warm = u32::from(record.seen) >= self.dynamic.warm_up;
        let mut score = 0.0;
        if warm {
            score = self.dynamic.score(record.mean, record.variance, sample.value);
        }
        if outside {
            score = score.max(self.dynamic.limit);
        }
        let state = if warm || outside { State::Scored } else { State::WarmingUp };
        (state, score, score >= self.dynamic.limit)
    }

    #[inline(always)]
    fn flags(&self, record: &Record, violates: bool) -> bool {
        violates && record.violations.saturating_add(1) >= self.consecutive
    }

    fn verdict(&self, record: &Record, bounds: Bounds, sample: Sample) -> Verdict {
        let (state, score, violates) = self.judge(record, bounds, sample);
        if state != State::Scored {
            return Verdict::unjudged(state, Tier::One);
        }
        let mut verdict = self.dynamic.verdict(record.mean, record.variance, sample.value, score);
        verdict.flagged = self.flags(record, violates);
        if u32::from(record.seen) < self.dynamic.warm_up {
            // Outside static bounds before there is any expectation.
            (verdict.expected, verdict.lower, verdict.upper) = (f64::NAN, f64::NAN, f64::NAN);
        } else {
            verdict.lower = verdict.lower.max(bounds.lower).min(verdict.expected);
            verdict.upper = verdict.upper.min(bounds.upper).max(verdict.expected);
        }
        if bounds.violated(sample.value) {
            verdict.direction =
                if sample.value > bounds.upper { Direction::Above } else { Direction::Below };
        }
        verdict
    }

    /// Judges and learns a sample that is not warm, in order and within its bounds; returns its score.
    #[cold]
    #[allow(clippy::too_many_arguments, reason = "the columns of one row of a batch")]
    fn unusual(
        &self,
        record: &mut Record,
        bounds: Bounds,
        sample: Sample,
        row: usize,
        id: SeriesId,
        flagged: &mut Vec<Flagged>,
        tally: &mut Tally,
    ) -> f64 {
        let (.., score, violates) = self.judge(record, bounds, sample);
        let verdict = self.verdict(record, bounds, sample);
        tally.count(&verdict);
        if verdict.flagged {
            flagged.push(Flagged { row, id, verdict });
        }
        self.learn(record, violates, sample);
        score
    }

    /// [`learn`](Self::learn) for the usual case: warm, in order, with a value.
    #[inline(always)]
    fn learn_warm(&self, record: &mut Record, violates: bool, sample: Sample) {
        record.violations = if violates { record.violations.saturating_add(1) } else { 0 };
        record.last = sample.time;
        (record.mean, record.variance) = Rule::blend(
            record.mean,
            record.variance,
            sample.value,
            self.dynamic.alpha,
            self.dynamic.keep,
        );
    }

    fn learn(&self, record: &mut Record, violates: bool, sample: Sample) {
        if sample.time <= record.last {
            return;
        }
        if !sample.is_gap() {
            if u32::from(record.seen) >= self.dynamic.warm_up {
                return self.learn_warm(record, violates, sample);
            }
            record.violations = if violates { record.violations.saturating_add(1) } else { 0 };
        }
        let mut moments = record.moments();
        self.dynamic.learn(&mut moments, sample);
        record.mean = moments.mean;
        record.variance = moments.variance;
        record.last = moments.last;
        record.seen = moments.seen as u16; // at most warm_up, which was checked to fit
    }
}

impl Record {
    fn save(&self, bounds: Bounds, out: &mut SnapshotWriter) {
        self.moments().save(out);
        out.u8(self.violations);
        out.f64(bounds.lower);
        out.f64(bounds.upper);
    }

    fn load(from: &mut SnapshotReader<'_>) -> Result<(Record, Bounds)> {
        let Moments { mean, variance, last, seen } = Moments::load(from)?;
        let seen = u16::try_from(seen).map_err(|_| crate::saved::invalid("count", seen))?;
        let violations = from.u8()?;
        let (lower, upper) = (from.f64()?, from.f64()?);
        if !(lower < upper) {
            return Err(crate::saved::invalid("lower bound", lower));
        }
        Ok((Record { mean, variance, last, bounds: 0, seen, violations }, Bounds { lower, upper }))
    }
}

fn explain(sample: Sample, verdict: &Verdict, bounds: Bounds, consecutive: u8) -> Reason {
    if !verdict.is_scored() || !bounds.violated(sample.value) {
        return explain_band("guard", sample, verdict).with("consecutive", u32::from(consecutive));
    }
    let (side, limit) = if sample.value > bounds.upper {
        ("above its upper", bounds.upper)
    } else {
        ("below its lower", bounds.lower)
    };
    Reason::new("outside_static_bounds", format!("{} is {side} bound {limit}", sample.value))
        .with("detector", "guard")
        .with("observed", sample.value)
        .with("bound", limit)
        .with("consecutive", u32::from(consecutive))
}

impl Detector for Guard {
    fn name(&self) -> &'static str {
        "guard"
    }

    fn assess(&self, sample: Sample) -> Verdict {
        self.rule.verdict(&self.record, self.bounds, sample)
    }

    fn learn(&mut self, sample: Sample) {
        let (.., violates) = self.rule.judge(&self.record, self.bounds, sample);
        self.rule.learn(&mut self.record, violates, sample);
    }

    fn p_value(&self, score: f64) -> f64 {
        self.rule.dynamic.p_value(score)
    }

    fn explain(&self, sample: Sample, verdict: &Verdict) -> Reason {
        explain(sample, verdict, self.bounds, self.rule.consecutive)
    }

    fn save(&self, out: &mut SnapshotWriter) {
        self.record.save(self.bounds, out);
    }

    fn load(&mut self, from: &mut SnapshotReader<'_>) -> Result<()> {
        (self.record, self.bounds) = Record::load(from)?;
        Ok(())
    }
}

/// [`Guard`] for very many series: the same verdicts bit for bit, one 32-byte record a series.
///
/// A sample touches one cache line, whatever the order of the ids: this is the bank for samples that
/// arrive as they come. For a regular step of all series, [`EwmaBank`](super::EwmaBank) sweeps faster.
#[derive(Debug, Clone)]
pub struct GuardBank {
    rule: Watch,
    /// Static bounds; series hold a row number, since most share a few. Row 0 is the configuration's.
    bounds: Vec<Bounds>,
    records: Vec<Record>,
}

/// Rows whose records are read ahead together. Enough to keep all outstanding misses of a core busy,
/// and the records of a run stay in the first-level cache until they are used.
const RUN: usize = 64;

impl GuardBank {
    /// Gives some series static bounds of their own, until they are released.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] unless `lower` is below `upper`.
    pub fn set_bounds(
        &mut self,
        ids: &[SeriesId],
        lower: Option<f64>,
        upper: Option<f64>,
    ) -> Result<()> {
        let row = self.row_of(Bounds::new(lower, upper)?);
        for id in ids {
            self.grow(id.index() + 1);
            self.records[id.index()].bounds = row;
        }
        Ok(())
    }

    fn row_of(&mut self, bounds: Bounds) -> u32 {
        let row = self.bounds.iter().position(|b| *b == bounds).unwrap_or_else(|| {
            self.bounds.push(bounds);
            self.bounds.len() - 1
        });
        row as u32
    }

    fn grow(&mut self, n: usize) {
        if n > self.records.len() {
            self.records.resize(n, Record::default());
        }
    }

    fn get(&self, id: SeriesId) -> (Record, Bounds) {
        let record = self.records.get(id.index()).copied().unwrap_or_default();
        (record, self.bounds[record.bounds as usize])
    }
}

impl DetectorBank for GuardBank {
    fn name(&self) -> &'static str {
        "guard"
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
        self.grow(width(batch));
        let mut tally = Tally::default();
        let runs = batch
            .ids()
            .chunks(RUN)
            .zip(batch.times().chunks(RUN))
            .zip(batch.values().chunks(RUN))
            .zip(scores.chunks_mut(RUN));
        let (rule, bounds_table) = (self.rule, &self.bounds[..]);
        let records = &mut self.records[..];
        for (run, (((ids, times), values), scores)) in runs.enumerate() {
            // Independent loads of one field each: the misses of a run overlap instead of queueing
            // behind the arithmetic. The sum keeps them from being optimised away.
            let ahead = ids.iter().fold(0_u32, |sum, id| sum ^ records[id.index()].bounds);
            std::hint::black_box(ahead);
            for (i, ((id, time), value)) in ids.iter().zip(times).zip(values).enumerate() {
                let sample = Sample::new(*time, *value);
                let record = &mut records[id.index()];
                let bounds = bounds_table[record.bounds as usize];
                let warm = u32::from(record.seen) >= rule.dynamic.warm_up;
                if warm && *time > record.last && value.abs() <= LARGEST {
                    // The usual case, written out: `judge` and `learn_warm` without their questions.
                    let dynamic = &rule.dynamic;
                    let score = dynamic.score(record.mean, record.variance, *value);
                    let outside = bounds.violated(*value);
                    if score < dynamic.limit && !outside {
                        scores[i] = score;
                        tally.scored += 1;
                        record.violations = 0;
                        record.last = *time;
                        (record.mean, record.variance) = Rule::blend(
                            record.mean,
                            record.variance,
                            *value,
                            dynamic.alpha,
                            dynamic.keep,
                        );
                        continue;
                    }
                }
                let row = run * RUN + i;
                scores[i] = rule.unusual(record, bounds, sample, row, *id, flagged, &mut tally);
            }
        }
        Ok(tally)
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Result<Tally> {
        rows(batch, scores, flagged, |id, sample| {
            let (found, bounds) = self.get(id);
            self.rule.verdict(&found, bounds, sample)
        })
    }

    fn p_value(&self, _id: SeriesId, score: f64) -> f64 {
        self.rule.dynamic.p_value(score)
    }

    fn explain(&self, id: SeriesId, sample: Sample, verdict: &Verdict) -> Reason {
        explain(sample, verdict, self.get(id).1, self.rule.consecutive)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        for id in ids {
            if let Some(record) = self.records.get_mut(id.index()) {
                *record = Record::default();
            }
        }
    }

    fn bytes_per_series(&self) -> usize {
        size_of::<Record>()
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        let (record, bounds) = self.get(id);
        record.save(bounds, out);
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> Result<()> {
        let (mut record, bounds) = Record::load(from)?;
        record.bounds = self.row_of(bounds);
        self.grow(id.index() + 1);
        self.records[id.index()] = record;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorExt;

    fn at(second: i64, value: f64) -> Sample {
        Sample::new(Timestamp::from_secs(second), value)
    }

    #[test]
    fn a_record_is_half_a_cache_line() {
        assert_eq!(size_of::<Record>(), 32);
    }

    #[test]
    fn static_bounds_hold_from_the_first_sample_and_are_debounced() {
        let config = GuardConfig { upper: Some(90.0), consecutive: 2, ..GuardConfig::default() };
        let mut guard = config.build().unwrap();
        let samples = [at(0, 95.0), at(1, f64::NAN), at(2, 96.0), at(3, 50.0), at(4, 97.0)];
        let flags: Vec<bool> = guard.replay(samples).iter().map(|v| v.flagged).collect();
        assert_eq!(flags, [false, false, true, false, false], "the gap does not end the run");
        let verdict = guard.assess(at(5, 99.0));
        assert_eq!(guard.explain(at(5, 99.0), &verdict).sentence, "99 is above its upper bound 90");
    }

    #[test]
    fn series_may_have_bounds_of_their_own() {
        let config = GuardConfig { consecutive: 1, ..GuardConfig::default() };
        let mut bank = config.build_bank().unwrap();
        bank.set_bounds(&[SeriesId(1)], None, Some(10.0)).unwrap();
        let ids = [SeriesId(0), SeriesId(1)];
        let times = [Timestamp::from_secs(0); 2];
        let batch = SampleBatch::new(&ids, &times, &[11.0; 2]).unwrap();
        let mut flagged = Vec::new();
        bank.update(&batch, &mut [0.0; 2], &mut flagged).unwrap();
        assert_eq!(flagged.iter().map(|f| f.id).collect::<Vec<_>>(), [SeriesId(1)]);
    }
}
