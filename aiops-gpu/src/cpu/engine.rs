//! [`CpuEngine`]: every model on this processor.

use std::{collections::BTreeMap, time::Duration};

use aiops_core::{Sample, SampleBatch, SeriesId};

use super::{ForestScorer, States};
use crate::{
    Ask, BatchEngine, Capabilities, Columns, EngineKind, Error, Flag, LstmWeights, MAX_WAITING,
    Model, Outcome, RUN, Result, Simd, Stats, Ticket, Votes,
    model::push,
    record::{Record, SeriesState},
    rounds::rounds,
    rule::{Moments, Rule},
};

/// Settings of a [`CpuEngine`].
#[derive(Debug, Clone, PartialEq)]
pub struct CpuConfig {
    /// The instructions; `None` for the widest that the processor has, which is the default.
    pub simd: Option<Simd>,
    /// Series it holds at most. Default 4,000,000, about 2.5 GB with 64 units.
    pub max_series: usize,
    /// Flags that an outcome holds at most, before its overflow bit is set. Default 65,536.
    pub max_flags: usize,
}

impl Default for CpuConfig {
    fn default() -> Self {
        CpuConfig { simd: None, max_series: 4_000_000, max_flags: 65_536 }
    }
}

/// Statistics, LSTM and forest on one core of this processor, with explicit vector instructions.
///
/// It computes in [`submit`](BatchEngine::submit), so a result is always there and no deadline is missed.
/// One engine uses one core: for more, give each shard an engine of its own. Scores are within 1e-4 of
/// [`ReferenceDetector`](crate::ReferenceDetector), relative to one.
///
/// Cost a sample with 64 units and a forest of 100 trees: about 1 µs and 640 bytes of state, see
/// `docs/benchmarks/gpu.md`. Batches are fastest where neighbouring ids come together; ids all over the
/// place cost about twice.
///
/// ```
/// use std::time::Duration;
/// use aiops_core::{SampleBatch, SeriesId, Timestamp};
/// use aiops_gpu::{Ask, BatchEngine, CpuConfig, LstmWeights, Model, RuleConfig, run};
/// let mut model = Model::statistics(RuleConfig::default());
/// model.lstm = Some(LstmWeights::random(16, 1));
/// let mut engine = CpuConfig::default().build(&model)?;
/// engine.register(1)?;
/// let (id, time) = ([SeriesId(0)], [Timestamp::from_secs(1)]);
/// let batch = SampleBatch::new(&id, &time, &[0.5]).unwrap();
/// let outcome = run(&mut engine, &batch, Ask::UPDATE, Duration::from_secs(1))?;
/// assert_eq!((outcome.tally.warming_up, outcome.flags.len()), (1, 0));
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CpuEngine {
    config: CpuConfig,
    simd: Simd,
    kind: EngineKind,
    rule: Rule,
    model: Model,
    moments: Vec<Moments>,
    runs: Vec<[f32; RUN]>,
    states: Option<States>,
    scorer: Option<ForestScorer>,
    done: BTreeMap<u64, Outcome>,
    next_ticket: u64,
    stats: Stats,
}

impl CpuConfig {
    /// An engine that runs `model`.
    ///
    /// # Errors
    /// As [`BatchEngine::load_model`]; [`Error::Unavailable`] when the processor does not have the
    /// instructions that were asked for.
    pub fn build(&self, model: &Model) -> Result<CpuEngine> {
        let simd = self.simd.unwrap_or_else(Simd::detect).check()?;
        let statistics = Model::statistics(model.rule.clone());
        let mut engine = CpuEngine {
            simd,
            kind: EngineKind::Cpu,
            rule: statistics.check()?,
            model: statistics,
            moments: Vec::new(),
            runs: Vec::new(),
            states: None,
            scorer: None,
            done: BTreeMap::new(),
            next_ticket: 0,
            stats: Stats::default(),
            config: self.clone(),
        };
        engine.load_model(model)?;
        Ok(engine)
    }

    /// The last resort: an engine that runs the statistics of a model and nothing else of it.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_statistics(&self, model: &Model) -> Result<CpuEngine> {
        let mut engine = self.build(&Model::statistics(model.rule.clone()))?;
        engine.kind = EngineKind::Statistics;
        Ok(engine)
    }
}

/// A row that is at work: its place in the batch, its series, its value in scales.
#[derive(Debug, Clone, Copy)]
struct Row {
    row: usize,
    series: usize,
    value: f64,
    deviation: f64,
    judged: bool,
}

