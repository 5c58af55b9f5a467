//! The same promises on a durable store: crashes at every write, a failing rollback, and a process
//! that is killed with SIGKILL at random moments while it executes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::BoxFuture;
use aiops_act::machine::Stuck;
use aiops_act::testing::{CrashPoint, CrashingStore};
use aiops_act::{
    Call, Digest, Ending, Engine, FixedApprover, MetricFn, MetricQuery, Output, Permit, Preview,
    Probe, Resolution, Risk, Run, State, StepError, StepExecutor, StillWorld, audit,
};
use aiops_core::{Clock, SystemClock};
use aiops_knowledge::RedbStore;
use serde_json::Value;

use crate::common::{Bench, library_of, runbook, shop, situation};

const SIX_WRITES: &str = "match: {services: [api]}\ntargets: {services: [api]}\n\
    safety: {risk: 1, max_percent: 100}\n\
    steps:\n\
    - {id: a, uses: file, undo: {uses: self}}\n- {id: b, uses: file, undo: {uses: self}}\n\
    - {id: c, uses: file, undo: {uses: self}}\n- {id: d, uses: file, undo: {uses: self}}\n\
    - {id: e, uses: file, undo: {uses: self}}\n- {id: f, uses: file, undo: {uses: self}}\n\
    verify: {metrics: {m: {metric: m}}, success_when: 'now.m < 1.0', interval: 5ms, count: 2}\n";

/// Appends a line for each effect to a file, which outlives the process.
#[derive(Clone)]
struct FileExecutor {
    path: PathBuf,
    takes: Duration,
}

