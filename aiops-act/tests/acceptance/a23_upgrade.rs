//! What an earlier version wrote.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aiops_act::audit;
use aiops_act::executor::scripted::{Reaction, Scripted};
use aiops_act::{
    ApprovalPolicy, Ending, Error, FixedApprover, JournalRecord, MetricFn, MetricQuery, Run, State,
    StepError,
};
use aiops_core::{Batch, Store};
use serde::{Deserialize, Serialize};

use crate::common::{Bench, library_of, one_write, runbook, situation};

#[derive(Serialize, Deserialize)]
struct Stored {
    policy: ApprovalPolicy,
    events: Vec<JournalRecord>,
    run: Run,
}

fn fixture(what: &str, version: &str) -> PathBuf {
    let name = format!("tests/fixtures/{what}-{version}.json");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read<T: serde::de::DeserializeOwned>(what: &str, version: &str) -> T {
    let text = std::fs::read_to_string(fixture(what, version)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Writes the fixture of this version, if that is asked for.
fn write(what: &str, value: &impl Serialize) {
    if std::env::var_os("AIOPS_WRITE_FIXTURES").is_some() {
        let text = serde_json::to_string_pretty(value).unwrap();
        std::fs::write(fixture(what, env!("CARGO_PKG_VERSION")), text + "\n").unwrap();
    }
}

/// Pass: the journal of every released version loads, and applying its events again gives the run that
/// it stored.
#[tokio::test]
async fn acceptance_23_upgrade() {
    write("journal", &run_of_this_version().await);
    for version in ["0.1.0"] {
        let stored: Stored = read("journal", version);
        let mut run = Run::new(stored.run.plan.clone());
        for record in &stored.events {
            let Some(event) = &record.event else { continue };
            run = run.apply(event.clone(), record.at, &stored.policy, None).unwrap().run;
            assert_eq!(run.revision, record.revision);
        }
        assert_eq!(run, stored.run, "{version}");
        assert_eq!(run.ending(), Some(Ending::RolledBack));
        // The document it began with is still that document.
        let hash = run.plan.binding().document;
        assert_eq!(run.question.unwrap().binding.document, hash);
    }
    // And what this version writes does the same, without going through a file.
    let now = run_of_this_version().await;
    let text = serde_json::to_string(&now).unwrap();
    let read: Stored = serde_json::from_str(&text).unwrap();
    assert_eq!(read.run, now.run);
}

async fn run_of_this_version() -> Stored {
    let library = library_of([runbook(
        "all-kinds",
        "match: {services: [api]}\ntargets: {services: [api]}\nsafety: {risk: 1, max_percent: 100}\n\
         params: {size: {type: integer, default: 3}}\n\
         steps:\n\
         - {id: look, uses: hands, effect: read, outputs: {now: /now}}\n\
         - {id: grow, uses: hands, with: {to: '${{ params.size }}'}, undo: {uses: hands, with: {to: '${{ steps.look.outputs.now }}'}}}\n\
         - {id: skip, uses: hands, if: 'params.size > 10', undo: {uses: nothing}}\n\
         - {id: lose, uses: hands, undo: {uses: self}}\n\
         - {id: fail, uses: hands, idempotent: true, retry: {attempts: 2, delay: 1s}, undo: {uses: nothing}}\n",
    )]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![
        Scripted::new("hands")
            .giving("look", serde_json::json!({"now": 1}))
            .on_run("lose", [Reaction::HappensThenUnknown(serde_json::json!({"done": true}))])
            .on_run("fail", vec![Reaction::Fails(StepError::failed("no")); 2])
            .on_undo("lose", [Reaction::Fails(StepError::not_started("busy"))]),
    ];
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .build()
        .unwrap();
    let run = engine.execute(bench.plan(&engine).await).await.unwrap();
    let events = engine.history(run.plan.run).await.unwrap();
    Stored { policy: bench.config.approval.clone(), events, run }
}

/// Everything in a store, byte for byte: what a file or a database holds.
#[derive(Serialize, Deserialize)]
struct Bytes {
    keys: BTreeMap<String, String>,
    logs: BTreeMap<String, Vec<String>>,
}

impl Bytes {
    fn of(store: &dyn Store, logs: &[String]) -> Bytes {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let entries = store.scan(b"", None, 10_000).unwrap();
        let log = |name: &String| {
            let records = store.read_log(name.as_bytes(), 0, 10_000).unwrap();
            (name.clone(), records.into_iter().map(|record| text(record.record)).collect())
        };
        Bytes {
            keys: entries.into_iter().map(|entry| (text(entry.key), text(entry.value))).collect(),
            logs: logs.iter().map(log).collect(),
        }
    }

    fn put_into(&self, store: &dyn Store) {
        let keys = self.keys.iter();
        let batch = keys.fold(Batch::new(), |b, (key, value)| b.put(key.as_str(), value.as_str()));
        let records = self.logs.iter().flat_map(|(log, all)| all.iter().map(move |r| (log, r)));
        let batch = records.fold(batch, |b, (log, record)| b.append(log.as_str(), record.as_str()));
        store.commit(batch).unwrap();
    }
}

/// Pass: the bytes that a released version left in its store when it was killed in the middle of a step
/// are taken over; the run ends on the document that it began with, and the audit goes on unbroken.
#[tokio::test]
async fn acceptance_23_a_run_in_flight_survives_the_upgrade() {
    write("store", &store_of_this_version().await);
    for version in ["0.1.0"] {
        let bytes: Bytes = read("store", version);
        let bench = bench_in_flight();
        bytes.put_into(&*bench.store);
        bench.manual.advance(Duration::from_secs(3_600));
        let engine = bench
            .builder()
            .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.0))))
            .build()
            .unwrap();
        let [id] = engine.orphans().await.unwrap()[..] else { panic!("{version}: one run") };
        let before = engine.run(id).await.unwrap();
        assert_eq!(before.state, State::Running { step: 0 });
        let run = engine.drive(id).await.unwrap();
        assert_eq!(run.ending(), Some(Ending::Succeeded), "{version}: {:?}", run.because);
        assert_eq!(run.question.as_ref().unwrap().binding, run.plan.binding());
        assert_eq!(run.plan.binding(), before.plan.binding());
        let records = engine.audit(0, 1_000).await.unwrap();
        assert!(records.len() > bytes.logs["act/audit"].len());
        audit::verify(&records, Some(engine.audit_head().await.unwrap())).unwrap();
        assert_eq!(engine.history(id).await.unwrap().len() as u64, run.revision + 1);

        // What is not as this version writes it is refused, and the error says what.
        for (key, find, replace, says) in [
            (format!("act/run/{id}"), "\"format\":1", "\"format\":9", "format 9"),
            (format!("act/plan/{id}"), "\"format\":1", "\"format\":9", "format 9"),
            (format!("act/plan/{id}"), "{", "[", "act/plan/"),
        ] {
            let bench = bench_in_flight();
            bytes.put_into(&*bench.store);
            let changed = bytes.keys[&key].replacen(find, replace, 1);
            bench.store.commit(Batch::new().put(key.as_str(), changed)).unwrap();
            let error = bench.builder().build().unwrap().run(id).await.unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
            assert!(error.to_string().contains(says), "{error}");
        }
        let bench = bench_in_flight();
        bytes.put_into(&*bench.store);
        bench.store.commit(Batch::new().delete(format!("act/plan/{id}"))).unwrap();
        let error = bench.builder().build().unwrap().run(id).await.unwrap_err().to_string();
        assert!(error.contains("the run is there and its plan is not"), "{error}");
    }
}

fn bench_in_flight() -> Bench {
    let library = library_of([one_write("one", "")]);
    let mut bench = Bench::with_library(situation(&[("api", 0.9)]), library);
    bench.executors = vec![Scripted::new("hands")];
    bench
}

async fn store_of_this_version() -> Bytes {
    let mut bench = bench_in_flight();
    bench.executors = vec![Scripted::new("hands").on_run("act", [Reaction::Hangs])];
    let engine = bench
        .builder()
        .approver(Arc::new(FixedApprover::approving("ada", bench.clock.clone())))
        .build()
        .unwrap();
    let id = engine.submit(bench.plan(&engine).await).await.unwrap();
    let begun = async {
        while bench.effects().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = engine.drive(id) => panic!("the step never ends"),
        () = begun => {}
    }
    Bytes::of(&*bench.store, &["act/audit".to_owned(), format!("act/journal/{id}")])
}