impl CpuEngine {
    /// Judges the rows of a round, which are of different series in ascending order, then learns them.
    fn round(
        &mut self,
        batch: &SampleBatch<'_>,
        rows: &[usize],
        ask: Ask,
        outcome: &mut Outcome,
        columns: &mut Columns,
    ) -> Result<()> {
        let mut work: Vec<Row> = Vec::with_capacity(rows.len());
        for row in rows {
            let series = batch.ids()[*row].index();
            let sample = Sample::new(batch.times()[*row], batch.values()[*row]);
            let moments = &mut self.moments[series];
            if sample.time <= moments.last {
                outcome.tally.late += 1;
                continue;
            }
            if ask.learn {
                moments.last = sample.time;
            }
            if sample.is_gap() {
                outcome.tally.gaps += 1;
                if ask.learn {
                    moments.gaps = moments.gaps.saturating_add(1);
                }
                continue;
            }
            let judged = moments.seen >= self.rule.warm_up;
            let deviation = moments.deviation(sample.value);
            work.push(Row { row: *row, series, value: sample.value, deviation, judged });
        }
        let rare = self.forest_p_values(&work)?;
        for (i, row) in work.iter().enumerate() {
            if !row.judged {
                outcome.tally.warming_up += 1;
                continue;
            }
            let predicted = self.predicted(row.series);
            let forest = rare.as_ref().map(|p| p[i]);
            let moments = &self.moments[row.series];
            let judgement = self.rule.judge(moments, row.deviation, predicted, forest);
            outcome.tally.scored += 1;
            if judgement.flagged {
                outcome.tally.flagged += 1;
                outcome.flags.push(Flag {
                    row: row.row,
                    id: batch.ids()[row.row],
                    score: judgement.score,
                    votes: judgement.votes,
                    expected: judgement.expected,
                    actual: row.value,
                });
            }
            if ask.columns {
                columns.scores[row.row] = judgement.score as f32;
                columns.expected[row.row] = judgement.expected;
                columns.margins[row.row] = judgement.margin;
            }
        }
        if ask.learn {
            self.learn(&work);
        }
        Ok(())
    }

    fn predicted(&self, series: usize) -> Option<f64> {
        self.states.as_ref().map(|states| f64::from(states.predicted(series)))
    }

    /// P-values of the runs that end with these rows; `None` without a forest.
    fn forest_p_values(&mut self, work: &[Row]) -> Result<Option<Vec<f64>>> {
        let (Some(scorer), Some(forest)) = (&mut self.scorer, &self.model.forest) else {
            return Ok(None);
        };
        let mut flat = Vec::with_capacity(work.len() * RUN);
        for row in work {
            let mut run = self.runs[row.series];
            push(&mut run, row.deviation);
            flat.extend_from_slice(&run);
        }
        let mut scores = vec![0.0; work.len()];
        scorer.score(&flat, &mut scores)?;
        scores.iter_mut().for_each(|score| *score = forest.p_value(*score));
        Ok(Some(scores))
    }

    fn learn(&mut self, work: &[Row]) {
        let mut series = Vec::with_capacity(work.len());
        let mut inputs = Vec::with_capacity(work.len());
        for row in work {
            let predicted = self.predicted(row.series);
            let run = &mut self.runs[row.series];
            push(run, row.deviation);
            let moments = &mut self.moments[row.series];
            self.rule.learn(moments, row.value, row.deviation, predicted);
            series.push(row.series);
            inputs.push(run[0]);
        }
        if let Some(states) = &mut self.states {
            states.step(&series, &inputs);
        }
    }

    fn forget(&mut self, series: usize) {
        self.moments[series] = Moments::default();
        self.runs[series] = [0.0; RUN];
        if let Some(states) = &mut self.states {
            states.forget(series);
        }
    }

    fn registered(&self, ids: &[SeriesId]) -> Result<()> {
        let needed = ids.iter().map(|id| id.index() + 1).max().unwrap_or(0);
        if needed > self.moments.len() {
            let got = self.moments.len();
            return Err(Error::ShapeMismatch { what: "registered series", expected: needed, got });
        }
        Ok(())
    }
}

#[deny(clippy::missing_trait_methods)]
impl BatchEngine for CpuEngine {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn capabilities(&self) -> Capabilities {
        let state = size_of::<Moments>() + size_of::<[f32; RUN]>();
        let lstm = self.states.as_ref().map_or(0, States::bytes_per_series);
        let mut models = Votes::STATISTICS;
        if self.states.is_some() {
            models = models.and(Votes::LSTM);
        }
        if self.scorer.is_some() {
            models = models.and(Votes::FOREST);
        }
        Capabilities {
            device: self.simd.name().to_owned(),
            max_series: self.config.max_series,
            good_batch: 512,
            bytes_per_series: state + lstm,
            models,
        }
    }

