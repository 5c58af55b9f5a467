//! A store that is full, read-only, damaged, or lies about what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use aiops_act::{Ending, Engine, Error, FixedApprover, MetricFn, MetricQuery, Mode};
use aiops_core::{Batch, Entry, Record, Store, StoreError, Timestamp, Version, Versioned};

use crate::common::{Bench, library_of, one_write, situation};

/// How the store behaves: 0 well, 1 full, 2 failing after it wrote, 3 damaged.
struct Sick {
    inner: Arc<dyn Store>,
    how: AtomicU8,
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
    for how in [1, 3] {
        let mut bench =
            Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
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
    let mut bench =
        Bench::with_library(situation(&[("api", 0.9)]), library_of([one_write("one", "")]));
    let sick = Arc::new(Sick { inner: bench.store.clone(), how: AtomicU8::new(0) });
    bench.store = sick.clone();
    let engine = engine(&bench);
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    sick.how.store(2, Ordering::SeqCst);
    let run = engine.drive(id).await.unwrap();
    assert_eq!(run.ending(), Some(Ending::Succeeded));
    assert_eq!(bench.effects().len(), 1);
}
