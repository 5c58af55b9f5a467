//! What every engine must hold, as a function that a stranger's tests can call, and an engine that fails
//! on demand.

use std::{collections::BTreeMap, time::Duration};

use aiops_core::{SampleBatch, SeriesId, Timestamp};
use aiops_detect::{Detector, Tally};

use crate::{
    Ask, BatchEngine, Capabilities, EngineKind, Error, LstmWeights, MAX_WAITING, Model, Outcome,
    OwnedBatch, ReferenceDetector, Result, RuleConfig, RunForest, Stats, Ticket, random::Random,
    run,
};

/// A small model with everything in it: twelve units, ten trees.
///
/// # Panics
/// Never: the parts are fixed.
pub fn small_model() -> Model {
    let mut model = Model::statistics(RuleConfig::default());
    model.lstm = Some(LstmWeights::random(12, 3));
    let mut random = Random::new(4);
    let values: Vec<f64> = (0..1000).map(|_| normal(&mut random)).collect();
    let config = aiops_detect::tier3::IsolationForestConfig { trees: 10, sample: 64, seed: 1 };
    model.forest = Some(RunForest::fit(&[&values], &model.rule, &config).expect("enough runs"));
    model
}

/// Nearly standard normal: the sum of twelve uniform numbers.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0
}

/// A made-up batch: some series of many, with gaps, spikes, and series that come twice.
fn batch(step: i64, series: u32, random: &mut Random) -> OwnedBatch {
    let mut batch = OwnedBatch::default();
    let mut row = |id: u32, millis: i64, random: &mut Random| {
        batch.ids.push(SeriesId(id));
        batch.times.push(Timestamp::from_millis(1000 * step + millis));
        batch.values.push(match random.uniform() {
            u if u < 0.03 => f64::NAN,
            u if u < 0.05 => 1e4,
            _ => 20.0 + f64::from(id) + normal(random),
        });
    };
    for id in (0..series).filter(|id| step % 4 != 3 || id.is_multiple_of(7)) {
        row(id, 0, random);
    }
    for id in [5, 0, 5] {
        row(id, i64::from(id == 5) * (1 + random.bits() as i64 % 2), random);
    }
    batch
}

