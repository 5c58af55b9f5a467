//! Steps that touch no other system: a wait, and work for a person.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{BoxFuture, Call, Output, Permit, Preview, Probe, StepError, StepExecutor};
use crate::canonical::Digest;
use crate::runbook::{Risk, duration};

/// `uses: wait`, `with: {for: 30s}`: a pause in real time. The step's `timeout` must be longer.
#[derive(Debug, Clone, Copy, Default)]
pub struct WaitExecutor;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitWith {
    #[serde(rename = "for", with = "duration")]
    pause: Duration,
}

fn read<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, StepError> {
    serde_json::from_value(Value::Object(call.with.clone()))
        .map_err(|e| StepError::not_started(format!("`with`: {e}")))
}

fn wait_for(call: &Call) -> Result<Duration, StepError> {
    let with: WaitWith = read(call)?;
    if with.pause < call.timeout {
        return Ok(with.pause);
    }
    let (pause, timeout) = (duration::format(with.pause), duration::format(call.timeout));
    Err(StepError::not_started(format!("a wait of {pause} does not fit the timeout of {timeout}")))
}

fn no_undo<'a>(what: &str) -> BoxFuture<'a, Result<Output, StepError>> {
    let error = StepError::not_started(format!("{what} has nothing to undo"));
    Box::pin(std::future::ready(Err(error)))
}

impl StepExecutor for WaitExecutor {
    fn name(&self) -> &str {
        "wait"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn risk_floor(&self, _: &Call) -> Risk {
        Risk::ReadOnly
    }

    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        let preview = wait_for(call).map(|pause| Preview {
            summary: format!("wait {}", duration::format(pause)),
            before: Value::Null,
        });
        Box::pin(std::future::ready(preview))
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(async move {
            tokio::time::sleep(wait_for(call)?).await;
            Ok(Output::default())
        })
    }

    fn probe<'a>(&'a self, _: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        let reason = "nobody knows how long it has waited".to_owned();
        Box::pin(std::future::ready(Probe::CannotTell { reason }))
    }

    fn undo<'a>(
        &'a self,
        _: &'a Call,
        _: &'a Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        no_undo("a wait")
    }
}

/// `uses: manual`, `with: {ask: "Replace the disk in slot 3"}`: something that only a person does.
///
/// The step's outcome is unknown until the person says what happened: the run stops and pages, and
/// [`Engine::resolve`](crate::Engine::resolve) goes on with `happened` or rolls back.
#[derive(Debug, Clone, Copy, Default)]
pub struct ManualExecutor;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManualWith {
    ask: String,
}

impl StepExecutor for ManualExecutor {
    fn name(&self) -> &str {
        "manual"
    }

    fn version(&self) -> &str {
        "1"
    }

    fn risk_floor(&self, _: &Call) -> Risk {
        // A person weighs the risk of what they do.
        Risk::ReadOnly
    }

    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        let preview = read(call).map(|with: ManualWith| Preview {
            summary: format!("ask a person: {}", with.ask),
            before: Value::Null,
        });
        Box::pin(std::future::ready(preview))
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        let asked = read(call).and_then(|with: ManualWith| Err(StepError::unknown(with.ask)));
        Box::pin(std::future::ready(asked))
    }

    fn probe<'a>(&'a self, _: &'a Call, _: Digest) -> BoxFuture<'a, Probe> {
        let reason = "only the person who does it can tell".to_owned();
        Box::pin(std::future::ready(Probe::CannotTell { reason }))
    }

    fn undo<'a>(
        &'a self,
        _: &'a Call,
        _: &'a Value,
        _: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        no_undo("work of a person")
    }
}
