//! The engine: drives runs over a store, executors, approvers and notifiers.
//!
//! Everything it decides is decided by [`Run::apply`] and [`crate::gates::check`]; everything it does
//! comes after a commit. It is the only part of the crate that waits.

mod drive;
mod effects;
mod outbox;
mod propose;
mod shutdown;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aiops_core::{Prefer, Severity, Store, Timestamp, telemetry};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

pub use outbox::Delivered;
pub use propose::{Proposal, StepPreview};
pub use shutdown::Stopped;

use crate::approve::{Answer, ApprovalPolicy};
use crate::approver::Approver;
use crate::audit::{AuditRecord, Head, HeadSink};
use crate::book::Book;
use crate::canonical::Digest;
use crate::error::{Error, Result};
use crate::escalate::EscalationPolicy;
use crate::executor::StepExecutor;
use crate::gates::GateConfig;
use crate::heartbeat::Heartbeat;
use crate::journal::{Journal, JournalRecord, Tenant};
use crate::machine::{Event, Resolution, Run};
use crate::modes::{Mode, ModeSwitch};
use crate::notify::{LineNotifier, Notifier};
use crate::plan::{Plan, RunId};
use crate::runbook::{UNDO_BY_EXECUTOR, UNDO_NOTHING};
use crate::secret::{SecretSource, StaticSecrets};
use crate::timer::Timekeeper;
use crate::trust::{Level, TrustKey, TrustPolicy, TrustRecord};
use crate::verify::{Metrics, NoMetrics};
use crate::world::World;

/// Settings of an engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Name of this engine, for people; need not be unique.
    pub name: String,
    /// Who may approve what.
    pub approval: ApprovalPolicy,
    /// Limits over all runbooks.
    pub gates: GateConfig,
    /// When a remedy may run without asking.
    pub trust: TrustPolicy,
    /// Who is paged when a run needs a person.
    pub escalation: EscalationPolicy,
    /// How long an engine that has gone silent keeps its runs. Default 30 s: longer than a pause of
    /// the process, shorter than anyone's patience.
    #[serde(with = "crate::runbook::duration")]
    pub lease_ttl: Duration,
    /// How often a waiting run looks whether another engine recorded an answer. Default 1 s.
    #[serde(with = "crate::runbook::duration")]
    pub poll: Duration,
    /// How long the store must have been well before the engine acts again. Default 60 s.
    #[serde(with = "crate::runbook::duration")]
    pub mode_hold: Duration,
    /// How long one delivery of a message may take. Default 10 s.
    #[serde(with = "crate::runbook::duration")]
    pub delivery_timeout: Duration,
    /// Messages below this are not sent; they are journaled all the same. Default
    /// [`Severity::Info`]: everything. Not above [`Severity::Warning`]: questions are.
    pub least_severity: Severity,
}

impl From<Prefer> for EngineConfig {
    /// The default is for fewer misses, and balanced is the same: everything is told. For fewer
    /// pages, what began and what ended well is not. A preference never opens a gate, and never
    /// silences a question or a run that needs a person.
    fn from(prefer: Prefer) -> EngineConfig {
        let least_severity = match prefer {
            Prefer::FewerMisses | Prefer::Balanced => Severity::Info,
            Prefer::FewerPages => Severity::Warning,
        };
        EngineConfig { least_severity, ..EngineConfig::default() }
    }
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig {
            name: "engine".to_owned(),
            approval: ApprovalPolicy::default(),
            gates: GateConfig::default(),
            trust: TrustPolicy::default(),
            escalation: EscalationPolicy::default(),
            lease_ttl: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            mode_hold: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(10),
            least_severity: Severity::Info,
        }
    }
}

/// Collects the parts of an engine.
pub struct EngineBuilder {
    config: EngineConfig,
    store: Arc<dyn Store>,
    clock: Arc<dyn Timekeeper>,
    world: Arc<dyn World>,
    metrics: Arc<dyn Metrics>,
    executors: BTreeMap<String, Arc<dyn StepExecutor>>,
    approvers: Vec<Arc<dyn Approver>>,
    notifiers: Vec<Arc<dyn Notifier>>,
    head_sinks: Vec<Arc<dyn HeadSink>>,
    heartbeats: Vec<Arc<dyn Heartbeat>>,
    last_resort: Arc<dyn Notifier>,
    secrets: Arc<dyn SecretSource>,
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Where verification reads metrics. Without one, every verification is inconclusive.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> EngineBuilder {
        self.metrics = metrics;
        self
    }