/// Checks the contract of [`BatchEngine`], and that it judges as [`ReferenceDetector`] does within
/// `tolerance`, relative to one. The engine must run the model it is given, whole.
///
/// # Panics
/// When the contract is broken; the message names the rule.
pub fn check_engine<E: BatchEngine>(make: impl Fn(&Model) -> E, tolerance: f64) {
    const SERIES: u32 = 70;
    let deadline = Duration::from_secs(60);
    let model = small_model();
    let mut engine = make(&model);
    let update = Ask::UPDATE.with_columns();
    let nobody = [SeriesId(0)];
    let one = SampleBatch::new(&nobody, &[Timestamp::EPOCH], &[1.0]).expect("three columns");
    assert!(engine.submit(&one, update).is_err(), "a series must be registered");
    assert!(engine.poll(Ticket(u64::MAX)).is_err(), "an unknown ticket is an error");
    let all = engine.capabilities();
    assert!(engine.register(all.max_series.saturating_add(1)).is_err(), "no more than fits");
    engine.register(SERIES as usize).expect("room for a few");
    assert!(all.bytes_per_series > 0 && !all.device.is_empty());

    let mut twins =
        vec![ReferenceDetector::new(model.clone()).expect("a checked model"); SERIES as usize];
    let mut random = Random::new(11);
    let ids: Vec<SeriesId> = (0..SERIES).map(SeriesId).collect();
    let (mut saved, mut since) = (Vec::new(), Vec::new());
    for step in 0..120_i64 {
        let rows = batch(step, SERIES, &mut random);
        let view = rows.view();
        let before = run(&mut engine, &view, Ask::ASSESS.with_columns(), deadline).expect("assess");
        let again = run(&mut engine, &view, Ask::ASSESS.with_columns(), deadline).expect("assess");
        assert_eq!(before, again, "assessing changes nothing");
        let outcome = run(&mut engine, &view, update, deadline).expect("update");
        let mut counted = Tally::default();
        let columns = outcome.columns.as_ref().expect("columns were asked for");
        for (row, (id, sample)) in view.iter().enumerate() {
            let verdict = twins[id.index()].update(sample);
            counted.count(&verdict);
            let off = (f64::from(columns.scores[row]) - verdict.score).abs();
            assert!(
                off <= tolerance * verdict.score.max(1.0),
                "step {step}, row {row}: {} against {}",
                columns.scores[row],
                verdict.score
            );
            assert_eq!(
                columns.expected[row].is_nan(),
                !verdict.is_scored(),
                "no judgement, no band"
            );
        }
        let parts = |t: &Tally| (t.scored, t.warming_up, t.gaps, t.late);
        assert_eq!(parts(&outcome.tally), parts(&counted), "step {step}: rows are counted");
        let flags = outcome.flags.len() as u64;
        assert_eq!(outcome.tally.flagged > flags, outcome.overflow, "no flag is lost silently");
        assert!(outcome.flags.is_sorted_by(|a, b| a.row < b.row), "flags in the order of rows");
        for flag in &outcome.flags {
            assert_eq!((flag.id, flag.actual), (rows.ids[flag.row], rows.values[flag.row]));
            assert!(flag.votes != crate::Votes::NONE && flag.score.is_finite());
        }
        if step == 80 {
            saved = engine.snapshot(&ids).expect("snapshot");
        } else if step > 80 {
            since.push((rows, outcome));
        }
    }

    // Another engine, other ids: it continues as the first did.
    let mut other = make(&model);
    other.register(2 * SERIES as usize).expect("room for a few");
    let moved: Vec<SeriesId> = (0..SERIES).map(|i| SeriesId(i + SERIES)).collect();
    assert!(other.restore(&moved[1..], &saved).is_err(), "a snapshot of that many series");
    assert!(other.restore(&moved, &saved[..saved.len() / 2]).is_err(), "a cut snapshot");
    other.restore(&moved, &saved).expect("restore what was saved");
    for (rows, expected) in &since {
        let mut rows = rows.clone();
        rows.ids.iter_mut().for_each(|id| id.0 += SERIES);
        let outcome = run(&mut other, &rows.view(), update, deadline).expect("update");
        assert_eq!(outcome.columns, expected.columns, "a restored series continues bit for bit");
    }
    assert!(other.stats().batches >= since.len() as u64 && other.stats().failures == 0);

    // What nobody takes is forgotten, the oldest first.
    let quiet = SampleBatch::new(&[], &[], &[]).expect("three columns");
    let tickets: Vec<Ticket> = (0..=MAX_WAITING)
        .map(|_| other.submit(&quiet, Ask::ASSESS).expect("a batch of nothing"))
        .collect();
    let forgotten = other.wait(tickets[0], deadline);
    assert!(matches!(forgotten, Err(Error::UnknownTicket(_))), "no more than wait are kept");
    for ticket in &tickets[1..] {
        other.wait(*ticket, deadline).expect("the last ones are kept");
    }

    // Released, and under another model: anew.
    let (time, value) = ([Timestamp::from_secs(1_000_000)], [3.0]);
    let last = SampleBatch::new(&moved[..1], &time, &value).expect("three columns");
    other.release(&moved[..1]).expect("release");
    let outcome = run(&mut other, &last, Ask::ASSESS, deadline).expect("assess");
    assert_eq!(outcome.tally.warming_up, 1, "a released series starts anew");
    other.load_model(&Model::from(&LstmWeights::random(5, 1))).expect("another model");
    let outcome = run(&mut other, &last, Ask::UPDATE, deadline).expect("update");
    assert_eq!(outcome.tally.warming_up, 1, "a new model starts anew");
    assert!(other.restore(&moved, &saved).is_err(), "state of another model");
}

