//! [`EngineBank`]: an engine as a [`DetectorBank`].

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aiops_core::{SampleBatch, SeriesId, SnapshotReader, SnapshotWriter};
use aiops_detect::{
    Calibrator, CalibratorConfig, DetectorBank, Flagged, Tally, Tier, Verdict, same_length,
};

use crate::{
    Ask, BatchEngine, Columns, EngineKind, Error, Judgement, NAME, Outcome, Result, Votes,
    record::verdict, run,
};

/// Settings of an [`EngineBank`].
#[derive(Debug, Clone, PartialEq)]
pub struct EngineBankConfig {
    /// How long an update may wait for its outcome. Default 5 s, what the third tier is allowed.
    pub deadline: Duration,
    /// Calibrates each series' scores to p-values on its own past, at 1 KiB a series. Without, the
    /// p-value is the weighted geometric mean of the models', and flags are the engine's votes. Default
    /// on, with a horizon of 8,000 scores.
    pub calibrate: Option<CalibratorConfig>,
    /// Flagged at or below this p-value, where calibrated. Default 1e-3.
    pub false_positive_rate: f64,
}

impl Default for EngineBankConfig {
    fn default() -> Self {
        let calibrate = CalibratorConfig { horizon: 8_000, ..CalibratorConfig::default() };
        EngineBankConfig {
            deadline: Duration::from_secs(5),
            calibrate: Some(calibrate),
            false_positive_rate: 1e-3,
        }
    }
}

/// An engine, or a chain of them, as a [`DetectorBank`]: the router and the ensemble of `aiops-detect`
/// use it like any other.
///
/// Series register themselves on first sight. Scores equal those of
/// [`ReferenceDetector`](crate::ReferenceDetector) within 1e-4, relative to one.
///
/// A series whose state an engine cannot give is saved as one that has seen nothing.
///
/// An engine that fails or misses the deadline is an error here, and the batch was not learnt: put an
/// [`EngineChain`](crate::EngineChain) below, whose last link always answers.
///
/// ```
/// use aiops_core::{SampleBatch, SeriesId, Timestamp};
/// use aiops_detect::DetectorBank;
/// use aiops_gpu::{CpuConfig, EngineBankConfig, Model, RuleConfig};
/// let engine = CpuConfig::default().build(&Model::statistics(RuleConfig::default()))?;
/// let mut bank = EngineBankConfig::default().build(Box::new(engine))?;
/// let (id, time) = ([SeriesId(7)], [Timestamp::from_secs(1)]);
/// let batch = SampleBatch::new(&id, &time, &[0.5]).unwrap();
/// let tally = bank.update(&batch, &mut [0.0], &mut Vec::new()).unwrap();
/// assert_eq!(tally.warming_up, 1);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
pub struct EngineBank {
    config: EngineBankConfig,
    /// Judging is a question to a device, which changes it even where it changes nothing of ours.
    engine: Mutex<Box<dyn BatchEngine>>,
    registered: usize,
    fresh: Option<Calibrator>,
    calibrators: Vec<Option<Box<Calibrator>>>,
    last: Option<EngineKind>,
}

impl std::fmt::Debug for EngineBank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBank").field("last", &self.last).finish_non_exhaustive()
    }
}

impl EngineBankConfig {
    /// A bank on `engine`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the rate or the calibrator's settings are out of range.
    pub fn build(self, engine: Box<dyn BatchEngine>) -> Result<EngineBank> {
        let rate = self.false_positive_rate;
        if !(rate > 0.0 && rate < 1.0) {
            let reason = format!("must be between 0 and 1, got {rate}");
            return Err(Error::config("false_positive_rate", reason));
        }
        let fresh = self.calibrate.clone().map(CalibratorConfig::build).transpose();
        let fresh = fresh.map_err(|error| Error::config("calibrate", error.to_string()))?;
        let engine = Mutex::new(engine);
        let calibrators = Vec::new();
        Ok(EngineBank { config: self, engine, registered: 0, fresh, calibrators, last: None })
    }
}

impl EngineBank {
    /// The engine that made the last outcome.
    pub fn last_engine(&self) -> Option<EngineKind> {
        self.last
    }

    fn engine(&self) -> MutexGuard<'_, Box<dyn BatchEngine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&mut self, series: usize) -> Result<()> {
        if series > self.registered {
            self.engine().register(series)?;
            self.registered = series;
            self.calibrators.resize(series, None);
        }
        Ok(())
    }

    fn ask(&self, batch: &SampleBatch<'_>, ask: Ask) -> Result<(Outcome, Columns)> {
        let deadline = self.config.deadline;
        let mut outcome = run(&mut **self.engine(), batch, ask.with_columns(), deadline)?;
        let columns = outcome.columns.take().unwrap_or_default();
        Ok((outcome, columns))
    }

    /// Writes an outcome into the columns of the caller.
    fn record(
        &self,
        batch: &SampleBatch<'_>,
        outcome: &Outcome,
        columns: &Columns,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> Tally {
        let mut tally = Tally { flagged: 0, ..outcome.tally };
        let mut voted = outcome.flags.iter().peekable();
        for (row, (id, sample)) in batch.iter().enumerate() {
            scores[row] = f64::from(columns.scores[row]);
            let by_vote = voted.next_if(|flag| flag.row == row).is_some();
            if columns.expected[row].is_nan() {
                continue;
            }
            let judgement = Judgement {
                score: scores[row],
                votes: Votes::NONE,
                flagged: by_vote,
                expected: columns.expected[row],
                margin: columns.margins[row],
            };
            let mut verdict = verdict(&judgement, sample.value);
            if let Some(p_value) = self.calibrated(id, scores[row]) {
                let flagged = p_value <= self.config.false_positive_rate;
                verdict = Verdict { p_value, flagged, ..verdict };
            }
            if verdict.flagged {
                tally.flagged += 1;
                flagged.push(Flagged { row, id, verdict });
            }
        }
        tally
    }

    fn calibrated(&self, id: SeriesId, score: f64) -> Option<f64> {
        self.calibrators.get(id.index())?.as_ref()?.p_value(score)
    }
}

