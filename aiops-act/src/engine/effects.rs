//! What is done between two commits: the only calls that touch the world.

use std::time::Duration;

use serde_json::Value;

use super::drive::Came;
use super::{Engine, Phase};
use crate::error::{Error, Result};
use crate::executor::{Call, Clip, Output, Permit, Preview, Probe, StepError};
use crate::journal::Loaded;
use crate::machine::{Do, Event, Run};
use crate::runbook::UNDO_BY_EXECUTOR;
use crate::secret::{self, Redactor, Secret};
use crate::timer::WaitFor;
use crate::verify::{self, Values};

/// How long a look or a probe may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

impl Engine {
    /// Performs what is due and returns what came of it.
    pub(super) async fn perform(&self, loaded: &mut Loaded, due: Do) -> Result<Came> {
        let event = match due {
            Do::Baseline => Event::Baselined { values: self.measure(&loaded.run).await },
            Do::Prepare { step } => match self.look(&loaded.run, step).await {
                Ok(preview) => Event::Prepared { step, preview },
                Err(error) => Event::Failed { step, error },
            },
            Do::Run { step } => match self.touch(loaded, step, false).await? {
                Ok(output) => Event::Done { step, output },
                Err(error) => Event::Failed { step, error },
            },
            Do::Undo { step } => match self.halted().await? {
                Some(why) => Event::Halted { why },
                None => match self.touch(loaded, step, true).await? {
                    Ok(_) => Event::Undone { step },
                    Err(error) => Event::UndoFailed { step, error },
                },
            },
            Do::Probe { step } => {
                let probe = self.probe(&loaded.run, step, false).await;
                Event::Probed { step, probe }
            }
            Do::ProbeUndo { step } => {
                let probe = self.probe(&loaded.run, step, true).await;
                Event::Probed { step, probe }
            }
            Do::Measure { at } => {
                if at > self.0.clock.now() {
                    return self.pause_until_measurement(loaded, at).await;
                }
                Event::Measured { values: self.measure(&loaded.run).await }
            }
            // The loop does these itself.
            Do::CheckGates | Do::Ask { .. } | Do::Wait { .. } | Do::AwaitPerson | Do::Nothing => {
                return Ok(Came::LookAgain);
            }
        };
        Ok(Came::Event(event))
    }

    async fn halted(&self) -> Result<Option<String>> {
        self.blocking(|journal| journal.paused()).await
    }

    async fn pause_until_measurement(
        &self,
        loaded: &mut Loaded,
        at: aiops_core::Timestamp,
    ) -> Result<Came> {
        let renew = self.0.config.lease_ttl / 3;
        tokio::select! {
            biased;
            () = self.until(Phase::Closing) => {}
            () = self.0.clock.sleep_until(at, WaitFor::Time) => {}
            () = tokio::time::sleep(renew) => self.renew_if_due(loaded).await?,
        }
        Ok(Came::LookAgain)
    }

    async fn measure(&self, run: &Run) -> Values {
        let at = self.0.clock.now();
        let mut values = Values::new();
        // A query without a value is missing data, which verification never takes for ok.
        let Ok(queries) = verify::queries(&run.plan) else { return values };
        for (name, query) in queries {
            let read = tokio::time::timeout(LOOK_TIMEOUT, self.0.metrics.read(&query, at)).await;
            values.insert(name, read.ok().flatten().filter(|v| v.is_finite()));
        }
        values
    }