    /// Adds an executor; a later one of the same name replaces it.
    #[must_use]
    pub fn executor(mut self, executor: Arc<dyn StepExecutor>) -> EngineBuilder {
        self.executors.insert(executor.name().to_owned(), executor);
        self
    }

    /// Adds a way to ask people. All of them are asked; the first answers that suffice count.
    #[must_use]
    pub fn approver(mut self, approver: Arc<dyn Approver>) -> EngineBuilder {
        self.approvers.push(approver);
        self
    }

    /// Adds a way to tell people.
    #[must_use]
    pub fn notifier(mut self, notifier: Arc<dyn Notifier>) -> EngineBuilder {
        self.notifiers.push(notifier);
        self
    }

    /// The secrets that executors resolve: their values are removed from everything that executors
    /// give back, before it is journaled, audited or told.
    #[must_use]
    pub fn secrets(mut self, secrets: Arc<dyn SecretSource>) -> EngineBuilder {
        self.secrets = secrets;
        self
    }

    /// Adds a place where heads of the audit go that this engine cannot rewrite.
    #[must_use]
    pub fn head_sink(mut self, sink: Arc<dyn HeadSink>) -> EngineBuilder {
        self.head_sinks.push(sink);
        self
    }

    /// Adds a receiver that raises the alarm when it does not hear of this engine
    /// ([`Engine::beat`]).
    #[must_use]
    pub fn heartbeat(mut self, heartbeat: Arc<dyn Heartbeat>) -> EngineBuilder {
        self.heartbeats.push(heartbeat);
        self
    }

    /// Where messages go that no receiver takes: something local that cannot be down. Default
    /// standard error, one line of JSON each.
    #[must_use]
    pub fn last_resort(mut self, notifier: Arc<dyn Notifier>) -> EngineBuilder {
        self.last_resort = notifier;
        self
    }

    /// Checks the settings and builds the engine. Nothing runs yet.
    ///
    /// # Errors
    /// A setting that is out of range, or an executor with a reserved name.
    pub fn build(self) -> Result<Engine> {
        let EngineConfig {
            name,
            approval,
            gates,
            trust,
            escalation,
            lease_ttl,
            poll,
            mode_hold,
            delivery_timeout,
            least_severity,
        } = self.config;
        if least_severity > Severity::Warning {
            return Err(Error::config("least_severity", "questions would not be sent"));
        }
        let routes: Vec<&str> = self.notifiers.iter().map(|n| n.name()).collect();
        for (field, value) in
            [("lease_ttl", lease_ttl), ("poll", poll), ("delivery_timeout", delivery_timeout)]
        {
            if value.is_zero() {
                return Err(Error::config(field, "must be above 0"));
            }
        }
        let reserved = [UNDO_BY_EXECUTOR, UNDO_NOTHING];
        if let Some(name) = self.executors.keys().find(|name| reserved.contains(&name.as_str())) {
            return Err(Error::config("executor", format!("the name `{name}` is reserved")));
        }
        let config = EngineConfig {
            name,
            approval: approval.build()?,
            gates: gates.build()?,
            trust: trust.build()?,
            escalation: escalation.build(&routes)?,
            lease_ttl,
            poll,
            mode_hold,
            delivery_timeout,
            least_severity,
        };
        let journal = Journal::new(self.store);
        let incarnation = incarnation(&config.name, self.clock.now());
        Ok(Engine(Arc::new(Inner {
            config,
            incarnation,
            journal,
            clock: self.clock,
            world: self.world,
            metrics: self.metrics,
            executors: self.executors,
            approvers: self.approvers,
            notifiers: self.notifiers,
            head_sinks: self.head_sinks,
            heartbeats: self.heartbeats,
            last_resort: self.last_resort,
            secrets: self.secrets,
            health: Mutex::new(ModeSwitch::new(mode_hold)),
            news: Mutex::default(),
            phase: watch::Sender::new(Phase::Open),
            driving: watch::Sender::new(BTreeMap::new()),
            handed_over: Mutex::default(),
        })))
    }
}

