//! An engine that is asked to stop, and what it leaves to the next one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::{
    Ending, Engine, EngineConfig, Error, FixedApprover, LineHeartbeat, LineNotifier, Message,
    MetricFn, MetricQuery, Notifier, SendError, State, StepError,
};
use aiops_core::{IncidentState, MemoryStore, Prefer, Severity, Store};
use aiops_knowledge::RedbStore;

use crate::common::{Bench, Lines, library_of, one_write, situation};
use crate::file_hands::{FileExecutor, each_once, engine_in, finish};

/// What is under way ends, nothing new starts, and the next engine goes on at once.
#[tokio::test]
async fn a_shutdown_starts_nothing_and_hands_every_run_over() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let (bench, file, engine) = engine_in(store.clone(), dir.path(), Duration::from_millis(40));
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    let driver = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drive(id).await }
    });
    while file.lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = engine.shutdown(Duration::from_secs(60)).await;
    assert_eq!((stopped.handed_over, stopped.lost), (vec![id], vec![]));
    assert!(matches!(driver.await.unwrap(), Err(Error::ShuttingDown)));
    let left = engine.run(id).await.unwrap();
    assert!(matches!(left.state, State::Preparing { .. }), "no step is in doubt: {:?}", left.state);
    let done = file.lines().len();
    assert!((1..6).contains(&done), "it stopped in the middle");
    let plan = bench.plan(&engine).await;
    assert!(matches!(engine.submit(plan).await, Err(Error::ShuttingDown)));

    // Nobody waits for a lease: it was given up.
    let (_, _, next) = engine_in(store, dir.path(), Duration::ZERO);
    assert_eq!(next.orphans().await.unwrap(), [id]);
    let run = next.drive(id).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(file.lines().len(), 6);
    each_once(&file.lines(), "after a shutdown");
}

