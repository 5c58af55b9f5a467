//! What the tests share: a small shop, its incident, a library, and an engine over scripted parts.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiops_act::executor::BoxFuture;
use aiops_act::executor::scripted::{Asked, Scripted};
use aiops_act::{
    Answer, ApprovalPolicy, Call, Digest, Engine, EngineBuilder, EngineConfig, Library, Message,
    Mode, Output, Permit, Plan, Preview, Probe, ReplayClock, Risk, Run, Runbook, Says, Situation,
    State, StepError, StepExecutor, StillWorld, World, match_runbooks,
};
use aiops_core::{
    Alert, Candidate, Cause, Clock, Edge, EdgeKind, Fingerprint, Incident, IncidentId,
    IncidentState, Labels, ManualClock, MemoryStore, NodeKind, Ranking, Severity, Store, Timestamp,
    Topology,
};
use aiops_knowledge::RedbStore;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

pub(crate) const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// gateway -> api -> postgres, redis.
pub(crate) fn shop(now: Timestamp) -> Topology {
    let mut topology = Topology::new();
    let mut node = |name, kind| topology.upsert_node(name, kind, now);
    let gateway = node("gateway", NodeKind::Service);
    let api = node("api", NodeKind::Service);
    let postgres = node("postgres", NodeKind::Service);
    let redis = node("redis", NodeKind::Service);
    for (from, to) in [(gateway, api), (api, postgres), (api, redis)] {
        topology.upsert_edge(from, to, Edge::new(EdgeKind::Calls, "test", now)).unwrap();
    }
    topology
}

/// An incident in which postgres is the cause with 70 %, and an alert says that the pool is dry.
pub(crate) fn pool_situation() -> Situation {
    situation(&[("postgres", 0.7), ("api", 0.15), ("redis", 0.05)])
}

pub(crate) fn situation(causes: &[(&str, f64)]) -> Situation {
    let incident = Incident {
        id: IncidentId::of("", Fingerprint::from_u64(7), START),
        tenant: String::new(),
        state: IncidentState::Open,
        onset: START,
        shown_at: Some(START),
        resolved_at: None,
        severity: Severity::Critical,
        title: "api: pool is dry".to_owned(),
        alerts: vec![],
        services: BTreeSet::from(["gateway".to_owned(), "api".to_owned(), "postgres".to_owned()]),
        events: vec![],
        timeline: vec![],
    };
    let candidates = causes.iter().map(|(service, weight)| Candidate {
        cause: Cause::Service { service: (*service).to_owned() },
        probability: 0.0,
        score: *weight,
        evidence: vec![],
    });
    let unknown = 1.0 - causes.iter().map(|(_, w)| w).sum::<f64>();
    let ranking = Ranking::from_weights("test", candidates.collect(), unknown.max(0.0)).unwrap();
    let mut alert = Alert::new("ApiPoolWaiting", Labels::from([("service", "api")]), START);
    alert.service = Some("api".to_owned());
    Situation { incident, ranking, alerts: vec![alert] }
}

/// A runbook for the API whose steps use the executor `hands`; `rest` continues the document.
pub(crate) fn runbook(id: &str, rest: &str) -> Runbook {
    let text = format!(
        "schema: aiops.runbook/v1\nid: {id}\nversion: 1.0.0\ntitle: {id}\nowner: tests\n{rest}"
    );
    Runbook::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}"))
}

/// One write on the API; `safety` is put into its `safety`.
pub(crate) fn one_write(id: &str, safety: &str) -> Runbook {
    runbook(
        id,
        &format!(
            "match: {{services: [api]}}\ntargets: {{services: [api]}}\n\
             safety: {{risk: 1, max_percent: 100, {safety}}}\n\
             steps:\n  - {{id: act, uses: hands, undo: {{uses: hands}}}}\n\
             verify:\n  metrics: {{errors: {{metric: errors, service: api}}}}\n  \
             success_when: now.errors < 0.05\n  fail_when: now.errors > 0.5\n  count: 2\n  max_measurements: 5\n"
        ),
    )
}

pub(crate) fn library_of(runbooks: impl IntoIterator<Item = Runbook>) -> Library {
    let mut library = Library::new();
    runbooks.into_iter().for_each(|runbook| library.add(runbook).unwrap());
    library
}

/// A world that tests move.
pub(crate) struct MovingWorld(pub(crate) Mutex<StillWorld>);

impl MovingWorld {
    pub(crate) fn change(&self, change: impl FnOnce(&mut StillWorld)) {
        change(&mut self.0.lock().unwrap());
    }
}

impl World for MovingWorld {
    fn situation(&self, incident: IncidentId) -> Option<Situation> {
        self.0.lock().unwrap().situation(incident)
    }
    fn topology(&self) -> Arc<Topology> {
        self.0.lock().unwrap().topology()
    }
    fn unhealthy(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().unhealthy()
    }
    fn calibrated(&self) -> bool {
        self.0.lock().unwrap().calibrated()
    }
    fn mode(&self) -> Mode {
        self.0.lock().unwrap().mode()
    }
}

/// A writer that remembers; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }

    /// The messages written so far.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// An executor that stands still before it looks at one step, until it is released.
#[derive(Clone)]
pub(crate) struct Held {
    inner: Scripted,
    step: &'static str,
    held: Arc<Notify>,
    go: Arc<Notify>,
}

impl Held {
    pub(crate) fn before_look(inner: Scripted, step: &'static str) -> Held {
        Held { inner, step, held: Arc::default(), go: Arc::default() }
    }
    pub(crate) async fn wait_until_held(&self) {
        self.held.notified().await;
    }
    pub(crate) fn release(&self) {
        self.go.notify_one();
    }
}