/// How a [`FaultyEngine`] fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It refuses the batch.
    Submit,
    /// It takes the batch and says later that the device is lost.
    Device,
    /// It takes the batch and never answers.
    Silence,
    /// It panics when it gets the batch.
    PanicAtSubmit,
    /// It panics when it is asked for the answer.
    PanicAtAnswer,
}

/// An engine around another, which fails at the batches it is told to.
#[derive(Debug)]
pub struct FaultyEngine<E> {
    inner: E,
    kind: EngineKind,
    faults: BTreeMap<u64, Fault>,
    submitted: u64,
    lost: BTreeMap<u64, Fault>,
}

impl<E: BatchEngine> FaultyEngine<E> {
    /// An engine that says it is a `kind` and fails at these submissions, counted from 0.
    pub fn new(inner: E, kind: EngineKind, faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        let faults = faults.into_iter().collect();
        FaultyEngine { inner, kind, faults, submitted: 0, lost: BTreeMap::new() }
    }

    fn failing(&mut self, ticket: Ticket, waited: Duration) -> Result<()> {
        let engine = self.kind;
        match self.lost.get(&ticket.0) {
            Some(Fault::PanicAtAnswer) => panic!("told to panic at the answer"),
            Some(Fault::Silence) => Err(Error::DeadlineMissed { engine, waited }),
            Some(_) => Err(Error::Device { engine, reason: "device lost".to_owned() }),
            None => Ok(()),
        }
    }
}

impl<E: BatchEngine> BatchEngine for FaultyEngine<E> {
    fn kind(&self) -> EngineKind {
        self.kind
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn register(&mut self, series: usize) -> Result<()> {
        self.inner.register(series)
    }

    fn release(&mut self, ids: &[SeriesId]) -> Result<()> {
        self.inner.release(ids)
    }

    fn load_model(&mut self, model: &Model) -> Result<()> {
        self.inner.load_model(model)
    }

    fn submit(&mut self, batch: &SampleBatch<'_>, ask: Ask) -> Result<Ticket> {
        let fault = self.faults.get(&self.submitted).copied();
        self.submitted += 1;
        match fault {
            Some(Fault::Submit) => {
                Err(Error::Device { engine: self.kind, reason: "out of memory".to_owned() })
            }
            Some(Fault::PanicAtSubmit) => panic!("told to panic at a batch"),
            Some(fault) => {
                let ticket = u64::MAX - self.submitted;
                self.lost.insert(ticket, fault);
                Ok(Ticket(ticket))
            }
            None => self.inner.submit(batch, ask),
        }
    }

    fn poll(&mut self, ticket: Ticket) -> Result<Option<Outcome>> {
        if self.lost.get(&ticket.0) == Some(&Fault::Silence) {
            return Ok(None);
        }
        self.failing(ticket, Duration::ZERO)?;
        self.named(|inner| inner.poll(ticket))
    }

    fn wait(&mut self, ticket: Ticket, deadline: Duration) -> Result<Outcome> {
        self.failing(ticket, deadline)?;
        let outcome = self.named(|inner| inner.wait(ticket, deadline).map(Some))?;
        outcome.ok_or(Error::UnknownTicket(ticket.0))
    }

    fn snapshot(&mut self, ids: &[SeriesId]) -> Result<Vec<u8>> {
        self.inner.snapshot(ids)
    }

    fn restore(&mut self, ids: &[SeriesId], bytes: &[u8]) -> Result<()> {
        self.inner.restore(ids, bytes)
    }

    fn stats(&self) -> Stats {
        self.inner.stats()
    }
}

impl<E: BatchEngine> FaultyEngine<E> {
    fn named(
        &mut self,
        ask: impl FnOnce(&mut E) -> Result<Option<Outcome>>,
    ) -> Result<Option<Outcome>> {
        let kind = self.kind;
        Ok(ask(&mut self.inner)?.map(|outcome| Outcome { engine: kind, ..outcome }))
    }
}