    fn register(&mut self, series: usize) -> Result<()> {
        let limit = self.config.max_series;
        if series > limit {
            return Err(Error::Full { limit, wanted: series });
        }
        if series > self.moments.len() {
            self.moments.resize(series, Moments::default());
            self.runs.resize(series, [0.0; RUN]);
            if let Some(states) = &mut self.states {
                states.grow(series);
            }
        }
        Ok(())
    }

    fn release(&mut self, ids: &[SeriesId]) -> Result<()> {
        for id in ids {
            if id.index() < self.moments.len() {
                self.forget(id.index());
            }
        }
        Ok(())
    }

    fn load_model(&mut self, model: &Model) -> Result<()> {
        let rule = model.check()?;
        let scorer =
            model.forest.as_ref().map(|f| ForestScorer::on(f.packed(), self.simd)).transpose()?;
        let series = self.moments.len();
        self.states = model.lstm.as_ref().map(|weights| States::new(weights, self.simd));
        if let Some(states) = &mut self.states {
            states.grow(series);
        }
        (self.rule, self.scorer, self.model) = (rule, scorer, model.clone());
        self.moments.fill(Moments::default());
        self.runs.fill([0.0; RUN]);
        Ok(())
    }

    fn submit(&mut self, batch: &SampleBatch<'_>, ask: Ask) -> Result<Ticket> {
        self.registered(batch.ids())?;
        let rows = if ask.columns { batch.len() } else { 0 };
        let mut columns = Columns {
            scores: vec![0.0; rows],
            expected: vec![f64::NAN; rows],
            margins: vec![f64::NAN; rows],
        };
        let mut outcome = Outcome {
            engine: self.kind,
            tally: Default::default(),
            flags: Vec::new(),
            overflow: false,
            columns: None,
        };
        for round in rounds(batch.ids(), ask.learn) {
            self.round(batch, &round, ask, &mut outcome, &mut columns)?;
        }
        outcome.flags.sort_unstable_by_key(|flag| flag.row);
        outcome.overflow = outcome.flags.len() > self.config.max_flags;
        outcome.flags.truncate(self.config.max_flags);
        outcome.columns = ask.columns.then_some(columns);
        self.stats.batches += 1;
        self.stats.rows += batch.len() as u64;
        self.stats.flagged += outcome.tally.flagged;
        self.next_ticket += 1;
        self.done.insert(self.next_ticket, outcome);
        if self.done.len() > MAX_WAITING {
            self.done.pop_first();
        }
        Ok(Ticket(self.next_ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Result<Option<Outcome>> {
        self.done.remove(&ticket.0).map(Some).ok_or(Error::UnknownTicket(ticket.0))
    }

    fn wait(&mut self, ticket: Ticket, _deadline: Duration) -> Result<Outcome> {
        self.done.remove(&ticket.0).ok_or(Error::UnknownTicket(ticket.0))
    }

    fn snapshot(&mut self, ids: &[SeriesId]) -> Result<Vec<u8>> {
        self.registered(ids)?;
        let hidden = self.states.as_ref().map_or(0, States::hidden);
        let state = |id: &SeriesId| {
            let series = id.index();
            let moments = self.moments[series];
            let lstm = self.states.as_ref().map_or_else(Vec::new, |states| {
                let (h, c, predicted) = states.get(series);
                [vec![predicted], h, c].concat()
            });
            let below = (moments.mean - f64::from(moments.mean as f32)) as f32;
            let record = Record { moments, run: self.runs[series] };
            // Beyond single precision there is nothing below.
            SeriesState { record, below: if below.is_finite() { below } else { 0.0 }, lstm }
        };
        Ok(SeriesState::save(ids.iter().map(state), hidden))
    }

    fn restore(&mut self, ids: &[SeriesId], bytes: &[u8]) -> Result<()> {
        self.registered(ids)?;
        let own = self.states.as_ref().map_or(0, States::hidden);
        for (id, state) in ids.iter().zip(SeriesState::load(ids, own, bytes)?) {
            let series = id.index();
            self.moments[series] = state.record.moments;
            self.runs[series] = state.record.run;
            if let (Some(states), [predicted, state @ ..]) = (&mut self.states, &state.lstm[..]) {
                let (h, c) = state.split_at(own);
                states.set(series, h, c, *predicted);
            }
        }
        Ok(())
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

impl From<&LstmWeights> for Model {
    /// A model of statistics and this LSTM, with the usual rule.
    fn from(weights: &LstmWeights) -> Self {
        let mut model = Model::statistics(Default::default());
        model.lstm = Some(weights.clone());
        model
    }
}
