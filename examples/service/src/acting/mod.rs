//! The last stage: remedies that are proposed, approved by people, run, verified and recorded.
//!
//! [`Acting`] owns an engine of `aiops-act` on the store of the service. What the engine asks of the world is
//! answered from the last [`Seen`] that the stages gave; what verification measures is read from the stages
//! themselves. Runs live in the store: after a restart each is driven on from where it stood.

mod claim;
mod config;
mod notify;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aiops_act::approve::{Answer, Says};
use aiops_act::audit::AuditRecord;
use aiops_act::executor::http::HttpExecutor;
use aiops_act::executor::process::ProcessExecutor;
use aiops_act::executor::scripted::Scripted;
use aiops_act::executor::{ManualExecutor, WaitExecutor};
use aiops_act::http::{HttpClient, PlainClient};
use aiops_act::machine::{Resolution, Run, State};
use aiops_act::modes::Part;
use aiops_act::{
    ApprovalPolicy, Binding, Digest, Engine, EngineConfig, GateConfig, Library, RunId, Situation,
    Timekeeper, World, match_runbooks,
};
use aiops_core::{Cause, IncidentId, Reason, Store, Timestamp};
use aiops_pipeline::act::{is_felt, parameters};

use claim::{Claim, Claims};
pub use config::{ActConfig, Route, RouteKind};
use notify::notifier;
pub use world::Seen;
use world::{Live, Measured};

use crate::health::Condition;
use crate::{Config, Error, Result, Role, Stages};

/// How often runs that nobody drives are looked for, and how often the engine says that it is well.
const LOOK_AROUND: Duration = Duration::from_secs(30);

/// How many runs a page of the store holds.
const PAGE: usize = 500;

/// The engine with what it needs, and which remedy has fitted which incident since when.
pub struct Acting {
    engine: Engine,
    library: Library,
    world: Arc<Live>,
    stages: Arc<Mutex<Stages>>,
    claims: Claims,
    condition: Arc<Condition>,
    /// Messages that reached only the last resort since one was last sent.
    unheard: AtomicUsize,
    after: Duration,
    dry_run: bool,
    state: Mutex<Considered>,
}

#[derive(Default)]
struct Considered {
    fits_since: BTreeMap<IncidentId, (String, Cause, Timestamp)>,
    misfits: BTreeMap<IncidentId, Vec<Reason>>,
    runs: BTreeMap<IncidentId, RunId>,
    driven: BTreeSet<RunId>,
    looked_at: Option<Timestamp>,
}

/// A part of the audit.
#[derive(Debug)]
pub struct Audited {
    /// The records, the latest first.
    pub records: Vec<AuditRecord>,
    /// How many there are in all.
    pub count: usize,
    /// Whether the chain is whole, or the first thing that is wrong with it.
    pub whole: std::result::Result<(), String>,
}

