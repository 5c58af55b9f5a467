//! The execution of a plan as a pure state machine: states, events, one function.
//!
//! [`Run::apply`] takes an event and a time and gives the next run with what is to be done
//! ([`Do`]), what people hear ([`Notice`]) and what went wrong or right ([`Closing`]). It performs
//! nothing. The driver ([`crate::engine`]) makes each transition durable in one commit and only then
//! performs it, so that after a crash at any point the stored run says exactly what may have
//! happened:
//!
//! ```text
//!            gates            people             gates again, lease, rate slot
//! Proposed ───────> Asking ──────────> Approved ──────────────────────────────> Baseline
//!     │ refuse        │ no, too late      │ refuse                                 │
//!     v               v                   v                                        v
//!   Ended           Ended               Ended       ┌──────────────────────── Preparing(i) <──┐
//!                                                   v  intent durable                         │
//!                                              Running(i) ── done ──────> next step ──────────┘
//!                                               │     │ failed                │ no more steps
//!                                 crash, timeout│     v                       v
//!                                               │   Undoing(i) ...        Verifying ─ ok ─> Ended
//!                                               v     │ all undone          │ worse: Undoing
//!                                           Unknown(i)│                     │ inconclusive:
//!                                             probe   v                     v
//!                                                  Ended                NeedsHuman
//! ```
//!
//! A late event, such as the answer to a question that has expired, changes nothing and is refused
//! with the reason: what was committed first holds.

mod apply;
mod undo;

use std::collections::BTreeMap;
use std::sync::Arc;

use aiops_core::{Outcome, Reason, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::approve::{Answer, ApprovalPolicy, Approved, Decision, Earned, Question, Ruling};
use crate::book::Closing;
use crate::canonical::Digest;
use crate::executor::{Call, Output, Preview, Probe, StepError};
use crate::gates::GateReport;
use crate::plan::Plan;
use crate::runbook::expr::Scope;
use crate::runbook::{Effect, Idempotent, Step};
use crate::verify::{Progress, Values};

/// Attempts at a step or undo whose outcome was unknown and that may be repeated, before a person
/// is asked.
pub const MAX_UNKNOWN: u32 = 3;

/// One execution: the plan, where it stands, and what is known of every step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What is executed. It never changes, and all copies of the run share it.
    pub plan: Arc<Plan>,
    /// Where it stands.
    pub state: State,
    /// What people were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Answers that counted, in the order in which they were journaled.
    #[serde(default)]
    pub answers: Vec<Answer>,
    /// The steps, in the document's order.
    pub steps: Vec<StepRun>,
    /// How far verification has come.
    #[serde(default)]
    pub progress: Progress,
    /// What verification found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The fencing token of whoever drives it.
    #[serde(default)]
    pub fence: u64,
    /// When the lease was taken; from then on there may be effects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Why it is in its state.
    #[serde(default)]
    pub because: Vec<Reason>,
    /// How many transitions it has made.
    #[serde(default)]
    pub revision: u64,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Nothing was checked yet.
    Proposed,
    /// People have been asked.
    Asking,
    /// Approved; the gates are checked again before anything starts.
    Approved,
    /// A gate said "not now".
    Waiting {
        /// When to try again.
        until: Timestamp,
    },
    /// The lease is taken; metrics are read for the comparison afterwards.
    Baseline,
    /// The executor looks at what is there, without changing it.
    Preparing {
        /// Index of the step.
        step: usize,
    },
    /// The intent is durable: the step may have begun.
    Running {
        /// Index of the step.
        step: usize,
    },
    /// A pause before another attempt.
    Pausing {
        /// Index of the step.
        step: usize,
        /// When to go on.
        until: Timestamp,
    },
    /// Nobody knows whether the step happened; the executor is asked.
    Unknown {
        /// Index of the step.
        step: usize,
    },
    /// All steps are done; a measurement is due.
    Verifying {
        /// When.
        at: Timestamp,
    },
    /// The intent to undo is durable: the undo may have begun.
    Undoing {
        /// Index of the step.
        step: usize,
    },
    /// A pause before another attempt at an undo.
    UndoPausing {
        /// Index of the step.
        step: usize,
        /// When to go on.
        until: Timestamp,
    },
    /// Nobody knows whether the undo happened; the executor is asked.
    UndoUnknown {
        /// Index of the step.
        step: usize,
    },
    /// Only a person can say how it goes on. The targets stay taken.
    NeedsHuman {
        /// What the person has to decide.
        over: Stuck,
    },
    /// Over.
    Ended {
        /// How.
        ending: Ending,
    },
}