/// Tells two processes of the same name apart. Only equality matters, not secrecy.
fn incarnation(name: &str, now: Timestamp) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(0_u8);
    let process = u64::from(std::process::id());
    Digest::of_parts(&[
        name.as_bytes(),
        &now.as_nanos().to_le_bytes(),
        &process.to_le_bytes(),
        &random.to_le_bytes(),
    ])
    .to_string()[..16]
        .to_owned()
}

/// Drives runs. Cheap to clone; clones are the same engine.
///
/// See the crate's documentation for what it promises, and for an example.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: EngineConfig,
    incarnation: String,
    journal: Journal,
    clock: Arc<dyn Timekeeper>,
    world: Arc<dyn World>,
    metrics: Arc<dyn Metrics>,
    executors: BTreeMap<String, Arc<dyn StepExecutor>>,
    approvers: Vec<Arc<dyn Approver>>,
    notifiers: Vec<Arc<dyn Notifier>>,
    head_sinks: Vec<Arc<dyn HeadSink>>,
    heartbeats: Vec<Arc<dyn Heartbeat>>,
    last_resort: Arc<dyn Notifier>,
    secrets: Arc<dyn SecretSource>,
    /// Follows whether the store takes writes.
    health: Mutex<ModeSwitch>,
    /// Wakes the driver of a run when somebody else recorded an event.
    news: Mutex<BTreeMap<RunId, Arc<Notify>>>,
    phase: watch::Sender<Phase>,
    /// Runs that are being driven.
    driving: watch::Sender<BTreeMap<RunId, shutdown::Drivers>>,
    /// Runs that were left for another engine.
    handed_over: Mutex<Vec<RunId>>,
}