impl StepExecutor for Held {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn version(&self) -> &str {
        self.inner.version()
    }
    fn risk_floor(&self, call: &Call) -> Risk {
        self.inner.risk_floor(call)
    }
    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        Box::pin(async move {
            if call.step == self.step {
                self.held.notify_one();
                self.go.notified().await;
            }
            self.inner.plan(call).await
        })
    }
    fn run<'a>(
        &'a self,
        call: &'a Call,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        self.inner.run(call, permit)
    }
    fn probe<'a>(&'a self, call: &'a Call, key: Digest) -> BoxFuture<'a, Probe> {
        self.inner.probe(call, key)
    }
    fn undo<'a>(
        &'a self,
        call: &'a Call,
        before: &'a serde_json::Value,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        self.inner.undo(call, before, permit)
    }
}

/// Answers `who` would give to the question of a run, at the bench's time.
pub(crate) fn answer(run: &Run, by: &str, says: Says, at: Timestamp) -> Answer {
    Answer {
        by: by.to_owned(),
        says,
        to: run.plan.binding(),
        at,
        via: "test".to_owned(),
        comment: String::new(),
    }
}

/// The stores that a test runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Memory,
    Redb,
}

impl On {
    pub(crate) const BOTH: [On; 2] = [On::Memory, On::Redb];
}

/// A store, a clock, a world and scripted executors for the runbooks of the repository.
pub(crate) struct Bench {
    /// Where the store's file is, if it has one.
    dir: Option<tempfile::TempDir>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) manual: Arc<ManualClock>,
    pub(crate) clock: Arc<ReplayClock>,
    pub(crate) situation: Situation,
    pub(crate) world: Arc<MovingWorld>,
    pub(crate) library: Library,
    pub(crate) executors: Vec<Scripted>,
    pub(crate) config: EngineConfig,
}

impl Bench {
    pub(crate) fn new(situation: Situation) -> Bench {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/runbooks");
        let library = Library::load_dir(&path).unwrap();
        Bench::with_library(situation, library)
    }

    pub(crate) fn with_library(situation: Situation, library: Library) -> Bench {
        let manual = Arc::new(ManualClock::new(START));
        let clock = Arc::new(ReplayClock(manual.clone()));
        let world = StillWorld::new(situation.clone(), Arc::new(shop(START)));
        let approval = ApprovalPolicy::default()
            .with_person("ada", &["oncall"])
            .with_person("grace", &["oncall", "lead"]);
        Bench {
            dir: None,
            store: Arc::new(MemoryStore::with_clock(manual.clone())),
            manual,
            clock,
            situation,
            world: Arc::new(MovingWorld(Mutex::new(world))),
            executors: Scripted::dry_run(&library),
            library,
            config: EngineConfig { approval, ..EngineConfig::default() },
        }
    }

    /// The same on this kind of store.
    pub(crate) fn on(mut self, on: On) -> Bench {
        if on == On::Redb {
            self.dir = Some(tempfile::tempdir().unwrap());
            self.open();
        }
        self
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.dir.as_ref().expect("it is on redb").path().join("store.redb")
    }

    /// The process dies and another one opens the store: a file is read anew, and every record in it
    /// checked. Engines must be dropped before.
    pub(crate) fn restart(&mut self) {
        if self.dir.is_some() {
            self.store = Arc::new(MemoryStore::default());
            self.open();
        }
    }

    fn open(&mut self) {
        for _ in 0..500 {
            match RedbStore::open_with_clock(self.file(), self.manual.clone()) {
                Ok(store) => {
                    self.store = Arc::new(store);
                    return;
                }
                // Tasks of the engine before may hold it a moment longer.
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        panic!("{} stays open", self.file().display());
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.manual.now()
    }

    pub(crate) fn builder(&self) -> EngineBuilder {
        let mut builder = Engine::builder(
            self.config.clone(),
            self.store.clone(),
            self.clock.clone(),
            self.world.clone(),
        );
        for executor in &self.executors {
            builder = builder.executor(Arc::new(executor.clone()));
        }
        builder
    }

    /// The plan for the best fit.
    pub(crate) async fn plan(&self, engine: &Engine) -> Plan {
        let matches = match_runbooks(&self.library, &self.situation, &BTreeMap::new(), self.now());
        let best = matches.best().expect("a runbook fits");
        engine.propose(best, &self.situation, &BTreeMap::new()).await.unwrap().plan
    }

    /// The plan for the best fit, made without asking an executor.
    pub(crate) async fn plan_quietly(&self, engine: &Engine) -> Plan {
        let matches = match_runbooks(&self.library, &self.situation, &BTreeMap::new(), self.now());
        let best = matches.best().expect("a runbook fits");
        let proposer = "engine";
        let mut plan =
            Plan::new(best, &self.situation, &BTreeMap::new(), proposer, self.now()).unwrap();
        let max_age = Duration::from_secs(300);
        plan.measure_blast(&shop(START), max_age, engine.clock().now());
        plan
    }

    /// Submits the best plan and drives it in the background, until it asks or is over.
    pub(crate) async fn ask(&self, engine: &Engine) -> (Run, JoinHandle<aiops_act::Result<Run>>) {
        let id = engine.submit(self.plan(engine).await).await.unwrap();
        let driver = tokio::spawn({
            let engine = engine.clone();
            async move { engine.drive(id).await }
        });
        loop {
            let run = engine.run(id).await.unwrap();
            if run.state != State::Proposed {
                return (run, driver);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Everything that would have touched the world, in order.
    pub(crate) fn effects(&self) -> Vec<Asked> {
        self.executors.iter().flat_map(Scripted::effects).collect()
    }
}