/// What a person has to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "over", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stuck {
    /// Whether this step happened.
    Step {
        /// Its index.
        step: usize,
    },
    /// What to do after a step failed.
    Failure,
    /// Whether it helped.
    Verdict,
    /// How to get back: an undo failed.
    Rollback,
    /// Somebody pressed the kill switch in the middle.
    Halted,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// It ran and verification says that it helped.
    Succeeded,
    /// It only read, and there was nothing to verify.
    Completed,
    /// It was shown to people and nothing was done.
    Proposed,
    /// A gate refused it.
    Refused,
    /// A person said no.
    Rejected,
    /// Nobody answered in time, or the approval had expired when it could have run.
    Expired,
    /// Somebody cancelled it before it began.
    Cancelled,
    /// A step failed and the document says to stop.
    Failed,
    /// Everything that was done was undone.
    RolledBack,
    /// A person took over and closed it.
    ClosedByPerson,
}

/// What is known of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRun {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: StepStatus,
    /// How often it was started.
    #[serde(default)]
    pub attempts: u32,
    /// How often its outcome was unknown.
    #[serde(default)]
    pub unknowns: u32,
    /// What its executor was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// What its executor found before it, with a line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// Values kept from its output, by name.
    #[serde(default)]
    pub outputs: Map<String, Value>,
    /// Its output, clipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// Why it failed or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// Where its undo stands.
    #[serde(default)]
    pub undo: UndoStatus,
    /// How often its undo was started.
    #[serde(default)]
    pub undo_attempts: u32,
    /// What its undo's executor was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_call: Option<Call>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepStatus {
    /// Not reached.
    Pending,
    /// Its condition did not hold, or a step that it needs did not succeed.
    Skipped,
    /// Being prepared, running or paused.
    Active,
    /// Done.
    Succeeded,
    /// Failed; `error` says whether it may have left traces.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// Where an undo stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UndoStatus {
    /// Not asked for, or not reached.
    #[default]
    Pending,
    /// Under way.
    Active,
    /// Done.
    Done,
    /// Failed for good.
    Failed,
    /// Not tried: a step that was done after this one, and needs it, could not be undone.
    Blocked,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The gates were checked. `trusted`: the runbook has earned to run without asking, as the engine
    /// shows with an [`Earned`]; the word alone replaces nobody.
    Gated {
        /// What they said.
        report: GateReport,
        /// Whether nobody needs to be asked.
        #[serde(default)]
        trusted: bool,
    },
    /// Somebody answered.
    Answered {
        /// The answer.
        answer: Answer,
    },
    /// Time has passed: a deadline, a pause or a wait may be over.
    Tick,
    /// Lease and rate slot were taken, in this very commit.
    Claimed {
        /// The fencing token.
        fence: u64,
    },
    /// They could not be taken now.
    Busy {
        /// Why.
        reason: Reason,
    },
    /// Metrics before the first step.
    Baselined {
        /// Their values.
        values: Values,
    },
    /// The executor looked at what is there.
    Prepared {
        /// Index of the step.
        step: usize,
        /// What it found.
        preview: Preview,
    },
    /// The step, or the look before it, ended without success.
    Failed {
        /// Index of the step.
        step: usize,
        /// How.
        error: StepError,
    },
    /// The step ended with success.
    Done {
        /// Index of the step.
        step: usize,
        /// What it gave.
        output: Output,
    },
    /// The executor was asked whether a step or its undo happened.
    Probed {
        /// Index of the step.
        step: usize,
        /// What it knows.
        probe: Probe,
    },
    /// The undo of a step ended with success.
    Undone {
        /// Index of the step.
        step: usize,
    },
    /// The undo of a step ended without success.
    UndoFailed {
        /// Index of the step.
        step: usize,
        /// How.
        error: StepError,
    },
    /// A measurement after the last step.
    Measured {
        /// Its values.
        values: Values,
    },
    /// An engine took the run over, after a crash or from an engine that is gone.
    TakenOver {
        /// Its fencing token.
        fence: u64,
    },
    /// The kill switch was found pressed before an effect.
    Halted {
        /// Why it was pressed.
        why: String,
    },
    /// A person decided what only a person can.
    Resolved {
        /// Who.
        by: String,
        /// What.
        resolution: Resolution,
    },
    /// Somebody does not want it any more.
    Cancelled {
        /// Who.
        by: String,
    },
}