/// At the deadline a step is cut off, and it is journaled that nobody knows what became of it.
#[tokio::test]
async fn a_step_that_outlasts_the_deadline_is_journaled_as_unknown() {
    let library = library_of([one_write("one", "")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![Scripted::new("hands").on_run("act", [Reaction::Hangs])];
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap();
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    let driver = tokio::spawn({
        let engine = engine.clone();
        async move { engine.drive(id).await }
    });
    while bench.effects().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = engine.shutdown(Duration::from_millis(20)).await;
    assert_eq!((stopped.handed_over, stopped.lost), (vec![id], vec![]));
    assert!(driver.await.unwrap().is_err());
    let left = engine.run(id).await.unwrap();
    assert_eq!(left.state, State::Unknown { step: 0 });
    assert_eq!(
        left.steps[0].error,
        Some(StepError::unknown("the engine was shut down while it ran"))
    );
}

const CHILD: &str = "AIOPS_ACT_SIGTERM_CHILD";

/// What the process does that is asked to end: finishes the run that is there, or begins it.
#[test]
fn child_that_heeds_sigterm() {
    let Some(dir) = std::env::var_os(CHILD) else { return };
    let dir = Path::new(&dir);
    let store = Arc::new(RedbStore::open(dir.join("store.redb")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (bench, _, engine) = engine_in(store, dir, Duration::from_millis(20));
        let signalled = engine.clone();
        let listening = async move { signalled.shutdown_on_sigterm(Duration::from_secs(20)).await };
        let working = async {
            let runs = engine.runs(None, 1).await.unwrap();
            match runs.as_slice() {
                [] => engine.execute(bench.plan(&engine).await).await,
                [run, ..] => engine.drive(*run).await,
            }
        };
        // As in a service: the signal stops the engine, and the work ends or is handed over.
        tokio::spawn(async move { listening.await.unwrap() });
        let done = working.await;
        assert!(matches!(done, Ok(_) | Err(Error::ShuttingDown)), "{done:?}");
    });
}

/// A process that gets SIGTERM at a random moment ends by itself, and the next one finishes the run,
/// each step once.
#[test]
fn a_process_that_gets_sigterm_leaves_no_step_in_doubt() {
    let rounds = if std::env::var_os("AIOPS_FULL").is_some() { 100 } else { 5 };
    let mut seed = 99_u32;
    for round in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        drop(RedbStore::open(dir.path().join("store.redb")).unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::child_that_heeds_sigterm", "--nocapture"])
            .env(CHILD, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        std::thread::sleep(Duration::from_millis(u64::from(150 + (seed >> 16) % 250)));
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        let status = child.wait().unwrap();
        // Before it listens, the signal ends it as it ends any process; then nothing had begun.
        let by_itself = status.success();
        let file = FileExecutor::new(dir.path().join("effects"), Duration::ZERO);
        assert!(by_itself || file.lines().is_empty(), "round {round}: {status}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = Arc::new(RedbStore::open(dir.path().join("store.redb")).unwrap());
        let run = runtime.block_on(finish(store, dir.path(), Duration::ZERO));
        assert_eq!(run.ending(), Some(Ending::Succeeded), "round {round}: {:?}", run.because);
        assert!(run.steps.iter().all(|step| step.unknowns == 0), "round {round}: none in doubt");
        assert_eq!(file.lines().len(), 6, "round {round}");
        each_once(&file.lines(), "after SIGTERM");
    }
}

/// A receiver that is down, or refuses for ever.
struct Deaf(SendError);

impl Notifier for Deaf {
    fn name(&self) -> &str {
        "deaf"
    }
    fn send<'a>(
        &'a self,
        _: &'a Message,
    ) -> aiops_act::executor::BoxFuture<'a, Result<(), SendError>> {
        Box::pin(std::future::ready(Err(self.0.clone())))
    }
}

/// What no receiver takes is said locally, once, whether it is refused or only late; and heartbeats
/// go out while the store is read, with what waits.
#[tokio::test]
async fn what_nobody_takes_goes_to_the_last_resort_and_heartbeats_tell() {
    let later = SendError::Later { reason: "down".to_owned(), after: None };
    let never = SendError::Never { reason: "no such key".to_owned() };
    for (error, after_attempts, waits) in [(later, 5, true), (never, 1, false)] {
        let library = library_of([one_write("one", "")]);
        let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
        bench.config.name = "one".to_owned();
        let (lines, beats) = (Lines::default(), Lines::default());
        let engine = bench
            .builder()
            .notifier(Arc::new(Deaf(error)))
            .last_resort(Arc::new(LineNotifier::new("local", Box::new(lines.clone()))))
            .heartbeat(Arc::new(LineHeartbeat::new(Box::new(beats.clone()))))
            .build()
            .unwrap();
        assert_eq!(engine.beat().await.unwrap(), 1);
        // The incident is over by then: the run is refused, and people hear of it.
        let plan = bench.plan(&engine).await;
        bench.world.change(|world| world.situation.incident.state = IncidentState::Resolved);
        engine.execute(plan).await.unwrap();
        let mut resorted = 0;
        for attempt in 1..=8 {
            resorted += engine.deliver().await.unwrap().last_resort;
            assert_eq!(resorted, usize::from(attempt >= after_attempts), "attempt {attempt}");
            bench.manual.advance(Duration::from_secs(600));
        }
        assert_eq!(lines.messages().len(), 1);
        assert_eq!(engine.beat().await.unwrap(), 1);
        let text = String::from_utf8(beats.bytes()).unwrap();
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["engine"], "one");
        assert_eq!(last["waiting"], u64::from(waits));
        assert_eq!(last["oldest_waiting_s"].as_u64().unwrap() >= 4_800, waits);
        assert_eq!(last["mode"], "full");
    }
}

/// Whoever prefers fewer pages is not told what began and what ended well, and is still asked.
#[tokio::test]
async fn a_preference_for_fewer_pages_silences_no_question() {
    for (prefer, expected) in [
        (Prefer::FewerMisses, vec!["question", "started", "succeeded"]),
        (Prefer::FewerPages, vec!["question"]),
    ] {
        let library = library_of([one_write("one", "")]);
        let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
        let approval = bench.config.approval.clone();
        bench.config = EngineConfig { approval, ..EngineConfig::from(prefer) };
        let lines = Lines::default();
        let engine = bench
            .builder()
            .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
            .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
            .notifier(Arc::new(LineNotifier::new("log", Box::new(lines.clone()))))
            .build()
            .unwrap();
        engine.execute(bench.plan(&engine).await).await.unwrap();
        engine.deliver().await.unwrap();
        let told: Vec<&str> = lines.messages().iter().map(|m| m.kind.name()).collect();
        assert_eq!(told, expected);
    }
    let silent = EngineConfig { least_severity: Severity::Critical, ..EngineConfig::default() };
    let bench = Bench::new(situation(&[("api", 0.9)]));
    let built = Engine::builder(silent, bench.store, bench.clock, bench.world).build();
    assert!(built.is_err(), "nobody would be asked");
}
