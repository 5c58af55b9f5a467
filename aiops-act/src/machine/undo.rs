//! Rollback: a saga of undos in reverse order, each journaled like a step.
//!
//! When an undo fails, the others that do not rest on it still run; then a person is needed, and the
//! targets stay taken.

use std::time::Duration;

use aiops_core::{Reason, Timestamp};
use serde_json::Value;

use super::{Ending, MAX_UNKNOWN, NoticeKind, State, StepStatus, Stuck, Transition, UndoStatus};
use crate::book::Closing;
use crate::executor::{Call, Probe, StepError};
use crate::runbook::template;
use crate::runbook::{Idempotent, UNDO_BY_EXECUTOR, UNDO_NOTHING};

/// Attempts at an undo that failed for certain and may be repeated.
const MAX_ATTEMPTS: u32 = 3;
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_secs(2);

impl Transition {
    pub(super) fn roll_back(&mut self, reason: Reason, at: Timestamp) {
        self.run.because.push(reason);
        if self.next_to_undo().is_some() {
            self.notice(NoticeKind::RollingBack, "is rolled back");
        }
        self.undo_next(at);
    }

    /// The last step that may have changed something and whose undo was not tried.
    fn next_to_undo(&self) -> Option<usize> {
        (0..self.run.steps.len()).rev().find(|&step| {
            let record = &self.run.steps[step];
            let document = self.run.document_step(step);
            let has_undo = document.undo.as_ref().is_some_and(|u| u.uses != UNDO_NOTHING);
            let touched = match record.status {
                StepStatus::Succeeded | StepStatus::Unknown => true,
                // Failed, or stopped before another attempt: the last attempt may have left traces.
                // A tolerated failure is not undone; see the document's `continue_on_error`.
                StepStatus::Failed | StepStatus::Active => {
                    let started =
                        !matches!(record.error, Some(StepError::NotStarted { .. }) | None);
                    started && !document.continue_on_error
                }
                StepStatus::Pending | StepStatus::Skipped => false,
            };
            has_undo && touched && record.undo == UndoStatus::Pending
        })
    }

    fn undo_next(&mut self, at: Timestamp) {
        while let Some(step) = self.next_to_undo() {
            if self.rests_on_a_failed_undo(step) {
                self.run.steps[step].undo = UndoStatus::Blocked;
                continue;
            }
            match self.undo_call(step) {
                Ok(call) => {
                    self.run.steps[step].undo_call = Some(call);
                    return self.begin_undo_of(step, at);
                }
                Err(reason) => {
                    self.run.steps[step].undo = UndoStatus::Failed;
                    self.run.because.push(Reason::new("undo_failed", reason));
                }
            }
        }
        let stuck = self
            .run
            .steps
            .iter()
            .find(|s| matches!(s.undo, UndoStatus::Failed | UndoStatus::Blocked));
        match stuck.map(|s| s.id.clone()) {
            Some(id) => {
                self.closing = Some(Closing::Worse);
                let sentence = format!("step {id} could not be undone");
                let reason = Reason::new("rollback_failed", sentence).with("step", id);
                self.needs_human(Stuck::Rollback, reason);
            }
            None => {
                // A rollback that worked is still not what anybody wanted.
                self.closing.get_or_insert(Closing::Bad);
                let reason = Reason::new("rolled_back", "what was done was undone");
                self.end(Ending::RolledBack, reason);
            }
        }
    }

    /// Whether a later step that needs `step`, directly or not, is still in effect.
    fn rests_on_a_failed_undo(&self, step: usize) -> bool {
        let mut resting = vec![self.run.steps[step].id.as_str()];
        for later in step + 1..self.run.steps.len() {
            let needs = &self.run.document_step(later).needs;
            if !needs.iter().any(|need| resting.contains(&need.as_str())) {
                continue;
            }
            let record = &self.run.steps[later];
            if matches!(record.undo, UndoStatus::Failed | UndoStatus::Blocked) {
                return true;
            }
            resting.push(&record.id);
        }
        false
    }

