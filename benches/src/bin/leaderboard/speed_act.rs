//! Speed rows of acting: transitions made durable, beside the same bytes written raw.
//!
//! Wall clock, because the work is waiting for the disk. Every row records the batches of our run and
//! then commits those very batches, one after another, to a fresh store: the physical limit of one
//! writer. Both take turns.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aiops_act::approver::{CannotAsk, Request};
use aiops_act::executor::BoxFuture;
use aiops_act::{
    Answer, ApprovalPolicy, Approver, Call, Digest, Ending, Engine, EngineConfig, FixedApprover,
    Library, MetricFn, MetricQuery, Mode, Output, Permit, Plan, Preview, Probe, ReplayClock, Risk,
    RunId, Runbook, Situation, StepError, StepExecutor, World, match_runbooks,
};
use aiops_core::{
    Batch, Candidate, Cause, Entry, Fingerprint, Incident, IncidentId, IncidentState, ManualClock,
    MemoryStore, NodeKind, Ranking, Record, Severity, Store, StoreError, Timestamp, Topology,
    Version, Versioned,
};
use aiops_knowledge::RedbStore;

use crate::{
    registry::{Measured, Result, SpeedRow, Unit},
    stopwatch::wall_seconds,
};

pub(crate) const ROWS: &[SpeedRow] = &[
    SpeedRow {
        id: "journal_transitions",
        unit: Unit::PerSecond("durable transitions/s, one run, wall clock"),
        baseline_is: "the same batches committed raw, one after another",
        measure: one_run,
    },
    SpeedRow {
        id: "journal_100_runs",
        unit: Unit::PerSecond("durable transitions/s, 100 runs at once, wall clock"),
        baseline_is: "one run at a time, same call (to reach: 10x)",
        measure: hundred_runs,
    },
    SpeedRow {
        id: "resume_10k_runs",
        unit: Unit::PerSecond("runs/s found and taken over, wall clock; B/series: memory per run"),
        baseline_is: "the same batches committed raw, one after another",
        measure: resume,
    },
];

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Six writes and a verification, without any waiting.
const RUNBOOK: &str = "
schema: aiops.runbook/v1
id: six-writes
version: 1.0.0
title: Six writes
owner: benches
match: {min_confidence: 0.1}
targets: {services: ['${{ cause.service }}']}
safety: {risk: 1, max_services: 100000, max_percent: 100, rate: {runs: 1000000, per: 1h}}
steps:
- {id: a, uses: nothing-much, undo: {uses: nothing}}
- {id: b, uses: nothing-much, undo: {uses: nothing}}
- {id: c, uses: nothing-much, undo: {uses: nothing}}
- {id: d, uses: nothing-much, undo: {uses: nothing}}
- {id: e, uses: nothing-much, undo: {uses: nothing}}
- {id: f, uses: nothing-much, undo: {uses: nothing}}
verify: {metrics: {m: {metric: m}}, success_when: now.m < 1.0, interval: 1s, count: 1}
";

/// Ends at once.
struct NothingMuch;

impl StepExecutor for NothingMuch {
    fn name(&self) -> &str {
        "nothing-much"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn risk_floor(&self, _: &Call) -> Risk {
        Risk::Reversible
    }
    fn plan<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        Box::pin(std::future::ready(Ok(Preview::default())))
    }
    fn run<'a>(&'a self, _: &'a Call, _: &'a Permit) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(std::future::ready(Ok(Output::default())))
    }
    fn probe<'a>(&'a self, _: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        Box::pin(std::future::ready(Probe::Done { output: Output::default() }))
    }
    fn undo<'a>(
        &'a self,
        _: &'a Call,
        _: &'a serde_json::Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(std::future::ready(Ok(Output::default())))
    }
}

/// Asks nobody who answers, and counts how often it was asked.
#[derive(Default)]
struct Patient(AtomicUsize);