/// How far the engine has been shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Nothing new starts.
    Closing,
    /// What is under way is cut off.
    Cut,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.0.config.name)
            .field("incarnation", &self.0.incarnation)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Begins to build an engine over a store, a clock and a view of the world.
    #[must_use]
    pub fn builder(
        config: EngineConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Timekeeper>,
        world: Arc<dyn World>,
    ) -> EngineBuilder {
        EngineBuilder {
            config,
            store,
            clock,
            world,
            metrics: Arc::new(NoMetrics),
            executors: BTreeMap::new(),
            approvers: Vec::new(),
            notifiers: Vec::new(),
            head_sinks: Vec::new(),
            heartbeats: Vec::new(),
            last_resort: Arc::new(LineNotifier::new("last-resort", Box::new(std::io::stderr()))),
            secrets: Arc::new(StaticSecrets::new()),
        }
    }

    /// Makes a run of the plan durable. Nothing happens until [`Engine::drive`].
    ///
    /// A plan is data, and need not come from [`Engine::propose`]: a tier below what its document and
    /// its executors ask for is raised to that, so that nobody is passed over.
    ///
    /// # Errors
    /// The incident already has an active run, an executor is missing, the engine is shutting down,
    /// or the store failed.
    pub async fn submit(&self, plan: Plan) -> Result<RunId> {
        Ok(self.begin(plan).await?.run)
    }

    async fn begin(&self, mut plan: Plan) -> Result<Arc<Plan>> {
        if self.phase() >= Phase::Closing {
            return Err(Error::ShuttingDown);
        }
        self.require_executors(&plan)?;
        self.raise_to_floor(&mut plan)?;
        let (plan, at) = (Arc::new(plan), self.0.clock.now());
        let created = self.0.journal.create(Run::new(plan.clone()), self.tenant(), at).await;
        self.publish(self.note(created)?);
        Ok(plan)
    }

    /// Submits the plan and drives its run until it ends or needs a person.
    ///
    /// # Errors
    /// As [`Engine::submit`] and [`Engine::drive`].
    pub async fn execute(&self, plan: Plan) -> Result<Run> {
        let plan = self.begin(plan).await?; // held until it is driven, so that it need not be read again
        self.drive(plan.run).await
    }

    /// Records an answer. It counts only if the policy says so; the run's audit says what became
    /// of it.
    ///
    /// # Errors
    /// The run is not asking (any more), or the store failed.
    pub async fn answer(&self, run: RunId, answer: Answer) -> Result<Run> {
        self.record(run, Event::Answered { answer }).await
    }

    /// Records what a person decided about a run that needs one. [`Engine::drive`] goes on from
    /// there.
    ///
    /// # Errors
    /// The run does not need a person, or not for this decision; or the store failed.
    pub async fn resolve(&self, run: RunId, by: &str, resolution: Resolution) -> Result<Run> {
        self.record(run, Event::Resolved { by: by.to_owned(), resolution }).await
    }

    /// Cancels a run that has not begun.
    ///
    /// # Errors
    /// It has begun, or the store failed.
    pub async fn cancel(&self, run: RunId, by: &str) -> Result<Run> {
        self.record(run, Event::Cancelled { by: by.to_owned() }).await
    }

    /// Somebody takes a run that needs a person: nobody else is paged for it.
    ///
    /// # Errors
    /// Nobody is being paged for it, or the store failed.
    pub async fn acknowledge(&self, run: RunId, by: &str) -> Result<()> {
        let at = self.0.clock.now();
        let done = self.0.journal.acknowledge(run, by.to_owned(), at).await;
        self.publish(self.note(done)?);
        Ok(())
    }

    /// Presses the kill switch: nothing starts, and runs in the middle stop before their next
    /// effect and wait for a person. Holds for every engine on this store, over restarts.
    ///
    /// # Errors
    /// The store failed: nothing was paused.
    pub async fn pause(&self, by: &str, why: &str) -> Result<()> {
        self.set_paused(Some(why.to_owned()), by).await
    }

    /// Releases the kill switch.
    ///
    /// # Errors
    /// The store failed: everything is still paused.
    pub async fn resume(&self, by: &str) -> Result<()> {
        self.set_paused(None, by).await
    }

    async fn set_paused(&self, why: Option<String>, by: &str) -> Result<()> {
        let at = self.0.clock.now();
        let paused = self.0.journal.set_paused(why, by.to_owned(), at).await;
        self.publish(self.note(paused)?);
        Ok(())
    }

    /// Why everything is paused, if it is.
    ///
    /// # Errors
    /// The store failed.
    pub async fn paused(&self) -> Result<Option<String>> {
        self.blocking(|journal| journal.paused()).await
    }

    /// What trust in a plan belongs to.
    ///
    /// # Errors
    /// An executor is missing.
    pub fn trust_key(&self, plan: &Plan) -> Result<TrustKey> {
        let document = plan.runbook.document();
        let undos = document.steps.iter().filter_map(|s| s.undo.as_ref()).map(|u| &u.uses);
        let mut versions = std::collections::BTreeSet::new();
        for uses in document.steps.iter().map(|s| &s.uses).chain(undos) {
            if ![UNDO_BY_EXECUTOR, UNDO_NOTHING].contains(&uses.as_str()) {
                let executor = self.require_executor(uses)?;
                versions.insert(format!("{uses}@{}", executor.version()));
            }
        }
        let versions: Vec<String> = versions.into_iter().collect();
        Ok(TrustKey::of(plan, &versions))
    }

    /// What remedies have earned.
    ///
    /// # Errors
    /// The store failed.
    pub async fn trust(&self) -> Result<Vec<TrustRecord>> {
        let (book, _) = self.blocking(|journal| journal.book()).await?;
        Ok(book.trust.iter().cloned().collect())
    }

    /// Share of verified outcomes that were good, by document: what the matcher prefers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn precision(&self) -> Result<BTreeMap<Digest, f64>> {
        Ok(self.blocking(|journal| journal.book()).await?.0.trust.precision())
    }

    /// A person sets what a remedy may do; audited.
    ///
    /// # Errors
    /// To run without asking was not earned, or the store failed.
    pub async fn set_trust(&self, key: &TrustKey, level: Level, by: &str) -> Result<()> {
        let (key, by, at) = (key.clone(), by.to_owned(), self.0.clock.now());
        let policy = self.0.config.trust.clone();
        let body = serde_json::json!({"by": by, "key": key, "level": level});
        let set = move |book: &mut Book| book.trust.set(&key, level, &by, &policy, at);
        let head = self.0.journal.change_book("trust", body, at, set).await?;
        self.publish(head);
        Ok(())
    }

    /// A run as it is stored.
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub async fn run(&self, run: RunId) -> Result<Run> {
        Ok(self.blocking(move |journal| journal.load(run)).await?.run)
    }

    /// Ids of runs, at most `limit`, in order of id after `after`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>> {
        self.blocking(move |journal| journal.run_ids(after, limit)).await
    }

    /// The events of a run, in the order in which they were committed.
    ///
    /// # Errors
    /// The store failed.
    pub async fn history(&self, run: RunId) -> Result<Vec<JournalRecord>> {
        self.blocking(move |journal| journal.events(run)).await
    }

    /// Records of the audit, at most `limit`, from number `from` on.
    ///
    /// # Errors
    /// The store failed.
    pub async fn audit(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        self.blocking(move |journal| journal.audit(from, limit)).await
    }

    /// The head of the audit chain.
    ///
    /// # Errors
    /// The store failed.
    pub async fn audit_head(&self) -> Result<Head> {
        self.blocking(|journal| journal.audit_head()).await
    }

    /// What the engine does now: what the world allows, and no more than [`Mode::NotifyOnly`] while
    /// the store does not take writes, or did not within the hold time.
    #[must_use]
    pub fn mode(&self) -> Mode {
        let health = self.0.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.mode().max(self.0.world.mode())
    }

    /// Notes how a write went.
    fn note<T>(&self, written: Result<T>) -> Result<T> {
        let allowed = match &written {
            Err(Error::Store { .. } | Error::Damaged { .. }) => Mode::NotifyOnly,
            _ => Mode::Full,
        };
        let mut health = self.0.health.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = health.update(allowed, self.0.clock.now()).max(self.0.world.mode());
        telemetry::level("aiops_act_mode", f64::from(mode as u8));
        written
    }

    /// The clock that the engine goes by.
    #[must_use]
    pub fn clock(&self) -> &dyn Timekeeper {
        &*self.0.clock
    }

    fn publish(&self, head: Head) {
        let at = self.0.clock.now();
        self.0.head_sinks.iter().for_each(|sink| sink.publish(head, at));
    }

    /// This engine, as the owner of runs.
    fn tenant(&self) -> Tenant {
        Tenant {
            engine: self.0.config.name.clone(),
            incarnation: self.0.incarnation.clone(),
            ttl: self.0.config.lease_ttl,
        }
    }

    /// What wakes the driver of a run.
    fn news_of(&self, run: RunId) -> Arc<Notify> {
        let mut news = self.0.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.entry(run).or_default().clone()
    }

    fn forget_news(&self, run: RunId) {
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
    }

    /// Runs a store operation on the blocking pool.
    async fn blocking<T, E>(
        &self,
        operation: impl FnOnce(&Journal) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let journal = self.0.journal.clone();
        match tokio::task::spawn_blocking(move || operation(&journal)).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn require_executors(&self, plan: &Plan) -> Result<()> {
        for step in &plan.runbook.document().steps {
            self.require_executor(&step.uses)?;
            if let Some(undo) = &step.undo
                && ![UNDO_BY_EXECUTOR, UNDO_NOTHING].contains(&undo.uses.as_str())
            {
                self.require_executor(&undo.uses)?;
            }
        }
        Ok(())
    }

    fn require_executor(&self, name: &str) -> Result<Arc<dyn StepExecutor>> {
        let known = self.0.executors.keys().map(String::as_str);
        self.0.executors.get(name).cloned().ok_or_else(|| Error::UnknownExecutor {
            name: name.to_owned(),
            hint: aiops_core::text::closest(name, known).map(str::to_owned),
        })
    }
}
