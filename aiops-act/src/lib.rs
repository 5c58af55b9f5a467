//! Runbooks that may be trusted at three in the morning: matched, approved, executed, verified,
//! undone and audited.
//!
//! ```text
//! Incident + Ranking ──> match_runbooks ──> Fit ──> Engine::propose ──> Proposal (reads only)
//!                                                                           │ submit
//!   audit chain, journal, outbox  <── one commit per transition ──  Run::apply (pure)
//!                                                                           │ after the commit
//!                       gates, approvers, executors, metrics, notifiers  <──┘
//! ```
//!
//! # Why it may be trusted
//! 1. **Nothing runs unless it was approved as it is.** What touches the world is an
//!    [`Approved<Plan>`](Approved): only [`Plan::approve`] makes one, from an [`Approval`] that only
//!    [`ApprovalPolicy::decide`](approve::ApprovalPolicy::decide) mints, bound to run, document,
//!    parameters, targets and tier. Neither can be deserialised.
//! 2. **Everything is asked twice.** The [`gates`] (kill switch, freeze, confidence, blast radius,
//!    breakers, rate and more) are checked before people are asked, and again after they answered.
//! 3. **No effect without a durable intent.** Every transition is one commit; the effect comes after
//!    it. After a crash at any point the store says what may have happened.
//! 4. **Unknown is not failed.** *A step is started at most once per approval unless it is declared
//!    idempotent; a step whose outcome is unknown after a crash is probed or stops for a person; it
//!    is never blindly repeated.* Exactly-once effects in other systems are not possible without
//!    their help, and are not claimed.
//! 5. **Success is measured.** Verification says ok, worse or inconclusive; missing data is never
//!    ok. Worse rolls back in reverse order; inconclusive goes to a person.
//! 6. **Limits survive crashes.** Rates, breakers and cooldowns are in the store, shared by all
//!    engines on it.
//! 7. **The record cannot be quietly changed.** Every transition is in a hash chain ([`audit`]).
//!
//! # When not
//! For jobs that are not remedies of an incident: this is no workflow engine. There are no loops, no
//! parallel steps and no shell strings, on purpose.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//! use aiops_act::executor::scripted::Scripted;
//! use aiops_act::{
//!     ApprovalPolicy, Ending, Engine, EngineConfig, FixedApprover, Library, MetricFn, MetricQuery,
//!     ReplayClock, Runbook, Situation, StillWorld, match_runbooks,
//! };
//! use aiops_core::{ManualClock, MemoryStore, NodeKind, Timestamp, Topology};
//! # use aiops_core::{Candidate, Cause, Fingerprint, Incident, IncidentId, IncidentState, Ranking, Severity};
//!
//! # fn incident(now: Timestamp) -> Situation {
//! #   let incident = Incident { id: IncidentId::of("", Fingerprint::from_u64(1), now), tenant: String::new(),
//! #     state: IncidentState::Open, onset: now, shown_at: None, resolved_at: None, severity: Severity::Critical,
//! #     title: String::new(), alerts: vec![], services: ["api".to_owned()].into(), events: vec![], timeline: vec![] };
//! #   let cause = Candidate { cause: Cause::Service { service: "api".into() }, probability: 0.0, score: 0.9, evidence: vec![] };
//! #   Situation::new(incident, Ranking::from_weights("bayes", vec![cause], 0.1).unwrap()) }
//! let mut library = Library::new();
//! library.add(Runbook::parse(br#"
//! schema: aiops.runbook/v1
//! id: raise-limit
//! version: 1.0.0
//! title: Raise the limit
//! owner: platform
//! match: {services: [api]}
//! targets: {services: [api]}
//! safety: {risk: 1, max_percent: 100}
//! steps:
//!   - {id: raise, uses: http, with: {limit: 40}, undo: {uses: http, with: {limit: 20}}}
//! verify:
//!   metrics: {errors: {metric: error_ratio, service: api}}
//!   success_when: now.errors < 0.05
//! "#)?)?;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let now = Timestamp::from_secs(1_800_000_000);
//! let situation = incident(now);
//! let mut topology = Topology::new();
//! topology.upsert_node("api", NodeKind::Service, now);
//!
//! // A replay: waiting costs nothing. A service uses `SystemClock` and a durable store.
//! let manual = Arc::new(ManualClock::new(now));
//! let clock = Arc::new(ReplayClock(manual.clone()));
//! let config = EngineConfig {
//!     approval: ApprovalPolicy::default().with_person("ada", &["oncall"]),
//!     ..EngineConfig::default()
//! };
//! let http = Scripted::new("http"); // does nothing, remembers everything
//! let engine = Engine::builder(
//!         config,
//!         Arc::new(MemoryStore::with_clock(manual)),
//!         clock.clone(),
//!         Arc::new(StillWorld::new(situation.clone(), Arc::new(topology))),
//!     )
//!     .executor(Arc::new(http.clone()))
//!     .approver(Arc::new(FixedApprover::approving("ada", clock)))
//!     .metrics(Arc::new(MetricFn(|_: &MetricQuery, _| Some(0.01))))
//!     .build()?;
//!
//! let matches = match_runbooks(&library, &situation, &Default::default(), now);
//! let fit = matches.best().expect("a runbook fits");
//! let proposal = engine.propose(fit, &situation, &Default::default()).await?; // a dry run
//! assert!(http.effects().is_empty());
//!
//! let run = engine.execute(proposal.plan).await?;
//! assert_eq!(run.ending(), Some(Ending::Succeeded));
//! assert_eq!(http.effects().len(), 1);
//!
//! let records = engine.audit(0, 100).await?;
//! aiops_act::audit::verify(&records, Some(engine.audit_head().await?))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//! | to | see |
//! | --- | --- |
//! | write a runbook | [`runbook`] |
//! | check one before anything happens | [`Runbook::parse`] names every problem of a document, [`Engine::propose`] is the dry run |
//! | see why one fits, or not | [`matcher`] with a [`matcher::Misfit`] for each that does not, [`gates`] with all answers in a [`gates::GateReport`] |
//! | connect a system that acts | [`StepExecutor`] |
//! | ask people | [`Approver`], [`approve`] |
//! | tell people | [`Notifier`] |
//! | follow a run | [`machine`] |
//! | embed it all | [`Engine`] |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod approve;
pub mod approver;
pub mod audit;
pub mod blast;
pub mod book;
pub mod canonical;
pub mod engine;
mod error;
pub mod escalate;
pub mod executor;
pub mod gates;
pub mod heartbeat;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod journal;
pub mod machine;
pub mod matcher;
pub mod modes;
pub mod notify;
pub mod plan;
pub mod runbook;
pub mod secret;
mod situation;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod timer;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod token;
pub mod trust;
pub mod verify;
mod world;