    fn undo_call(&self, step: usize) -> Result<Call, String> {
        let record = &self.run.steps[step];
        let (Some(undo), Some(call)) = (&self.run.document_step(step).undo, &record.call) else {
            return Err(format!("step {} has nothing to undo", record.id));
        };
        if undo.uses == UNDO_BY_EXECUTOR {
            return Ok(Call { timeout: undo.timeout, ..call.clone() });
        }
        let before = record.preview.as_ref().map_or(Value::Null, |p| p.before.clone());
        let scope = self.run.scope().with("before", before);
        match template::render(&Value::Object(undo.with.clone()), &scope) {
            Ok(Value::Object(with)) => Ok(Call {
                step: format!("{}/undo", record.id),
                uses: undo.uses.clone(),
                with,
                targets: call.targets.clone(),
                timeout: undo.timeout,
            }),
            Ok(_) => Err(format!("the undo of step {} is not a map", record.id)),
            Err(error) => Err(format!("the undo of step {} has no value: {error}", record.id)),
        }
    }

    pub(super) fn begin_undo_of(&mut self, step: usize, _at: Timestamp) {
        self.run.steps[step].undo = UndoStatus::Active;
        self.run.steps[step].undo_attempts += 1;
        self.run.state = State::Undoing { step };
    }

    /// An undo that is due and that nobody has begun.
    pub(super) fn undo_is_not_begun(&mut self, at: Timestamp) {
        if let State::Undoing { step } = self.run.state {
            self.run.steps[step].undo_attempts -= 1;
            self.run.state = State::UndoPausing { step, until: at };
        }
    }

    pub(super) fn undone(&mut self, step: usize, at: Timestamp) {
        self.run.steps[step].undo = UndoStatus::Done;
        self.undo_next(at);
    }

    fn undo_is_repeatable(&self, step: usize) -> bool {
        let undo = &self.run.document_step(step).undo;
        undo.as_ref().is_some_and(|u| u.idempotent != Idempotent::No)
    }

    pub(super) fn undo_failed(&mut self, step: usize, error: StepError, at: Timestamp) {
        let id = self.run.steps[step].id.clone();
        let sentence = format!("undo of step {id} {error}");
        let reason = Reason::new("undo_failed", sentence).with("step", id);
        let tries_left = self.run.steps[step].undo_attempts < MAX_ATTEMPTS;
        let not_started = matches!(error, StepError::NotStarted { .. });
        let unknown = matches!(error, StepError::Unknown { .. });
        self.run.steps[step].error = Some(error);
        self.run.because.push(reason);
        if unknown {
            self.run.state = State::UndoUnknown { step };
        } else if tries_left && (not_started || self.undo_is_repeatable(step)) {
            self.run.state = State::UndoPausing { step, until: at + PAUSE };
        } else {
            self.run.steps[step].undo = UndoStatus::Failed;
            self.undo_next(at);
        }
    }

    pub(super) fn undo_probed(&mut self, step: usize, probe: Probe, at: Timestamp) {
        let tries_left = self.run.steps[step].undo_attempts < MAX_UNKNOWN;
        match probe {
            Probe::Done { .. } => self.undone(step, at),
            Probe::NotDone if tries_left => self.begin_undo_of(step, at),
            Probe::CannotTell { .. } if tries_left && self.undo_is_repeatable(step) => {
                self.begin_undo_of(step, at);
            }
            Probe::NotDone | Probe::CannotTell { .. } => {
                let id = self.run.steps[step].id.clone();
                let sentence = format!("nobody can tell whether step {id} was undone");
                self.run.because.push(Reason::new("undo_unknown", sentence).with("step", id));
                self.run.steps[step].undo = UndoStatus::Failed;
                self.undo_next(at);
            }
        }
    }

    /// The kill switch was found pressed before the undo began: it is still to be done.
    pub(super) fn halt_undo(&mut self) {
        for record in &mut self.run.steps {
            if record.undo == UndoStatus::Active {
                record.undo = UndoStatus::Pending;
            }
        }
    }

    /// A person asked for another try.
    pub(super) fn retry_failed_undos(&mut self) {
        for record in &mut self.run.steps {
            if record.undo != UndoStatus::Done {
                record.undo = UndoStatus::Pending;
                record.undo_attempts = 0;
            }
        }
    }
}