impl Event {
    /// The event in one word, as it stands in the journal.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Event::Gated { .. } => "gated",
            Event::Answered { .. } => "answered",
            Event::Tick => "tick",
            Event::Claimed { .. } => "claimed",
            Event::Busy { .. } => "busy",
            Event::Baselined { .. } => "baselined",
            Event::Prepared { .. } => "prepared",
            Event::Failed { .. } => "failed",
            Event::Done { .. } => "done",
            Event::Probed { .. } => "probed",
            Event::Undone { .. } => "undone",
            Event::UndoFailed { .. } => "undo_failed",
            Event::Measured { .. } => "measured",
            Event::TakenOver { .. } => "taken_over",
            Event::Halted { .. } => "halted",
            Event::Resolved { .. } => "resolved",
            Event::Cancelled { .. } => "cancelled",
        }
    }
}

/// What a person decides about a run that needs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resolution {
    /// The step in question happened; go on.
    Happened,
    /// It did not; do it.
    DidNotHappen,
    /// Undo what was done. After a failed rollback: try the failed undos again.
    RollBack,
    /// Somebody has dealt with it by hand; it helped.
    CloseAsFixed,
    /// Somebody has dealt with it by hand; it did not help.
    CloseAsBad,
}

/// What is to be done next. It follows from the state alone ([`Run::due`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Do {
    /// Check the gates.
    CheckGates,
    /// Wait for an answer until then.
    Ask {
        /// When the question expires.
        until: Timestamp,
    },
    /// Nothing before that instant.
    Wait {
        /// When to go on.
        until: Timestamp,
    },
    /// Read metrics before the first step.
    Baseline,
    /// Let the executor look.
    Prepare {
        /// Index of the step.
        step: usize,
    },
    /// Run the step.
    Run {
        /// Index of the step.
        step: usize,
    },
    /// Ask the executor whether the step happened.
    Probe {
        /// Index of the step.
        step: usize,
    },
    /// Run the undo.
    Undo {
        /// Index of the step.
        step: usize,
    },
    /// Ask the executor whether the undo happened.
    ProbeUndo {
        /// Index of the step.
        step: usize,
    },
    /// Read metrics, at that instant.
    Measure {
        /// When.
        at: Timestamp,
    },
    /// Wait for a person.
    AwaitPerson,
    /// Nothing more.
    Nothing,
}

/// Something people hear of. Written to the outbox in the commit of its transition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub kind: NoticeKind,
    /// One line.
    pub title: String,
    /// Why.
    pub because: Vec<Reason>,
}

/// What a notice is about, and so how loud it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// An approval is asked for.
    Question,
    /// A plan is shown and will not be run.
    Proposal,
    /// A run began.
    Started,
    /// A run ended well.
    Succeeded,
    /// A gate refused a run.
    Refused,
    /// A run ended otherwise: rejected, expired, cancelled, closed.
    Ended,
    /// A rollback began.
    RollingBack,
    /// A person is needed, now.
    NeedsHuman,
}

/// An event that came too late or does not fit; nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Late {
    /// What has already happened.
    pub reason: String,
}

/// The next run, and what follows from the transition.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The run afterwards.
    pub run: Run,
    /// What people hear.
    pub notices: Vec<Notice>,
    /// What the book counts, if something is settled.
    pub closing: Option<Closing>,
    /// Answers that did not count and other remarks, for the audit.
    pub remarks: Vec<Reason>,
}

