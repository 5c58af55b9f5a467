//! The same promises on a durable store: crashes at every write, a failing rollback, and a process
//! that is killed with SIGKILL at random moments while it executes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use aiops_act::testing::{CrashPoint, CrashingStore};
use aiops_act::{Ending, FixedApprover, MetricFn, MetricQuery};
use aiops_knowledge::RedbStore;

use crate::common::{Bench, library_of, runbook, situation};
use crate::file_hands::{FileExecutor, SIX_WRITES, chain_is_whole, each_once, finish};

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
            let file = FileExecutor::new(path.with_extension("log"), Duration::ZERO);
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
    let dir = Path::new(&dir);
    let store = Arc::new(RedbStore::open(dir.join("store.redb")).unwrap());
    let run = runtime.block_on(finish(store, dir, Duration::from_millis(20)));
    println!("ended {:?}", run.ending());
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
        let store = Arc::new(RedbStore::open(dir.path().join("store.redb")).unwrap());
        let run = runtime.block_on(finish(store, dir.path(), Duration::ZERO));
        assert_eq!(run.ending(), Some(Ending::Succeeded), "{:?}", run.because);
        let file = FileExecutor::new(dir.path().join("effects"), Duration::ZERO);
        let lines = file.lines();
        assert_eq!(lines.len(), 6, "{lines:?}");
        each_once(&lines, "killed");
    }
    println!("{kills} kills");
}