impl Approver for Patient {
    fn name(&self) -> &str {
        "patient"
    }
    fn ask<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Option<Answer>, CannotAsk>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Many incidents at once, each on a service of its own.
struct Town {
    situations: BTreeMap<IncidentId, Situation>,
    topology: Arc<Topology>,
}

impl Town {
    fn of(services: usize) -> Result<Arc<Town>> {
        let mut topology = Topology::new();
        let mut situations = BTreeMap::new();
        for number in 0..services {
            let service = format!("svc-{number:05}");
            topology.upsert_node(&service, NodeKind::Service, NOW);
            let id = IncidentId::of("", Fingerprint::from_u64(number as u64 + 1), NOW);
            let incident = Incident {
                id,
                tenant: String::new(),
                state: IncidentState::Open,
                onset: NOW,
                shown_at: Some(NOW),
                resolved_at: None,
                severity: Severity::Critical,
                title: format!("{service} is slow"),
                alerts: vec![],
                services: BTreeSet::from([service.clone()]),
                events: vec![],
                timeline: vec![],
            };
            let cause = Cause::Service { service };
            let candidate = Candidate { cause, probability: 0.0, score: 0.9, evidence: Vec::new() };
            let ranking = Ranking::from_weights("bench", vec![candidate], 0.1)?;
            situations.insert(id, Situation::new(incident, ranking));
        }
        Ok(Arc::new(Town { situations, topology: Arc::new(topology) }))
    }
}

impl World for Town {
    fn situation(&self, incident: IncidentId) -> Option<Situation> {
        self.situations.get(&incident).cloned()
    }
    fn topology(&self) -> Arc<Topology> {
        self.topology.clone()
    }
    fn unhealthy(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
    fn calibrated(&self) -> bool {
        true
    }
    fn mode(&self) -> Mode {
        Mode::Full
    }
}

/// Keeps a copy of every batch that was committed, in their order.
struct Recorder {
    inner: Arc<dyn Store>,
    batches: Mutex<Vec<Batch>>,
}

impl Recorder {
    fn over(inner: Arc<dyn Store>) -> Arc<Recorder> {
        Arc::new(Recorder { inner, batches: Mutex::default() })
    }

