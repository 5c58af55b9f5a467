//! The transitions.

use std::time::Duration;

use aiops_core::{Outcome, Reason, Timestamp};
use serde_json::Value;

use super::{
    Ending, Event, Late, MAX_UNKNOWN, Notice, NoticeKind, Resolution, Run, State, StepRun,
    StepStatus, Stuck, Transition,
};
use crate::approve::{Answer, ApprovalPolicy, Earned, Ruling};
use crate::book::Closing;
use crate::executor::{Call, Output, Preview, Probe, StepError};
use crate::gates::{GateReport, Passage};
use crate::runbook::template;
use crate::runbook::{Effect, OnFailure, OnTimeout, OnUnknown};

/// How long a run that could not start waits before it asks again.
const WAIT: Duration = Duration::from_secs(15);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(600);

impl Run {
    /// Applies one event at `at`. Without `earned` it takes people to approve the plan.
    ///
    /// # Errors
    /// [`Late`] when the event does not fit the state; the run is unchanged.
    pub fn apply(
        &self,
        event: Event,
        at: Timestamp,
        policy: &ApprovalPolicy,
        earned: Option<&Earned>,
    ) -> Result<Transition, Late> {
        let mut next = Transition {
            run: self.clone(),
            notices: Vec::new(),
            closing: None,
            remarks: Vec::new(),
        };
        // Why a person is needed, or what is waited for, still holds when another engine takes over.
        if !matches!(event, Event::TakenOver { .. }) {
            next.run.because.clear();
        }
        next.run.revision += 1;
        next.step(self.state, event, at, Rights { policy, earned })?;
        Ok(next)
    }
}

/// By what a plan may run.
#[derive(Clone, Copy)]
struct Rights<'a> {
    policy: &'a ApprovalPolicy,
    earned: Option<&'a Earned>,
}

impl Transition {
    /// The table. What is not in it is late.
    fn step(
        &mut self,
        state: State,
        event: Event,
        at: Timestamp,
        rights: Rights<'_>,
    ) -> Result<(), Late> {
        match (state, event) {
            (State::Proposed, Event::Gated { report, trusted }) => {
                self.first_gates(&report, trusted, at, rights);
            }
            (State::Approved, Event::Gated { report, .. }) => self.gates_again(&report, at, rights),
            (State::Asking, Event::Answered { answer }) => self.answered(answer, at, rights),
            (State::Asking, Event::Tick) if self.question_is_over(at) => self.expire(at),
            (State::Waiting { until }, Event::Tick) if at >= until => {
                self.run.state = State::Approved;
            }
            (State::Approved, Event::Claimed { fence }) => self.claimed(fence, at, rights),
            (State::Approved, Event::Busy { reason }) => self.wait(reason, at),
            (State::Baseline, Event::Baselined { values }) => {
                self.run.progress.before = values;
                self.enter(0, at);
            }
            (State::Preparing { step }, Event::Prepared { step: of, preview }) if of == step => {
                self.prepared(step, preview, at);
            }
            (
                State::Preparing { step } | State::Running { step },
                Event::Failed { step: of, error },
            ) if of == step => {
                self.failed(step, error, at);
            }
            (State::Running { step }, Event::Done { step: of, output }) if of == step => {
                self.done(step, output, at);
            }
            (State::Pausing { step, until }, Event::Tick) if at >= until => self.prepare(step),
            (State::Unknown { step }, Event::Probed { step: of, probe }) if of == step => {
                self.probed(step, probe, at);
            }
            (State::Verifying { .. }, Event::Measured { values }) => self.measured(values, at),
            (State::Undoing { step }, Event::Undone { step: of }) if of == step => {
                self.undone(step, at);
            }
            (State::Undoing { step }, Event::UndoFailed { step: of, error }) if of == step => {
                self.undo_failed(step, error, at);
            }
            (State::UndoPausing { step, until }, Event::Tick) if at >= until => {
                self.begin_undo_of(step, at);
            }
            (State::UndoUnknown { step }, Event::Probed { step: of, probe }) if of == step => {
                self.undo_probed(step, probe, at);
            }
            (_, Event::TakenOver { fence }) if self.run.ending().is_none() => {
                self.taken_over(fence, at);
            }
            (
                State::Preparing { .. } | State::Unknown { .. } | State::Undoing { .. },
                Event::Halted { why },
            ) => {
                self.halt_undo();
                let reason = Reason::new("halted", format!("everything was paused: {why}"));
                self.needs_human(Stuck::Halted, reason);
            }
            (State::NeedsHuman { over }, Event::Resolved { by, resolution }) => {
                self.resolved(over, &by, resolution, at)?;
            }
            (
                State::Proposed | State::Asking | State::Approved | State::Waiting { .. },
                Event::Cancelled { by },
            ) => {
                let reason = Reason::new("cancelled", format!("cancelled by {by}"));
                self.end(Ending::Cancelled, reason);
            }
            (state, event) => return Err(late(state, &event)),
        }
        Ok(())
    }

