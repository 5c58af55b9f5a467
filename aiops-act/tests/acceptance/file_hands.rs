//! Steps that leave a trace outside the process: a line in a file for each effect, so that what other
//! processes did, and did twice, can be counted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::BoxFuture;
use aiops_act::machine::Stuck;
use aiops_act::{
    Call, Digest, Ending, Engine, Error, FixedApprover, MetricFn, MetricQuery, Mode, Output,
    Permit, Preview, Probe, Resolution, Risk, Run, State, StepError, StepExecutor, StillWorld,
    audit,
};
use aiops_core::{Batch, Clock, Store, SystemClock};
use serde_json::Value;

use crate::common::{Bench, library_of, runbook, shop, situation};

/// How long a silent process keeps its runs, in the tests that kill it.
pub(crate) const LEASE: Duration = Duration::from_millis(60);

pub(crate) const SIX_WRITES: &str = "match: {services: [api]}\ntargets: {services: [api]}\n\
    safety: {risk: 1, max_percent: 100}\n\
    steps:\n\
    - {id: a, uses: file, undo: {uses: self}}\n- {id: b, uses: file, undo: {uses: self}}\n\
    - {id: c, uses: file, undo: {uses: self}}\n- {id: d, uses: file, undo: {uses: self}}\n\
    - {id: e, uses: file, undo: {uses: self}}\n- {id: f, uses: file, undo: {uses: self}}\n\
    verify: {metrics: {m: {metric: m}}, success_when: 'now.m < 1.0', interval: 5ms, count: 2}\n";

/// Appends a line for each effect to a file, which outlives the process. It refuses fencing tokens
/// older than the last one it saw, as a system outside can.
#[derive(Clone)]
pub(crate) struct FileExecutor {
    path: PathBuf,
    takes: Duration,
}

impl FileExecutor {
    pub(crate) fn new(path: PathBuf, takes: Duration) -> FileExecutor {
        FileExecutor { path, takes }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The file of the last token, locked until dropped, and what it says.
    fn token(&self) -> (File, u64) {
        let path = self.path.with_extension("fence");
        let options = OpenOptions::new().create(true).read(true).append(true).open(path);
        let mut file = options.unwrap();
        file.lock().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        (file, text.lines().last().map_or(0, |last| last.parse().unwrap()))
    }

    async fn write(&self, what: &str, call: &Call, permit: &Permit) -> Result<Output, StepError> {
        tokio::time::sleep(self.takes / 2).await;
        {
            let (mut token, last) = self.token();
            if permit.fence() < last {
                return Err(StepError::failed(format!("token {} is old", permit.fence())));
            }
            token.seek(std::io::SeekFrom::End(0)).unwrap();
            token.write_all(format!("{}\n", permit.fence()).as_bytes()).unwrap();
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
            // One write of less than a page, in append mode: whole or not at all.
            file.write_all(format!("{what} {} {}\n", call.step, permit.key()).as_bytes()).unwrap();
        }
        tokio::time::sleep(self.takes / 2).await;
        Ok(Output::default())
    }
}

impl StepExecutor for FileExecutor {
    fn name(&self) -> &str {
        "file"
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
    fn run<'a>(
        &'a self,
        call: &'a Call,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.write("run", call, permit))
    }
    fn probe<'a>(&'a self, _: &'a Call, key: Digest) -> BoxFuture<'a, Probe> {
        let key = key.to_string();
        let done = self.lines().iter().any(|line| line.ends_with(&key));
        let probe = if done { Probe::Done { output: Output::default() } } else { Probe::NotDone };
        Box::pin(std::future::ready(probe))
    }
    fn undo<'a>(
        &'a self,
        call: &'a Call,
        _: &'a Value,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.write("undo", call, permit))
    }
}

pub(crate) fn each_once(lines: &[String], what: &str) {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "{what}: {twice:?}");
}

pub(crate) async fn chain_is_whole(engine: &Engine, what: &str) {
    let records = engine.audit(0, 100_000).await.unwrap();
    let head = engine.audit_head().await.unwrap();
    assert_eq!(audit::verify(&records, Some(head)), Ok(head), "{what}");
}

/// An engine on the machine's own clock, with steps that write to `dir/effects`.
pub(crate) fn engine_in(
    store: Arc<dyn Store>,
    dir: &Path,
    takes: Duration,
) -> (Bench, FileExecutor, Engine) {
    let library = library_of([runbook("six", SIX_WRITES)]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.config.lease_ttl = LEASE;
    bench.config.poll = Duration::from_millis(10);
    let clock = Arc::new(SystemClock);
    let world = StillWorld::new(bench.situation.clone(), Arc::new(shop(clock.now())));
    let file = FileExecutor::new(dir.join("effects"), takes);
    let engine = Engine::builder(bench.config.clone(), store, clock.clone(), Arc::new(world))
        .executor(Arc::new(file.clone()))
        .approver(Arc::new(FixedApprover::approving("ada", clock)))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap();
    (bench, file, engine)
}

/// Fills a new store up to a little, and executes; the mode that the engine is in when the store
/// takes no more. `make` makes stores that are all as full after the same writes.
pub(crate) async fn fill(make: impl Fn(&str) -> Arc<dyn Store>, dir: &Path) -> Mode {
    let pad = |n: u32| Batch::new().put(format!("pad/{n}"), vec![0; 4_000]);
    let trial = make("trial");
    let full = (0..100_000).find(|n| trial.commit(pad(*n)).is_err()).expect("the disk is full");
    let store = make("store");
    for n in 0..full.saturating_sub(8) {
        store.commit(pad(n)).unwrap();
    }
    let (bench, _, engine) = engine_in(store, dir, Duration::ZERO);
    let plan = bench.plan(&engine).await;
    let run = engine.execute(plan).await;
    assert!(run.is_err(), "the rest of the disk is not enough for a whole run");
    engine.mode()
}

/// What a process does that may be killed at any moment: finishes the run that is there, or begins it.
pub(crate) async fn finish(store: Arc<dyn Store>, dir: &Path, takes: Duration) -> Run {
    let (bench, file, engine) = engine_in(store, dir, takes);
    loop {
        let runs = engine.runs(None, 10).await.unwrap();
        let done = match runs.as_slice() {
            [] => engine.execute(bench.plan(&engine).await).await,
            [run] => engine.drive(*run).await,
            more => {
                // A process that stood still before it proposed came too late: its plan was shown,
                // and the cooldown let nothing of it run.
                let mut ran = Vec::new();
                for id in more {
                    if engine.run(*id).await.unwrap().ending() != Some(Ending::Proposed) {
                        ran.push(*id);
                    }
                }
                let [only] = ran.as_slice() else { panic!("{ran:?} of {more:?} ran") };
                engine.drive(*only).await
            }
        };
        match done {
            // A step that was lost three times waits for a person, who looks at what is true.
            Ok(run) if matches!(run.state, State::NeedsHuman { .. }) => {
                let State::NeedsHuman { over: Stuck::Step { step } } = run.state else {
                    panic!("{:?}", run.because);
                };
                let key = run.key(step).to_string();
                let happened = file.lines().iter().any(|line| line.ends_with(&key));
                let resolution =
                    if happened { Resolution::Happened } else { Resolution::DidNotHappen };
                match engine.resolve(run.plan.run, "ada", resolution).await {
                    Ok(_) | Err(Error::TooLate { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            Ok(run) => {
                chain_is_whole(&engine, "killed").await;
                return run;
            }
            // Another process has it, or the lease of one that was killed still runs.
            Err(Error::NotOurs(_) | Error::AlreadyActive(_)) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}