impl std::fmt::Debug for Acting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acting").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Acting {
    /// An engine on `store`. Runs that were in flight are driven on with the first [`tick`](Self::tick).
    ///
    /// # Errors
    /// When a runbook, an address or a route cannot be used.
    pub fn new(
        config: &Config,
        store: Arc<dyn Store>,
        clock: Arc<dyn Timekeeper>,
        stages: Arc<Mutex<Stages>>,
        condition: Arc<Condition>,
    ) -> Result<Self> {
        let act = &config.act;
        let library = library(act.runbooks.as_deref())?;
        let world = Arc::new(Live {
            seen: RwLock::default(),
            most: act.mode,
            condition: condition.clone(),
            clock: clock.clone(),
        });
        let settings = EngineConfig {
            name: "aiops-service".to_owned(),
            approval: people(config),
            gates: GateConfig {
                act_on_uncalibrated: true,
                self_exclusion: act.never_touch.clone(),
                ..GateConfig::default()
            },
            ..EngineConfig::from(config.prefer)
        };
        let client: Arc<dyn HttpClient> = Arc::new(PlainClient::default());
        let claims = Claims::new(store.clone());
        let mut builder = Engine::builder(settings, store, clock, world.clone())
            .metrics(Arc::new(Measured(stages.clone())));
        if act.dry_run {
            for executor in Scripted::dry_run(&library) {
                builder = builder.executor(Arc::new(executor));
            }
        } else {
            let mut http = HttpExecutor::new(client.clone());
            for url in &act.allow_urls {
                http = http.allowing(url).map_err(Error::stage("act"))?;
            }
            let programs = act.allow_programs.iter();
            let process =
                programs.fold(ProcessExecutor::new(), |p, (name, path)| p.allowing(name, path));
            builder = builder
                .executor(Arc::new(http))
                .executor(Arc::new(process))
                .executor(Arc::new(WaitExecutor))
                .executor(Arc::new(ManualExecutor));
        }
        for route in &act.notify {
            builder = builder.notifier(notifier(route, &client)?);
        }
        Ok(Acting {
            engine: builder.build().map_err(Error::stage("act"))?,
            library,
            world,
            stages,
            claims,
            condition,
            unheard: AtomicUsize::new(0),
            after: Duration::from_secs(act.propose_after_seconds),
            dry_run: act.dry_run,
            state: Mutex::default(),
        })
    }

    /// Whether approved runbooks are walked without any effect.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The engine: who looks at runs, audit and mode looks there.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Looks at what the stages know at `now`: proposes what has fitted for long enough, tells people what
    /// there is to tell, and drives what nobody drives.
    ///
    /// # Errors
    /// When the store fails; the next tick tries again.
    pub async fn tick(self: &Arc<Self>, seen: Seen, now: Timestamp) -> Result<()> {
        let situations = seen.situations.clone();
        *self.world.seen.write().unwrap_or_else(PoisonError::into_inner) = seen;
        self.take_over(now).await?;
        let live: BTreeSet<IncidentId> = situations.iter().map(|s| s.incident.id).collect();
        self.considered(|state| {
            state.fits_since.retain(|incident, _| live.contains(incident));
            state.misfits.retain(|incident, _| live.contains(incident));
        });
        let open =
            |s: &Situation| self.considered(|state| !state.runs.contains_key(&s.incident.id));
        let open: Vec<Situation> = situations.into_iter().filter(open).collect();
        if !self.library.is_empty() && !open.is_empty() {
            let precision = self.engine.precision().await.map_err(Error::stage("act"))?;
            for situation in open {
                self.consider(situation, &precision, now).await?;
            }
        }
        let delivered = self.engine.deliver().await.map_err(Error::stage("act"))?;
        // What has been tried in vain for half a minute is not told: nothing must begin that nobody hears of.
        self.unheard.fetch_add(delivered.last_resort, Ordering::Relaxed);
        if delivered.sent > 0 {
            self.unheard.store(0, Ordering::Relaxed);
        }
        let is_heard = self.unheard.load(Ordering::Relaxed) == 0 || delivered.later == 0;
        self.condition.report(Part::Notifier, is_heard, now);
        Ok(())
    }

    /// Drives runs that nobody drives: those of before a restart, and those of an engine that is gone.
    async fn take_over(self: &Arc<Self>, now: Timestamp) -> Result<()> {
        let looked_at = self.considered(|state| state.looked_at);
        if looked_at.is_some_and(|at| now.since(at) < LOOK_AROUND) {
            return Ok(());
        }
        if looked_at.is_none() {
            for run in self.runs().await? {
                self.considered(|state| state.runs.insert(run.plan.incident, run.plan.run));
            }
        }
        for run in self.engine.orphans().await.map_err(Error::stage("act"))? {
            self.drive(run);
        }
        self.engine.beat().await.map_err(Error::stage("act"))?;
        self.considered(|state| state.looked_at = Some(now));
        Ok(())
    }

    fn considered<T>(&self, work: impl FnOnce(&mut Considered) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An incident gets one plan, once the same remedy has fitted the same cause for long enough.
    async fn consider(
        self: &Arc<Self>,
        situation: Situation,
        precision: &BTreeMap<Digest, f64>,
        now: Timestamp,
    ) -> Result<()> {
        let incident = situation.incident.id;
        let not_yet = |reasons: Vec<Reason>, forget: bool| {
            self.considered(|state| {
                if forget {
                    state.fits_since.remove(&incident);
                }
                state.misfits.insert(incident, reasons);
            });
            Ok(())
        };
        if !is_felt(&situation, &self.world.topology()) {
            let sentence = "no alert of a service that users call fires: nobody feels it";
            return not_yet(vec![Reason::new("not_felt", sentence)], true);
        }
        let matches = match_runbooks(&self.library, &situation, precision, now);
        let Some(fit) = matches.best() else {
            let why = matches.misfits.into_iter().flat_map(|misfit| {
                let runbook = misfit.runbook;
                misfit.reasons.into_iter().map(move |reason| Reason {
                    sentence: format!("{runbook}: {}", reason.sentence),
                    ..reason
                })
            });
            return not_yet(why.collect(), true);
        };
        let fits = (fit.runbook.id().to_owned(), fit.cause.clone());
        let since = self.considered(|state| match state.fits_since.get(&incident) {
            Some((runbook, cause, since)) if (runbook, cause) == (&fits.0, &fits.1) => *since,
            _ => {
                state.fits_since.insert(incident, (fits.0.clone(), fits.1.clone(), now));
                now
            }
        });
        if now.since(since) < self.after {
            let waits = format!("{} has fitted for {:?} only", fits.0, now.since(since));
            return not_yet(vec![Reason::new("not_settled", waits)], false);
        }
        let params = self.world.read(|seen| parameters(fit, &seen.changes));
        let proposal = match self.engine.propose(fit, &situation, &params).await {
            Ok(proposal) => proposal,
            // A parameter that is missing, an executor that is not there: this incident has no plan, and the page
            // says why. The others go on.
            Err(error) => {
                let why = Reason::new("no_plan", format!("{}: {error}", fits.0));
                return not_yet(vec![why], false);
            }
        };
        match self.claims.claim(&self.engine, incident, proposal.plan.run, now).await? {
            Claim::Ours => {}
            Claim::Theirs(run) => {
                self.considered(|state| {
                    state.misfits.remove(&incident);
                    state.runs.insert(incident, run);
                });
                return Ok(());
            }
            Claim::Wait => {
                let why = "another service on this store is about to propose a remedy";
                return not_yet(vec![Reason::new("claimed", why)], false);
            }
        }
        match self.engine.submit(proposal.plan).await {
            Ok(run) => {
                self.considered(|state| {
                    state.misfits.remove(&incident);
                    state.runs.insert(incident, run);
                });
                self.drive(run);
                Ok(())
            }
            Err(error) => {
                not_yet(vec![Reason::new("no_plan", format!("{}: {error}", fits.0))], false)
            }
        }
    }

    /// Drives a run in the background until it ends or needs a person, and remembers how it ended. A run that
    /// is driven already is left to whoever drives it.
    fn drive(self: &Arc<Self>, run: RunId) {
        if !self.considered(|state| state.driven.insert(run)) {
            return;
        }
        let acting = self.clone();
        tokio::spawn(async move {
            let driven = acting.engine.drive(run).await;
            acting.considered(|state| state.driven.remove(&run));
            match driven {
                Ok(run) => acting.remember(run).await,
                Err(aiops_act::Error::ShuttingDown) => {}
                Err(error) => eprintln!("run {run} stands still and is taken up again: {error}"),
            }
        });
    }

    async fn remember(&self, run: Run) {
        let Some(outcome) = run.outcome.filter(|_| run.ending().is_some()) else { return };
        let stages = self.stages.clone();
        let remembered = tokio::task::spawn_blocking(move || {
            let mut stages = stages.lock().unwrap_or_else(PoisonError::into_inner);
            stages.tried(run.plan.incident, run.plan.runbook.id(), outcome)
        });
        if let Ok(Err(error)) = remembered.await {
            eprintln!(
                "how a run ended is in its record, but not in the memory of incidents: {error}"
            );
        }
    }

    /// The run of an incident, if there is one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn run_of(&self, incident: IncidentId) -> Result<Option<Run>> {
        let known = self.considered(|state| state.runs.get(&incident).copied());
        let run = match known {
            Some(run) => Some(run),
            None => self.claims.of(incident).await?,
        };
        let Some(run) = run else { return Ok(None) };
        match self.engine.run(run).await {
            Ok(run) => Ok(Some(run)),
            // Claimed a moment ago, and not submitted yet.
            Err(aiops_act::Error::UnknownRun(_)) => Ok(None),
            Err(error) => Err(Error::stage("act")(error)),
        }
    }

    /// Why nothing was proposed for an incident.
    pub fn misfits(&self, incident: IncidentId) -> Vec<Reason> {
        self.considered(|state| state.misfits.get(&incident).cloned()).unwrap_or_default()
    }

    /// Every run, the latest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn runs(&self) -> Result<Vec<Run>> {
        let (mut runs, mut after) = (Vec::new(), None);
        loop {
            let page = self.engine.runs(after, PAGE).await.map_err(Error::stage("act"))?;
            for &run in &page {
                runs.push(self.engine.run(run).await.map_err(Error::stage("act"))?);
            }
            after = page.last().copied();
            if page.len() < PAGE {
                runs.sort_by_key(|run| std::cmp::Reverse((run.plan.proposed_at, run.plan.run)));
                return Ok(runs);
            }
        }
    }

    /// Records what a person answered to the question of a run, as it was shown to them.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the run is not asking (any more).
    pub async fn answer(&self, by: &str, says: Says, to: Binding, comment: &str) -> Result<Run> {
        let answer = Answer {
            by: by.to_owned(),
            says,
            at: self.engine.clock().now(),
            via: "console".to_owned(),
            comment: comment.to_owned(),
            to,
        };
        self.engine.answer(answer.to.run, answer).await.map_err(refused)
    }

    /// Records what a person decided about a run that needs one, and goes on from there.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the run does not need that decision.
    pub async fn resolve(
        self: &Arc<Self>,
        run: RunId,
        by: &str,
        resolution: Resolution,
    ) -> Result<Run> {
        let resolved = self.engine.resolve(run, by, resolution).await.map_err(refused)?;
        match resolved.state {
            State::Ended { .. } => self.remember(resolved.clone()).await,
            _ => self.drive(run),
        }
        Ok(resolved)
    }

    /// Records of the audit, `limit` of them after leaving out the latest `skip`, the latest first; how many there are;
    /// and whether the chain up to its head is whole.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn audit(&self, skip: usize, limit: usize) -> Result<Audited> {
        let failed = Error::stage("act");
        let head = self.engine.audit_head().await.map_err(&failed)?;
        let all = self.engine.audit(0, usize::MAX).await.map_err(&failed)?;
        let whole = aiops_act::audit::verify(&all, Some(head)).map_err(|broken| broken.to_string());
        let count = all.len();
        let records = all.into_iter().rev().skip(skip).take(limit).collect();
        Ok(Audited { records, count, whole: whole.map(|_| ()) })
    }

    /// Starts nothing new, and finishes or journals what is under way.
    pub async fn shutdown(&self, deadline: Duration) {
        let _ = self.engine.shutdown(deadline).await;
    }
}

fn refused(error: aiops_act::Error) -> Error {
    Error::Unknown { reason: error.to_string() }
}

fn library(folder: Option<&Path>) -> Result<Library> {
    let Some(folder) = folder else { return Ok(Library::new()) };
    let failed = |reason| Error::Config { file: folder.to_owned(), reason };
    Library::load_dir(folder).map_err(|error| failed(error.to_string()))
}

/// Approvers are on call; admins lead as well. Without tokens, whoever reaches the loopback address does.
fn people(config: &Config) -> ApprovalPolicy {
    let policy = ApprovalPolicy::default();
    if config.tokens.is_empty() {
        return policy.with_person("local", &["oncall", "lead"]);
    }
    config.tokens.iter().fold(policy, |policy, token| match token.role {
        Role::Sender | Role::Viewer => policy,
        Role::Approver => policy.with_person(&token.name, &["oncall"]),
        Role::Admin => policy.with_person(&token.name, &["oncall", "lead"]),
    })
}