    // ---- before anything runs ----------------------------------------------------------------

    fn first_gates(
        &mut self,
        report: &GateReport,
        trusted: bool,
        at: Timestamp,
        rights: Rights<'_>,
    ) {
        match (report.passage(), report.decisive()) {
            (Passage::Refuse, Some(check)) => self.end(Ending::Refused, check.reason.clone()),
            (Passage::Propose, Some(check)) => {
                self.end(Ending::Proposed, check.reason.clone());
            }
            // "Not now" is no reason not to ask already: the gates are checked again afterwards.
            _ => {
                let earned = rights.earned.filter(|_| trusted);
                let question = rights.policy.question(&self.run.plan, earned, at);
                self.run.question = Some(question);
                self.weigh(at, Rights { earned, ..rights });
                if self.run.state == State::Proposed {
                    self.run.state = State::Asking;
                    self.notice(NoticeKind::Question, "needs an approval");
                }
            }
        }
    }

    fn answered(&mut self, mut answer: Answer, at: Timestamp, rights: Rights<'_>) {
        // It cannot arrive after it is recorded: a channel whose clock is ahead lengthens no approval.
        // One that says itself that it is too late is.
        if self.run.question.as_ref().is_some_and(|question| answer.at < question.expires_at) {
            answer.at = answer.at.min(at);
        }
        self.run.answers.push(answer);
        self.weigh(at, rights);
    }

    /// Lets the policy rule, and drops answers that do not count.
    fn weigh(&mut self, at: Timestamp, rights: Rights<'_>) {
        let Some(decision) = self.run.ruling(rights.policy, rights.earned, at) else { return };
        for (index, reason) in decision.refused.iter().rev() {
            let refused = self.run.answers.remove(*index);
            self.remarks.push(reason.clone().with("by", refused.by).with("via", refused.via));
        }
        match decision.ruling {
            Ruling::Approved(approval) => {
                let sentence = match approval.by() {
                    [] => "nobody needs to be asked".to_owned(),
                    by => format!("approved by {}", by.join(", ")),
                };
                self.run.because.push(Reason::new("approved", sentence));
                self.run.state = State::Approved;
            }
            Ruling::Rejected { by, comment } => {
                let sentence = format!("rejected by {by}: {comment}");
                let sentence = sentence.trim_end_matches([' ', ':']).to_owned();
                self.end(Ending::Rejected, Reason::new("rejected", sentence).with("by", by));
            }
            Ruling::Expired => self.expire(at),
            Ruling::Waiting { have, need } => {
                let sentence = format!("{have} of {need} approvals");
                self.run
                    .because
                    .push(Reason::new("waiting", sentence).with("have", have).with("need", need));
            }
        }
    }

    fn question_is_over(&self, at: Timestamp) -> bool {
        self.run.question.as_ref().is_some_and(|q| at >= q.expires_at)
    }

    fn expire(&mut self, _at: Timestamp) {
        let reason = Reason::new("expired", "nobody answered in time");
        let approvals = &self.run.plan.runbook.document().safety.approvals;
        let escalate = approvals.on_timeout == OnTimeout::Escalate;
        self.end(Ending::Expired, reason);
        if escalate {
            self.notice(NoticeKind::NeedsHuman, "nobody answered; escalated");
        }
    }

    fn gates_again(&mut self, report: &GateReport, at: Timestamp, rights: Rights<'_>) {
        if self.run.approved(rights.policy, rights.earned, at).is_none() {
            return self.approval_expired();
        }
        match (report.passage(), report.decisive()) {
            (Passage::Refuse, Some(check)) => self.end(Ending::Refused, check.reason.clone()),
            (Passage::Propose, Some(check)) => self.end(Ending::Proposed, check.reason.clone()),
            (Passage::Wait, Some(check)) => self.wait(check.reason.clone(), at),
            _ => {} // open: the driver takes the lease
        }
    }

    fn claimed(&mut self, fence: u64, at: Timestamp, rights: Rights<'_>) {
        if self.run.approved(rights.policy, rights.earned, at).is_none() {
            return self.approval_expired();
        }
        self.run.fence = fence;
        self.run.started_at = Some(at);
        self.run.state = State::Baseline;
        self.notice(NoticeKind::Started, "started");
    }