impl FileExecutor {
    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn write(&self, what: &str, call: &Call, permit: &Permit) -> Result<Output, StepError> {
        tokio::time::sleep(self.takes / 2).await;
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        // One write of less than a page, in append mode: whole or not at all.
        file.write_all(format!("{what} {} {}\n", call.step, permit.key()).as_bytes()).unwrap();
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

fn each_once(lines: &[String], what: &str) {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    lines.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let twice: Vec<_> = counts.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "{what}: {twice:?}");
}

async fn chain_is_whole(engine: &Engine, what: &str) {
    let records = engine.audit(0, 100_000).await.unwrap();
    let head = engine.audit_head().await.unwrap();
    assert_eq!(audit::verify(&records, Some(head)), Ok(head), "{what}");
}

/// Pass: on redb, a crash at any write of a six-step run leaves a file from which the run is finished,
/// each effect once, the chain whole.
#[tokio::test]
async fn acceptance_01_crash_at_every_write_on_redb() {
    let dir = tempfile::tempdir().unwrap();
    let full = std::env::var_os("AIOPS_FULL").is_some();
    for point in [CrashPoint::Before, CrashPoint::After] {
        for at in (0..21).step_by(if full { 1 } else { 4 }) {
            let what = format!("{point:?} {at}");
            let path = dir.path().join(format!("{point:?}-{at}.redb"));
            let file = FileExecutor { path: path.with_extension("log"), takes: Duration::ZERO };
            let library = library_of([runbook("six", SIX_WRITES)]);
            let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
            let build = |bench: &Bench| {
                bench
                    .builder()
                    .executor(Arc::new(file.clone()))
                    .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
                    .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
                    .build()
                    .unwrap()
            };
            let store = open(&path, &bench).await;
            bench.store = Arc::new(CrashingStore::new(store, at, point));
            let engine = build(&bench);
            let died = engine.execute(bench.plan(&engine).await).await;
            drop(engine);
            // The file is opened anew, as after a restart, and every record in it checked.
            bench.store = Arc::new(aiops_core::MemoryStore::default());
            bench.store = open(&path, &bench).await;
            bench.manual.advance(Duration::from_secs(60));
            let engine = build(&bench);
            let runs = engine.runs(None, 10).await.unwrap();
            let run = match runs.as_slice() {
                [] => engine.execute(bench.plan(&engine).await).await.unwrap(),
                [run] => engine.drive(*run).await.unwrap(),
                more => panic!("{what}: {more:?}"),
            };
            assert!(died.is_err() || run.ending().is_some(), "{what}");
            assert_eq!(run.ending(), Some(Ending::Succeeded), "{what}");
            let lines = file.lines();
            assert_eq!(lines.len(), 6, "{what}: {lines:?}");
            each_once(&lines, &what);
            chain_is_whole(&engine, &what).await;
        }
    }
}

/// Opens the file. Tasks of the engine before may hold it a moment longer.
async fn open(path: &Path, bench: &Bench) -> Arc<RedbStore> {
    for _ in 0..200 {
        match RedbStore::open_with_clock(path, bench.manual.clone()) {
            Ok(store) => return Arc::new(store),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("{} stays open", path.display());
}

const CHILD: &str = "AIOPS_ACT_CHILD";

/// What the killed process does: opens the store, finishes what is there, or begins.
#[test]
fn child_of_the_kill_test() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let run = runtime.block_on(finish(Path::new(&dir), Duration::from_millis(20)));
    println!("ended {:?}", run.ending());
}

async fn finish(dir: &Path, takes: Duration) -> Run {
    let library = library_of([runbook("six", SIX_WRITES)]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.config.lease_ttl = Duration::from_millis(60);
    bench.config.poll = Duration::from_millis(10);
    let clock = Arc::new(SystemClock);
    let world = StillWorld::new(bench.situation.clone(), Arc::new(shop(clock.now())));
    let store = Arc::new(RedbStore::open(dir.join("store.redb")).unwrap());
    let file = FileExecutor { path: dir.join("effects"), takes };
    let engine = Engine::builder(bench.config.clone(), store, clock.clone(), Arc::new(world))
        .executor(Arc::new(file.clone()))
        .approver(Arc::new(FixedApprover::approving("ada", clock)))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap();
    loop {
        let runs = engine.runs(None, 10).await.unwrap();
        let done = match runs.as_slice() {
            [] => engine.execute(bench.plan(&engine).await).await,
            [run] => engine.drive(*run).await,
            more => panic!("{more:?}"),
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
                engine.resolve(run.plan.run, "ada", resolution).await.unwrap();
            }
            Ok(run) => {
                chain_is_whole(&engine, "killed").await;
                return run;
            }
            // The lease of the process that was killed still runs.
            Err(aiops_act::Error::NotOurs(_)) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Pass: a process killed with SIGKILL at random moments (200 times in the long check) while it executes
/// a runbook on redb runs no step twice, forgets no approved run, and its audit chain is valid.
#[test]
fn a_process_killed_at_random_moments_repeats_and_forgets_nothing() {
    let wanted = if std::env::var_os("AIOPS_FULL").is_some() { 200 } else { 6 };
    let mut seed = 12_345_u32;
    let mut kills = 0;
    while kills < wanted {
        let dir = tempfile::tempdir().unwrap();
        // The file is there before anybody is killed: redb refuses one whose very creation was cut
        // short, and nothing is lost with it.
        drop(RedbStore::open(dir.path().join("store.redb")).unwrap());
        loop {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "on_redb::child_of_the_kill_test", "--nocapture"])
                .env(CHILD, dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let ends_by = std::time::Duration::from_millis(u64::from(30 + (seed >> 16) % 300));
            std::thread::sleep(ends_by);
            match child.try_wait().unwrap() {
                Some(status) => {
                    assert!(status.success(), "the child failed by itself");
                    break;
                }
                None => {
                    child.kill().unwrap(); // SIGKILL
                    child.wait().unwrap();
                    kills += 1;
                }
            }
            if kills >= wanted {
                break;
            }
        }
        // Whatever was left is finished here, and everything happened once.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let run = runtime.block_on(finish(dir.path(), Duration::ZERO));
        assert_eq!(run.ending(), Some(Ending::Succeeded), "{:?}", run.because);
        let file = FileExecutor { path: dir.path().join("effects"), takes: Duration::ZERO };
        let lines = file.lines();
        assert_eq!(lines.len(), 6, "{lines:?}");
        each_once(&lines, "killed");
    }
    println!("{kills} kills");
}