impl State {
    /// What is to be done next by a run that stands here and asked `question`.
    pub(crate) fn due(self, question: Option<&Question>) -> Do {
        match self {
            State::Proposed | State::Approved => Do::CheckGates,
            State::Asking => Do::Ask { until: question.map_or(Timestamp::MIN, |q| q.expires_at) },
            State::Waiting { until }
            | State::Pausing { until, .. }
            | State::UndoPausing { until, .. } => Do::Wait { until },
            State::Baseline => Do::Baseline,
            State::Preparing { step } => Do::Prepare { step },
            State::Running { step } => Do::Run { step },
            State::Unknown { step } => Do::Probe { step },
            State::Verifying { at } => Do::Measure { at },
            State::Undoing { step } => Do::Undo { step },
            State::UndoUnknown { step } => Do::ProbeUndo { step },
            State::NeedsHuman { .. } => Do::AwaitPerson,
            State::Ended { .. } => Do::Nothing,
        }
    }
}

impl Run {
    /// A run of `plan` that has not been looked at.
    #[must_use]
    pub fn new(plan: impl Into<Arc<Plan>>) -> Run {
        let plan = plan.into();
        let steps = plan.runbook.document().steps.iter().map(|step| StepRun {
            id: step.id.clone(),
            status: StepStatus::Pending,
            attempts: 0,
            unknowns: 0,
            call: None,
            preview: None,
            outputs: Map::new(),
            output: None,
            error: None,
            undo: UndoStatus::Pending,
            undo_attempts: 0,
            undo_call: None,
        });
        Run {
            steps: steps.collect(),
            plan,
            state: State::Proposed,
            question: None,
            answers: Vec::new(),
            progress: Progress::default(),
            outcome: None,
            fence: 0,
            started_at: None,
            because: Vec::new(),
            revision: 0,
        }
    }

    /// What is to be done next.
    #[must_use]
    pub fn due(&self) -> Do {
        self.state.due(self.question.as_ref())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ending(&self) -> Option<Ending> {
        match self.state {
            State::Ended { ending } => Some(ending),
            _ => None,
        }
    }

    /// Whether it holds the lease of its targets.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        self.started_at.is_some() && self.ending().is_none()
    }

    /// The idempotency key of a step, the same for all attempts at it.
    #[must_use]
    pub fn key(&self, step: usize) -> Digest {
        self.key_for(step, "run")
    }

    /// The idempotency key of a step's undo.
    #[must_use]
    pub fn undo_key(&self, step: usize) -> Digest {
        self.key_for(step, "undo")
    }

    fn key_for(&self, step: usize, what: &str) -> Digest {
        let id = self.steps.get(step).map_or("", |s| s.id.as_str());
        let params = Digest::of_json(&Value::Object(self.plan.params.clone()));
        let run = self.plan.run.to_string();
        Digest::of_parts(&[run.as_bytes(), id.as_bytes(), what.as_bytes(), params.as_bytes()])
    }

    /// What the policy makes of the answers so far; `None` before anybody was asked.
    #[must_use]
    pub fn ruling(
        &self,
        policy: &ApprovalPolicy,
        earned: Option<&Earned>,
        now: Timestamp,
    ) -> Option<Decision> {
        Some(policy.decide(self.question.as_ref()?, &self.answers, earned, now))
    }

    /// The plan as approved, if the policy approves it and the approval was valid when the run
    /// started, or is at `now` when it has not. An approval that expires in the middle does not stop
    /// a run halfway, and not its rollback either.
    #[must_use]
    pub fn approved(
        &self,
        policy: &ApprovalPolicy,
        earned: Option<&Earned>,
        now: Timestamp,
    ) -> Option<Approved<Plan>> {
        let at = self.started_at.unwrap_or(now);
        match self.ruling(policy, earned, at)?.ruling {
            Ruling::Approved(approval) => Plan::clone(&self.plan).approve(&approval, at).ok(),
            _ => None,
        }
    }

    /// The names that conditions and templates of a step read.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let steps: BTreeMap<&str, Value> = self
            .steps
            .iter()
            .map(|s| (s.id.as_str(), json!({"status": s.status, "outputs": s.outputs})))
            .collect();
        self.plan.scope().with("steps", json!(steps))
    }

    fn document_step(&self, step: usize) -> &Step {
        &self.plan.runbook.document().steps[step]
    }

    /// Whether an attempt at the step may be repeated without knowing what became of the last.
    fn is_repeatable(&self, step: usize) -> bool {
        let step = self.document_step(step);
        step.effect == Effect::Read || step.idempotent != Idempotent::No
    }
}