    fn taken(&self) -> Vec<Batch> {
        std::mem::take(&mut self.batches.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Recorder {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        let copy = batch.clone();
        let version = self.inner.commit(batch)?;
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
        Ok(version)
    }
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key)
    }
    fn scan(&self, p: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.scan(p, after, limit)
    }
    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner.read_log(log, from, limit)
    }
    fn now(&self) -> Result<Timestamp, StoreError> {
        self.inner.now()
    }
}

fn clock() -> Arc<ReplayClock> {
    Arc::new(ReplayClock(Arc::new(ManualClock::new(NOW))))
}

fn engine(town: &Arc<Town>, store: Arc<dyn Store>, approver: Arc<dyn Approver>) -> Result<Engine> {
    let mut config = EngineConfig {
        approval: ApprovalPolicy::default().with_person("ada", &["oncall"]),
        lease_ttl: std::time::Duration::from_secs(3_600),
        poll: std::time::Duration::from_secs(3_600),
        ..EngineConfig::default()
    };
    config.gates.limits.max_concurrent = 1_000_000;
    config.gates.limits.max_per_hour = 1_000_000;
    Ok(Engine::builder(config, store, clock(), town.clone())
        .executor(Arc::new(NothingMuch))
        .approver(approver)
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()?)
}

fn plans(town: &Town, runbook: &str) -> Result<Vec<Plan>> {
    let mut library = Library::new();
    library.add(Runbook::parse(runbook.as_bytes())?)?;
    let mut plans = Vec::new();
    for situation in town.situations.values() {
        let matches = match_runbooks(&library, situation, &BTreeMap::new(), NOW);
        let fit = matches.best().ok_or("the runbook fits every incident")?;
        let mut plan = Plan::new(fit, situation, &BTreeMap::new(), "bench", NOW)?;
        plan.measure_blast(&town.topology, std::time::Duration::from_secs(300), NOW);
        plans.push(plan);
    }
    Ok(plans)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Executes all plans at once; returns the seconds and how many transitions were made.
fn execute(town: &Arc<Town>, store: Arc<dyn Store>, plans: Vec<Plan>) -> Result<(f64, u64)> {
    let runtime = runtime()?;
    let approver = Arc::new(FixedApprover::approving("ada", clock()));
    let engine = engine(town, store, approver)?;
    let mut transitions = 0;
    let mut wrong = None;
    let seconds = wall_seconds(|| {
        runtime.block_on(async {
            let runs: Vec<_> = plans
                .into_iter()
                .map(|plan| {
                    let engine = engine.clone();
                    tokio::spawn(async move { engine.execute(plan).await })
                })
                .collect();
            for run in runs {
                match run.await {
                    Ok(Ok(run)) if run.ending() == Some(Ending::Succeeded) => {
                        transitions += run.revision + 1; // and its creation
                    }
                    other => wrong = Some(format!("{other:?}")),
                }
            }
        });
    });
    match wrong {
        Some(wrong) => Err(wrong.into()),
        None => Ok((seconds, transitions)),
    }
}

/// Seconds to commit the batches one after another to a fresh store.
fn raw(folder: &Path, name: &str, batches: Vec<Batch>) -> Result<f64> {
    let store = RedbStore::open(folder.join(name))?;
    let mut wrong = None;
    let seconds = wall_seconds(|| {
        for batch in batches {
            if let Err(error) = store.commit(batch) {
                wrong = Some(error);
            }
        }
    });
    match wrong {
        Some(error) => Err(error.into()),
        None => Ok(seconds),
    }
}

/// The middle value: one slow flush of a shared disk says nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One run after another on one store, and the same batches raw; rates of transitions.
fn single(town: &Arc<Town>, plans: &[Plan], rounds: usize) -> Result<(f64, f64)> {
    let (mut ours, mut baseline) = (Vec::new(), Vec::new());
    let folder = tempfile::tempdir()?;
    for round in 0..=rounds {
        let store = Arc::new(RedbStore::open(folder.path().join(format!("ours-{round}")))?);
        let recorder = Recorder::over(store);
        let (mut seconds, mut transitions) = (0.0, 0);
        for plan in plans {
            let (s, t) = execute(town, recorder.clone(), vec![plan.clone()])?;
            seconds += s;
            transitions += t;
        }
        let batches = recorder.taken();
        let commits = batches.len() as f64;
        let raw = raw(folder.path(), &format!("raw-{round}"), batches)?;
        if round > 0 {
            ours.push(transitions as f64 / seconds);
            baseline.push(commits / raw);
        }
    }
    Ok((median(ours), median(baseline)))
}

fn one_run(quick: bool) -> Result<Measured> {
    let town = Town::of(4)?;
    let (ours, baseline) = single(&town, &plans(&town, RUNBOOK)?, if quick { 1 } else { 9 })?;
    Ok(Measured { ours, baseline: Some(baseline), bytes_per_series: None })
}

fn hundred_runs(quick: bool) -> Result<Measured> {
    let town = Town::of(100)?;
    let plans = plans(&town, RUNBOOK)?;
    let folder = tempfile::tempdir()?;
    let (mut ours, mut alone) = (Vec::new(), Vec::new());
    for round in 0..if quick { 1 } else { 7 } {
        let store = Arc::new(RedbStore::open(folder.path().join(format!("{round}")))?);
        let (seconds, transitions) = execute(&town, store, plans.clone())?;
        ours.push(transitions as f64 / seconds);
        alone.push(single(&town, &plans[..2], 1)?.0);
    }
    Ok(Measured { ours: median(ours), baseline: Some(median(alone)), bytes_per_series: None })
}

/// Starts all plans until each waits for an answer, and drops the engine there; bytes that this took.
fn leave_waiting(town: &Arc<Town>, store: Arc<dyn Store>, plans: Vec<Plan>) -> Result<f64> {
    let runtime = runtime()?;
    let approver = Arc::new(Patient::default());
    let engine = engine(town, store, approver.clone())?;
    let count = plans.len();
    let before = resident_bytes();
    let grown = runtime.block_on(async {
        for plan in plans {
            let engine = engine.clone();
            tokio::spawn(async move { engine.execute(plan).await.map(|_| ()) });
        }
        until_asked(&approver, count).await;
        resident_bytes() - before
    });
    drop(engine);
    runtime.shutdown_timeout(std::time::Duration::from_secs(30));
    Ok(grown)
}

async fn until_asked(approver: &Patient, count: usize) {
    while approver.0.load(Ordering::SeqCst) < count {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

pub(crate) fn resident_bytes() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<f64>().ok());
    pages.map_or(f64::NAN, |pages| pages * 4_096.0)
}

/// Bytes that a store in memory holds of these batches' kind: keys, values and logs.
fn stored_bytes(store: &dyn Store, runs: &[RunId]) -> Result<f64> {
    let mut bytes = 0;
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = store.scan(b"", after.as_deref(), 1_000)?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        bytes += page.iter().map(|entry| entry.key.len() + entry.value.len()).sum::<usize>();
    }
    let journals = runs.iter().map(|run| format!("act/journal/{run}"));
    for log in journals.chain(["act/audit".to_owned()]) {
        let records = store.read_log(log.as_bytes(), 0, usize::MAX)?;
        bytes += records.iter().map(|record| record.record.len()).sum::<usize>();
    }
    Ok(bytes as f64)
}

fn resume(quick: bool) -> Result<Measured> {
    let count = if quick { 500 } else { 10_000 };
    let town = Town::of(count)?;
    let plans = plans(&town, RUNBOOK)?;
    let ids: Vec<RunId> = plans.iter().map(|plan| plan.run).collect();

    // Memory first, over a store whose own bytes can be counted and taken off.
    let memory = Arc::new(MemoryStore::with_clock(Arc::new(ManualClock::new(NOW))));
    let grown = leave_waiting(&town, memory.clone(), plans.clone())?;
    let per_run = (grown - stored_bytes(&*memory, &ids)?) / count as f64;
    drop(memory);

    let folder = tempfile::tempdir()?;
    let (file, copy) = (folder.path().join("ours"), folder.path().join("raw"));
    // The next engine comes later: the leases of the first are over by then.
    let at = |secs| Arc::new(ManualClock::new(NOW + std::time::Duration::from_secs(secs)));
    leave_waiting(&town, Arc::new(RedbStore::open_with_clock(&file, at(0))?), plans)?;
    while RedbStore::open_with_clock(&file, at(7_200)).is_err() {
        // Tasks of the first engine may hold the file a moment longer.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::fs::copy(&file, &copy)?;

    let runtime = runtime()?;
    let approver = Arc::new(Patient::default());
    let mut outcome = Ok(());
    let mut batches = Vec::new();
    let seconds = wall_seconds(|| {
        outcome = runtime.block_on(async {
            let recorder = Recorder::over(Arc::new(RedbStore::open_with_clock(&file, at(7_200))?));
            let engine = engine(&town, recorder.clone(), approver.clone())?;
            let orphans = engine.orphans().await?;
            if orphans.len() != count {
                return Err(format!("{} of {count} runs found", orphans.len()).into());
            }
            for id in orphans {
                let engine = engine.clone();
                tokio::spawn(async move { engine.drive(id).await.map(|_| ()) });
            }
            until_asked(&approver, count).await;
            batches = recorder.taken();
            Ok::<(), Box<dyn std::error::Error>>(())
        });
    });
    outcome?;
    let raw = raw(folder.path(), "raw", batches)?;
    let per_second = |seconds: f64| count as f64 / seconds;
    Ok(Measured {
        ours: per_second(seconds),
        baseline: Some(per_second(raw)),
        bytes_per_series: Some(per_run),
    })
}