    /// Lets the executor look. In a task of its own, so that a panic is its own too.
    async fn look(&self, run: &Run, step: usize) -> Result<Preview, StepError> {
        let call = call_of(run, step, false)?;
        let executor = self.executor_of(&call)?;
        let redactor = self.redactor(run, &call);
        let look = tokio::spawn(async move { executor.plan(&call).await });
        let _cut = CutOff(look.abort_handle());
        match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(preview)) => preview
                .map(|p| Preview {
                    summary: redactor.text(&p.summary),
                    before: redactor.value(p.before),
                })
                .map_err(|e| redacted_error(e, &redactor)),
            Ok(Err(_)) => Err(StepError::not_started("the executor panicked while it looked")),
            Err(_) => Err(StepError::not_started("the executor took too long to look")),
        }
    }

    async fn probe(&self, run: &Run, step: usize, undo: bool) -> Probe {
        let cannot = |reason: &str| Probe::CannotTell { reason: reason.to_owned() };
        let Ok(call) = call_of(run, step, undo) else { return cannot("there was no call") };
        let Ok(executor) = self.executor_of(&call) else { return cannot("its executor is gone") };
        let key = if undo { run.undo_key(step) } else { run.key(step) };
        let redactor = self.redactor(run, &call);
        let probe = tokio::spawn(async move { executor.probe(&call, key).await });
        let _cut = CutOff(probe.abort_handle());
        match tokio::time::timeout(LOOK_TIMEOUT, probe).await {
            Ok(Ok(Probe::Done { output })) => Probe::Done { output: redacted(output, &redactor) },
            Ok(Ok(Probe::CannotTell { reason })) => cannot(&redactor.text(&reason)),
            Ok(Ok(probe)) => probe,
            Ok(Err(_)) => cannot("the executor panicked"),
            Err(_) => cannot("the executor did not answer"),
        }
    }

    /// Runs a step or its undo: the one place where the world is changed. Its intent is durable, it
    /// has a permit, and while it runs the lease is kept alive.
    ///
    /// The outer error means that the run is not ours any more, or cannot be written: the effect was
    /// cancelled, and whoever drives the run next treats it as unknown.
    async fn touch(
        &self,
        loaded: &mut Loaded,
        step: usize,
        undo: bool,
    ) -> Result<Result<Output, StepError>> {
        let run = &loaded.run;
        let now = self.0.clock.now();
        let mut earned = None;
        if run.question.as_ref().is_some_and(|question| question.earned) {
            let (book, _) = self.blocking(|journal| journal.book()).await?;
            earned = self.earned(&run.plan, &book);
        }
        let Some(approved) = run.approved(&self.0.config.approval, earned.as_ref(), now) else {
            return Ok(Err(StepError::not_started(
                "the policy does not approve the plan any more",
            )));
        };
        let key = if undo { run.undo_key(step) } else { run.key(step) };
        let permit = Permit::new(&approved, key, run.fence);
        let (call, executor) = match call_of(run, step, undo)
            .and_then(|call| self.executor_of(&call).map(|executor| (call, executor)))
        {
            Ok(both) => both,
            Err(error) => return Ok(Err(error)),
        };
        let timeout = call.timeout;
        let redactor = self.redactor(run, &call);
        let restore = restores_itself(run, step, undo);
        let mut task = tokio::spawn(async move {
            match restore {
                Some(before) => executor.undo(&call, &before, &permit).await,
                None => executor.run(&call, &permit).await,
            }
        });
        let _cut = CutOff(task.abort_handle());
        let deadline = tokio::time::sleep(timeout);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                ended = &mut task => {
                    return Ok(match ended {
                        Ok(result) => result
                            .map(|output| redacted(output, &redactor))
                            .map_err(|error| redacted_error(error, &redactor)),
                        // Not the panic's text: it may hold anything.
                        Err(_) => Err(StepError::unknown("the executor panicked")),
                    });
                }
                () = self.until(Phase::Cut) => {
                    return Ok(Err(StepError::unknown("the engine was shut down while it ran")));
                }
                () = &mut deadline => {
                    let reason = format!("no answer within {} s", timeout.as_secs_f64());
                    return Ok(Err(StepError::unknown(reason)));
                }
                () = tokio::time::sleep(self.0.config.lease_ttl / 3) => {
                    let (id, revision) = (loaded.run.plan.run, loaded.run.revision);
                    let renewed = self.renew_if_due(loaded).await;
                    // Whoever went on with the run meanwhile took this effect for unknown.
                    let moved = loaded.run.revision != revision;
                    renewed?;
                    if moved {
                        return Err(Error::NotOurs(id));
                    }
                }
            }
        }
    }

    /// Knows the values of all secrets that the run refers to.
    fn redactor(&self, run: &Run, call: &Call) -> Redactor {
        let mut names = Vec::new();
        secret::references(&Value::Object(run.plan.params.clone()), &mut names);
        secret::references(&Value::Object(call.with.clone()), &mut names);
        let secrets: Vec<Secret> =
            names.iter().filter_map(|name| self.0.secrets.secret(name)).collect();
        Redactor::new(&secrets)
    }

    fn executor_of(
        &self,
        call: &Call,
    ) -> Result<std::sync::Arc<dyn crate::executor::StepExecutor>, StepError> {
        self.require_executor(&call.uses).map_err(|e: Error| StepError::not_started(e.to_string()))
    }
}

/// Ends a task with the scope that waits for it, however that ends: a driver that is dropped leaves no
/// effect running behind its back.
struct CutOff(tokio::task::AbortHandle);

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn redacted(output: Output, redactor: &Redactor) -> Output {
    let log = output.log.map(|clip| Clip {
        head: redactor.text(&clip.head),
        tail: redactor.text(&clip.tail),
        ..clip
    });
    Output { value: redactor.value(output.value), log }.bounded()
}

fn redacted_error(error: StepError, redactor: &Redactor) -> StepError {
    match error {
        StepError::NotStarted { reason } => StepError::not_started(shown(&reason, redactor)),
        StepError::Failed { reason } => StepError::failed(shown(&reason, redactor)),
        StepError::Unknown { reason } => StepError::unknown(shown(&reason, redactor)),
    }
}

/// A reason without secrets, and not longer than people read.
fn shown(reason: &str, redactor: &Redactor) -> String {
    const MOST: usize = 2_000;
    let text = redactor.text(reason);
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

fn call_of(run: &Run, step: usize, undo: bool) -> Result<Call, StepError> {
    let record = &run.steps[step];
    let call = if undo { &record.undo_call } else { &record.call };
    call.clone().ok_or_else(|| StepError::not_started("there is no call"))
}

/// What the step's executor found before, when the undo is to restore just that.
fn restores_itself(run: &Run, step: usize, undo: bool) -> Option<Value> {
    let document = &run.plan.runbook.document().steps[step];
    let by_executor = document.undo.as_ref().is_some_and(|u| u.uses == UNDO_BY_EXECUTOR);
    let before = || run.steps[step].preview.as_ref().map_or(Value::Null, |p| p.before.clone());
    (undo && by_executor).then(before)
}