    fn approval_expired(&mut self) {
        let reason = Reason::new("approval_expired", "the approval expired before it could run");
        self.end(Ending::Expired, reason);
    }

    fn wait(&mut self, reason: Reason, at: Timestamp) {
        self.run.because.push(reason);
        self.run.state = State::Waiting { until: at + WAIT };
    }

    // ---- steps -------------------------------------------------------------------------------

    /// Enters the first step from `from` on that is not skipped; after the last one, verifies.
    fn enter(&mut self, from: usize, at: Timestamp) {
        for step in from..self.run.steps.len() {
            let document = self.run.document_step(step);
            let unmet = document.needs.iter().find(|need| {
                let done = |s: &StepRun| s.id == **need && s.status == StepStatus::Succeeded;
                !self.run.steps.iter().any(done)
            });
            let condition = document.condition.clone();
            if unmet.is_some() {
                self.run.steps[step].status = StepStatus::Skipped;
                continue;
            }
            if let Some(condition) = condition {
                match condition.holds(&self.run.scope()) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.run.steps[step].status = StepStatus::Skipped;
                        continue;
                    }
                    Err(error) => {
                        return self.failed(step, StepError::not_started(error.to_string()), at);
                    }
                }
            }
            return self.start(step, at);
        }
        self.steps_are_done(at);
    }

    /// Fills the call in and lets the executor look.
    fn start(&mut self, step: usize, at: Timestamp) {
        let document = self.run.document_step(step);
        let (uses, timeout) = (document.uses.clone(), document.timeout);
        match template::render(&Value::Object(document.with.clone()), &self.run.scope()) {
            Ok(Value::Object(with)) => {
                let call = Call {
                    step: self.run.steps[step].id.clone(),
                    uses,
                    with,
                    targets: self.run.plan.targets.iter().map(str::to_owned).collect(),
                    timeout,
                };
                self.run.steps[step].call = Some(call);
                self.prepare(step);
            }
            Ok(_) => self.failed(step, StepError::not_started("`with` is not a map"), at),
            Err(error) => self.failed(step, StepError::not_started(error.to_string()), at),
        }
    }

    fn prepare(&mut self, step: usize) {
        self.run.steps[step].status = StepStatus::Active;
        self.run.steps[step].attempts += 1;
        self.run.state = State::Preparing { step };
    }

    fn prepared(&mut self, step: usize, preview: Preview, at: Timestamp) {
        self.run.steps[step].preview = Some(preview);
        if let Some(precheck) = self.run.document_step(step).precheck.clone() {
            let held = precheck.holds(&self.run.scope());
            let failure = match held {
                Ok(true) => None,
                Ok(false) => Some(format!("precheck `{precheck}` does not hold")),
                Err(error) => Some(error.to_string()),
            };
            if let Some(reason) = failure {
                // A precheck is a fact about now: trying again at once would ask the same.
                return self.fail_for_good(step, StepError::not_started(reason), at);
            }
        }
        self.run.state = State::Running { step };
    }

    fn failed(&mut self, step: usize, error: StepError, at: Timestamp) {
        let error = match (self.run.state, error) {
            // A look changes nothing, however it ends.
            (
                State::Preparing { .. },
                StepError::Failed { reason } | StepError::Unknown { reason },
            ) => StepError::NotStarted { reason },
            (_, error) => error,
        };
        if let StepError::Unknown { .. } = error {
            return self.unknown(step, error);
        }
        let document = self.run.document_step(step);
        let retry = document.retry;
        // What ran and failed is only repeated when repeating is harmless.
        let may_repeat =
            matches!(error, StepError::NotStarted { .. }) || self.run.is_repeatable(step);
        let attempts = self.run.steps[step].attempts;
        if may_repeat && (1..retry.attempts).contains(&attempts) {
            let doublings = 2_u32.saturating_pow(attempts - 1);
            let pause = retry.delay.saturating_mul(doublings).min(MAX_PAUSE);
            self.run.steps[step].error = Some(error);
            self.run.state = State::Pausing { step, until: at + pause };
            return;
        }
        self.fail_for_good(step, error, at);
    }

    fn fail_for_good(&mut self, step: usize, error: StepError, at: Timestamp) {
        let id = self.run.steps[step].id.clone();
        let reason = Reason::new("step_failed", format!("step {id} {error}")).with("step", id);
        self.run.steps[step].status = StepStatus::Failed;
        self.run.steps[step].error = Some(error);
        if self.run.document_step(step).continue_on_error {
            self.remarks.push(reason);
            return self.enter(step + 1, at);
        }
        self.closing = Some(Closing::Bad);
        self.act_on_failure(reason, at);
    }

    fn act_on_failure(&mut self, reason: Reason, at: Timestamp) {
        match self.run.plan.runbook.document().on_failure {
            OnFailure::Rollback => self.roll_back(reason, at),
            OnFailure::Stop => self.end(Ending::Failed, reason),
            OnFailure::Human => self.needs_human(Stuck::Failure, reason),
        }
    }

    fn unknown(&mut self, step: usize, error: StepError) {
        let document = self.run.document_step(step);
        let ask_person = document.on_unknown == OnUnknown::Human;
        let record = &mut self.run.steps[step];
        record.status = StepStatus::Unknown;
        record.unknowns += 1;
        let sentence = format!("the outcome of step {} is {error}", record.id);
        let reason = Reason::new("step_unknown", sentence).with("step", record.id.clone());
        record.error = Some(error);
        if ask_person {
            self.needs_human(Stuck::Step { step }, reason);
        } else {
            self.run.because.push(reason);
            self.run.state = State::Unknown { step };
        }
    }

    fn probed(&mut self, step: usize, probe: Probe, at: Timestamp) {
        let id = self.run.steps[step].id.clone();
        let may_try = self.run.steps[step].unknowns < MAX_UNKNOWN;
        match probe {
            Probe::Done { output } => self.done(step, output, at),
            Probe::NotDone if may_try => self.again(step),
            Probe::CannotTell { .. } if may_try && self.run.is_repeatable(step) => self.again(step),
            Probe::NotDone => {
                let sentence = format!("step {id} was lost {MAX_UNKNOWN} times");
                self.needs_human(Stuck::Step { step }, Reason::new("step_lost", sentence));
            }
            Probe::CannotTell { reason } => {
                let sentence = format!("nobody can tell whether step {id} happened: {reason}");
                let reason = Reason::new("step_unknown", sentence).with("step", id);
                self.needs_human(Stuck::Step { step }, reason);
            }
        }
    }

    /// Runs the step again. The call and what was there before it stay: the key stays the same.
    fn again(&mut self, step: usize) {
        self.run.steps[step].status = StepStatus::Active;
        self.run.steps[step].attempts += 1;
        self.run.state = State::Running { step };
    }

    fn done(&mut self, step: usize, output: Output, at: Timestamp) {
        let wanted = self.run.document_step(step).outputs.clone();
        let mut missing = None;
        for (name, pointer) in wanted {
            match output.value.pointer(&pointer) {
                Some(value) => {
                    self.run.steps[step].outputs.insert(name, value.clone());
                }
                None => missing = Some(format!("its output has no {pointer}")),
            }
        }
        self.run.steps[step].output = Some(output);
        if let Some(reason) = missing {
            // It ran: what it did is undone with the rest.
            return self.fail_for_good(step, StepError::failed(reason), at);
        }
        self.run.steps[step].status = StepStatus::Succeeded;
        self.run.steps[step].error = None;
        self.enter(step + 1, at);
    }

    // ---- verification --------------------------------------------------------------------------

    fn steps_are_done(&mut self, at: Timestamp) {
        let document = self.run.plan.runbook.document();
        if let Some(verify) = &document.verify {
            self.run.state = State::Verifying { at: at + verify.settle };
            return;
        }
        if document.steps.iter().all(|step| step.effect == Effect::Read) {
            let reason = Reason::new("completed", "everything was read, nothing was changed");
            return self.end(Ending::Completed, reason);
        }
        self.run.outcome = Some(Outcome::Inconclusive);
        let reason = Reason::new("unverified", "the runbook does not say how to verify it");
        self.needs_human(Stuck::Verdict, reason);
    }

    fn measured(&mut self, values: crate::verify::Values, at: Timestamp) {
        let Some(verify) = self.run.plan.runbook.document().verify.clone() else {
            return self.steps_are_done(at);
        };
        let plan = self.run.plan.clone();
        let outcome = self.run.progress.record(&verify, &plan, at, values);
        let last = self.run.progress.taken.last().map(|m| m.reason.clone());
        let reason = last.unwrap_or_else(|| Reason::new("no_data", "nothing was measured"));
        self.run.outcome = outcome;
        match outcome {
            None => {
                self.run.because.push(reason);
                self.run.state = State::Verifying { at: at + verify.interval };
            }
            Some(Outcome::Ok) => self.end(Ending::Succeeded, reason),
            Some(Outcome::Worse) => {
                self.closing = Some(Closing::Worse);
                self.act_on_failure(reason, at);
            }
            Some(_) => self.needs_human(Stuck::Verdict, reason),
        }
    }

    // ---- people and crashes --------------------------------------------------------------------

    fn resolved(
        &mut self,
        over: Stuck,
        by: &str,
        resolution: Resolution,
        at: Timestamp,
    ) -> Result<(), Late> {
        let reason = Reason::new("resolved", format!("{by} decided")).with("by", by);
        match (over, resolution) {
            (Stuck::Step { step }, Resolution::Happened) => {
                self.run.because.push(reason);
                self.done(step, Output::default(), at);
            }
            (Stuck::Step { step }, Resolution::DidNotHappen) => {
                self.run.because.push(reason);
                self.run.steps[step].unknowns = 0;
                self.run.steps[step].status = StepStatus::Active;
                self.run.state = State::Pausing { step, until: at };
            }
            (_, Resolution::RollBack) => {
                self.retry_failed_undos();
                self.roll_back(reason, at);
            }
            (_, Resolution::CloseAsFixed) => self.end(Ending::ClosedByPerson, reason),
            (_, Resolution::CloseAsBad) => {
                self.closing = Some(Closing::Bad);
                self.end(Ending::ClosedByPerson, reason);
            }
            (_, Resolution::Happened | Resolution::DidNotHappen) => {
                let reason = "no step is in question; roll back, or close the run".to_owned();
                return Err(Late { reason });
            }
        }
        // Whoever heard the person records the decision; the driver begins what follows from it.
        self.undo_is_not_begun(at);
        Ok(())
    }

    /// What was under way when the last engine stopped may or may not have happened.
    fn taken_over(&mut self, fence: u64, _at: Timestamp) {
        self.run.fence = fence;
        let lost = || StepError::unknown("the engine stopped while it ran");
        match self.run.state {
            State::Running { step } => self.unknown(step, lost()),
            State::Undoing { step } => {
                self.run.steps[step].error = Some(lost());
                self.run.state = State::UndoUnknown { step };
            }
            _ => {}
        }
        self.run.because.retain(|reason| reason.code != "taken_over");
        let sentence = format!("taken over with fencing token {fence}");
        self.run.because.push(Reason::new("taken_over", sentence).with("fence", fence));
    }

    // ---- ends ----------------------------------------------------------------------------------

    pub(super) fn needs_human(&mut self, over: Stuck, reason: Reason) {
        self.run.because.push(reason);
        self.run.state = State::NeedsHuman { over };
        self.closing.get_or_insert(Closing::Bad);
        self.notice(NoticeKind::NeedsHuman, "needs a person");
    }

    pub(super) fn end(&mut self, ending: Ending, reason: Reason) {
        self.run.because.push(reason);
        self.run.state = State::Ended { ending };
        let (kind, what) = match ending {
            Ending::Succeeded => (NoticeKind::Succeeded, "helped"),
            Ending::Completed => (NoticeKind::Succeeded, "is done"),
            Ending::Proposed => (NoticeKind::Proposal, "is proposed, not run"),
            Ending::Refused => (NoticeKind::Refused, "was refused"),
            Ending::Rejected => (NoticeKind::Ended, "was rejected"),
            Ending::Expired => (NoticeKind::Ended, "expired"),
            Ending::Cancelled => (NoticeKind::Ended, "was cancelled"),
            Ending::Failed => (NoticeKind::NeedsHuman, "failed and was left as it is"),
            Ending::RolledBack => (NoticeKind::NeedsHuman, "was rolled back"),
            Ending::ClosedByPerson => (NoticeKind::Ended, "was closed by a person"),
        };
        self.closing.get_or_insert(Closing::Good);
        self.notice(kind, what);
    }

    pub(super) fn notice(&mut self, kind: NoticeKind, what: &str) {
        let document = self.run.plan.runbook.document();
        let targets: Vec<&str> = self.run.plan.targets.iter().collect();
        let title = format!("{} on {} {what}", document.title, targets.join(", "));
        self.notices.push(Notice { kind, title, because: self.run.because.clone() });
    }
}

fn late(state: State, event: &Event) -> Late {
    let state = match state {
        State::Ended { ending } => format!("the run has ended ({ending:?})"),
        state => format!("the run is {state:?}"),
    };
    Late { reason: format!("{state}; `{}` changes nothing", event.name()) }
}