pub use approve::{Answer, Approval, ApprovalPolicy, Approved, Question, Says, StaleApproval};
pub use approver::{Approver, FixedApprover, Request, TerminalApprover};
pub use blast::Blast;
pub use canonical::Digest;
pub use engine::{Delivered, Engine, EngineBuilder, EngineConfig, Proposal, StepPreview, Stopped};
pub use error::{Error, Result};
pub use executor::{Call, Output, Permit, Preview, Probe, StepError, StepExecutor};
pub use gates::{Gate, GateConfig, GateReport, Passage};
pub use heartbeat::{Beat, Heartbeat, LineHeartbeat};
pub use journal::JournalRecord;
pub use machine::{Ending, Resolution, Run, State};
pub use matcher::{Fit, Matches, Misfit, match_runbooks};
pub use modes::{Mode, ModeSwitch};
pub use notify::{LineNotifier, Message, Notifier, SendError};
pub use plan::{Binding, Plan, PlanError, RunId};
pub use runbook::{Library, Risk, Runbook};
pub use situation::Situation;
pub use timer::{ReplayClock, Timekeeper, WaitFor};
pub use trust::{Level, TrustKey, TrustPolicy, TrustRecord};
pub use verify::{MetricFn, MetricQuery, Metrics, NoMetrics};
pub use world::{StillWorld, World};