/// An error of an engine as one of `aiops-detect`.
fn in_detect(error: Error) -> aiops_detect::Error {
    match error {
        Error::InvalidConfig { field, reason } => {
            aiops_detect::Error::InvalidConfig { field, reason }
        }
        Error::ShapeMismatch { what, expected, got } => {
            aiops_detect::Error::ShapeMismatch { what, expected, got }
        }
        Error::Snapshot(error) => aiops_detect::Error::Snapshot(error),
        other => aiops_detect::Error::Malformed {
            what: "answer of an engine",
            reason: other.to_string(),
        },
    }
}

impl DetectorBank for EngineBank {
    fn name(&self) -> &'static str {
        NAME
    }

    fn tier(&self) -> Tier {
        Tier::Three
    }

    fn update(
        &mut self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> aiops_detect::Result<Tally> {
        same_length(batch.len(), scores.len())?;
        let needed = batch.ids().iter().map(|id| id.index() + 1).max().unwrap_or(0);
        self.register(needed).map_err(in_detect)?;
        let (outcome, columns) = self.ask(batch, Ask::UPDATE).map_err(in_detect)?;
        self.last = Some(outcome.engine);
        let tally = self.record(batch, &outcome, &columns, scores, flagged);
        if let Some(fresh) = &self.fresh {
            for (row, id) in batch.ids().iter().enumerate() {
                if !columns.expected[row].is_nan() {
                    let own = &mut self.calibrators[id.index()];
                    own.get_or_insert_with(|| Box::new(fresh.clone())).learn(scores[row]);
                }
            }
        }
        Ok(tally)
    }

    fn assess(
        &self,
        batch: &SampleBatch<'_>,
        scores: &mut [f64],
        flagged: &mut Vec<Flagged>,
    ) -> aiops_detect::Result<Tally> {
        same_length(batch.len(), scores.len())?;
        let needed = batch.ids().iter().map(|id| id.index() + 1).max().unwrap_or(0);
        if needed > self.registered {
            // Room for a series is not knowledge of it.
            self.engine().register(needed).map_err(in_detect)?;
        }
        let (outcome, columns) = self.ask(batch, Ask::ASSESS).map_err(in_detect)?;
        Ok(self.record(batch, &outcome, &columns, scores, flagged))
    }

    fn p_value(&self, id: SeriesId, score: f64) -> f64 {
        let plain = (-score).exp().clamp(f64::MIN_POSITIVE, 1.0);
        self.calibrated(id, score).unwrap_or(plain)
    }

    fn release(&mut self, ids: &[SeriesId]) {
        // A device that fails to forget fails the next batch too, where it can be said.
        let _ = self.engine().release(ids);
        for id in ids {
            if let Some(calibrator) = self.calibrators.get_mut(id.index()) {
                *calibrator = None;
            }
        }
    }

    fn bytes_per_series(&self) -> usize {
        let calibrator = self.fresh.as_ref().map_or(0, |_| size_of::<Calibrator>() + 8);
        self.engine().capabilities().bytes_per_series + calibrator
    }

    fn save(&self, id: SeriesId, out: &mut SnapshotWriter) {
        let state = if id.index() < self.registered {
            self.engine().snapshot(&[id]).unwrap_or_default()
        } else {
            Vec::new()
        };
        out.bytes(&state);
        let calibrator = self.calibrators.get(id.index()).and_then(Option::as_ref);
        out.u8(u8::from(calibrator.is_some()));
        if let Some(calibrator) = calibrator {
            calibrator.save(out);
        }
    }

    fn load(&mut self, id: SeriesId, from: &mut SnapshotReader<'_>) -> aiops_detect::Result<()> {
        let state = from.bytes()?;
        let calibrator = match (from.u8()?, &self.fresh) {
            (0, _) => None,
            (_, Some(fresh)) => {
                let mut loaded = fresh.clone();
                loaded.load(from)?;
                Some(Box::new(loaded))
            }
            (_, None) => {
                let reason = "a calibrated series, here none is".to_owned();
                return Err(aiops_core::SnapshotError::ConfigMismatch(reason).into());
            }
        };
        self.register(id.index() + 1).map_err(in_detect)?;
        if state.is_empty() {
            self.engine().release(&[id]).map_err(in_detect)?;
        } else {
            self.engine().restore(&[id], state).map_err(in_detect)?;
        }
        self.calibrators[id.index()] = calibrator;
        Ok(())
    }
}
