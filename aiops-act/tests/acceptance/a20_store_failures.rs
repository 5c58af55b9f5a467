//! A store that is full, read-only, damaged, or lies about what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aiops_act::{Ending, Engine, Error, FixedApprover, MetricFn, MetricQuery, Mode};
use aiops_core::{Batch, Entry, Record, Store, StoreError, Timestamp, Version, Versioned};
use aiops_knowledge::RedbStore;

use crate::common::{Bench, On, library_of, one_write, situation};

/// How the store behaves: 0 well, 1 full, 2 failing after it wrote, 3 damaged.
pub(crate) struct Sick {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) how: AtomicU8,
}

impl Store for Sick {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        let failed = |applied| StoreError::Failed {
            operation: "commit",
            applied,
            source: "no space left on device".into(),
        };
        match self.how.load(Ordering::SeqCst) {
            1 => Err(failed(Some(false))),
            2 => {
                self.inner.commit(batch)?;
                Err(failed(None))
            }
            3 => Err(StoreError::Damaged { reason: "a page does not have its checksum".into() }),
            _ => self.inner.commit(batch),
        }
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

fn engine(bench: &Bench) -> Engine {
    bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
        .build()
        .unwrap()
}

/// Pass: without a durable intent there is no effect; the engine goes to notify-only at once, and
/// back only after a hold time; a write that was made and reported as failed is found and not repeated.
#[tokio::test]
async fn acceptance_20_store_failures() {
    for on in On::BOTH {
        fails(on).await;
    }
}

fn bench(on: On) -> Bench {
    Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")])).on(on)
}

async fn fails(on: On) {
    for how in [1, 3] {
        let mut bench = bench(on);
        let sick = Arc::new(Sick { inner: bench.store.clone(), how: AtomicU8::new(0) });
        bench.store = sick.clone();
        let engine = engine(&bench);
        let plan = bench.plan(&engine).await;
        // Full from the beginning, and full once people were asked.
        sick.how.store(how, Ordering::SeqCst);
        let error = engine.submit(plan.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Store { .. }), "{error:?}");
        assert_eq!(engine.mode(), Mode::NotifyOnly);
        sick.how.store(0, Ordering::SeqCst);
        let id = engine.submit(plan).await.unwrap();
        sick.how.store(how, Ordering::SeqCst);
        assert!(engine.drive(id).await.is_err());
        assert!(bench.effects().is_empty(), "no effect without a durable intent");

        // Well again: it stays careful for the hold time, then acts.
        sick.how.store(0, Ordering::SeqCst);
        engine.pause("test", "one good write").await.unwrap();
        engine.resume("test").await.unwrap();
        assert_eq!(engine.mode(), Mode::NotifyOnly);
        bench.manual.advance(Duration::from_secs(61));
        engine.pause("test", "one good write").await.unwrap();
        engine.resume("test").await.unwrap();
        assert_eq!(engine.mode(), Mode::Full);
        let run = engine.drive(id).await.unwrap();
        assert_eq!(run.ending(), Some(Ending::Succeeded), "{:?}", run.because);
        assert_eq!(bench.effects().len(), 1);
    }

    // Every write is made, and every answer is lost.
    let mut bench = bench(on);
    let sick = Arc::new(Sick { inner: bench.store.clone(), how: AtomicU8::new(0) });
    bench.store = sick.clone();
    let engine = engine(&bench);
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    sick.how.store(2, Ordering::SeqCst);
    let run = engine.drive(id).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(bench.effects().len(), 1);
}

/// Pass: a file that was cut, in which a page was overwritten, or that may not be opened for writing
/// is refused or read whole, never half; what was committed before is there when it is whole again.
#[tokio::test]
async fn acceptance_20_a_damaged_file_on_redb() {
    let mut bench = bench(On::Redb);
    let file = bench.file();
    {
        let engine = engine(&bench);
        let run = engine.execute(bench.plan(&engine).await).await.unwrap();
        assert_eq!(run.ending(), Some(Ending::Succeeded));
    }
    bench.restart(); // nothing of the engine is left when this returns
    bench.store = Arc::new(aiops_core::MemoryStore::default());
    let good = std::fs::read(&file).unwrap();

    let mut refused = 0;
    let opens = |bytes: &[u8]| {
        let copy = file.with_extension("copy");
        std::fs::write(&copy, bytes).unwrap();
        // redb reports some damage by a panic of its own; it must not take the process down.
        let opened = std::panic::catch_unwind(|| RedbStore::open(&copy));
        let Ok(Ok(store)) = opened else { return false };
        // It opened, so every checksum held: all of it is there.
        let log = store.read_log(b"act/audit", 0, usize::MAX).unwrap();
        let records: Vec<serde_json::Value> =
            log.iter().map(|r| serde_json::from_slice(&r.record).unwrap()).collect();
        assert!(records.len() > 6, "an opened store is whole");
        true
    };
    assert!(opens(&good));
    for tenth in 1..10 {
        // A torn tail.
        refused += u32::from(!opens(&good[..good.len() * tenth / 10]));
        // A page full of something else.
        let mut bad = good.clone();
        let at = good.len() * tenth / 10;
        bad[at..(at + 4_096).min(good.len())].fill(0xa5);
        refused += u32::from(!opens(&bad));
    }
    assert!(refused > 9, "damage is noticed: {refused} of 18 refused");
    assert!(opens(&good), "the file itself was not touched");
}

const LIMITED: &str = "AIOPS_ACT_LIMITED_CHILD";

/// Runs where files may not grow beyond a limit: executes until the store fails.
#[test]
fn child_with_a_full_disk() {
    let Some(dir) = std::env::var_os(LIMITED) else { return };
    let dir = std::path::Path::new(&dir);
    let make = |name: &str| -> Arc<dyn Store> {
        Arc::new(RedbStore::open(dir.join(name).with_extension("redb")).unwrap())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mode = runtime.block_on(crate::file_hands::fill(make, dir));
    assert_eq!(mode, Mode::NotifyOnly, "a store that takes no writes");
}

/// Pass: where the disk is full in the middle of a run, the engine goes to notify-only, nothing happens
/// without a durable intent, and with room again the run is finished, each effect once.
#[test]
fn acceptance_20_a_full_disk_on_redb() {
    let dir = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes: a new store, and little more. SIGXFSZ is ignored, so that writes fail.
    let script = "trap '' XFSZ; ulimit -f 2100; exec \"$@\"";
    let child = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a20_store_failures::child_with_a_full_disk", "--nocapture"])
        .env(LIMITED, dir.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));

    let store = Arc::new(RedbStore::open(dir.path().join("store.redb")).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let takes = Duration::ZERO;
    let run = runtime.block_on(crate::file_hands::finish(store, dir.path(), takes));
    assert_eq!(run.ending(), Some(Ending::Succeeded), "{:?}", run.because);
    let lines = crate::file_hands::FileExecutor::new(dir.path().join("effects"), takes).lines();
    assert_eq!(lines.len(), 6, "{lines:?}");
    crate::file_hands::each_once(&lines, "full disk");
}
