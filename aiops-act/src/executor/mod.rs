//! Executors: what touches the world, behind one trait.

#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
#[cfg(feature = "kubernetes")]
#[cfg_attr(docsrs, doc(cfg(feature = "kubernetes")))]
pub mod kubernetes;
mod output;
#[cfg(feature = "process")]
#[cfg_attr(docsrs, doc(cfg(feature = "process")))]
pub mod process;
pub mod scripted;
mod simple;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use output::{Clip, Clipper, MAX_OUTPUT, Output};
pub use simple::{ManualExecutor, WaitExecutor};

use crate::approve::Approved;
use crate::canonical::Digest;
use crate::plan::{Plan, RunId};
use crate::runbook::Risk;

/// A boxed future: what an object-safe async method returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One call of a step, with every template filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The step's id; of an undo that is a call of its own, followed by `/undo`.
    pub step: String,
    /// The executor it names.
    pub uses: String,
    /// What it is given. Secrets are still references.
    pub with: Map<String, Value>,
    /// What the plan acts on.
    pub targets: Vec<String>,
    /// How long it may take.
    #[serde(with = "crate::runbook::duration")]
    pub timeout: Duration,
}

/// Leave to have one effect: only the engine makes one, for a call of an approved plan whose intent
/// is durable.
///
/// [`StepExecutor::plan`] and [`StepExecutor::probe`] take none, and so cannot be confused with what
/// changes the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    run: RunId,
    key: Digest,
    fence: u64,
}

impl Permit {
    pub(crate) fn new(plan: &Approved<Plan>, key: Digest, fence: u64) -> Permit {
        Permit { run: plan.get().run, key, fence }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn for_tests(run: RunId, key: Digest, fence: u64) -> Permit {
        Permit { run, key, fence }
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The idempotency key: the same for every attempt at this step of this run, another for its
    /// undo. Hand it to the other side where that takes one.
    #[must_use]
    pub fn key(&self) -> Digest {
        self.key
    }

    /// The fencing token: larger for whoever took over later. Hand it to the other side where that
    /// can refuse older ones.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }
}

/// What a call would do, found out without doing it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Preview {
    /// One line for people: what would happen.
    pub summary: String,
    /// What is there now, enough to restore it. Journaled before the effect, and what `undo` gets.
    #[serde(default)]
    pub before: Value,
}

/// Why a call did not succeed; the three differ in what may be done next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepError {
    /// Nothing was started. It may be tried again.
    #[error("not started: {reason}")]
    NotStarted {
        /// Why.
        reason: String,
    },
    /// It ran and failed, for certain; it may have left traces, so it is undone with the rest. Only
    /// an idempotent step is tried again.
    #[error("failed: {reason}")]
    Failed {
        /// Why.
        reason: String,
    },
    /// It may or may not have happened: the connection broke, the answer made no sense, the time
    /// was up. It is probed, never blindly repeated.
    #[error("unknown: {reason}")]
    Unknown {
        /// Why nobody knows.
        reason: String,
    },
}

impl StepError {
    /// Nothing was started.
    pub fn not_started(reason: impl Into<String>) -> StepError {
        StepError::NotStarted { reason: reason.into() }
    }

    /// It ran and failed.
    pub fn failed(reason: impl Into<String>) -> StepError {
        StepError::Failed { reason: reason.into() }
    }

    /// Nobody knows.
    pub fn unknown(reason: impl Into<String>) -> StepError {
        StepError::Unknown { reason: reason.into() }
    }
}

/// What a probe found out about a call whose outcome is unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Probe {
    /// It happened; this is what it gave.
    Done {
        /// Its output, as far as it can still be had.
        output: Output,
    },
    /// It did not happen, and no late copy of it is under way.
    NotDone,
    /// There is no way to tell.
    CannotTell {
        /// Why.
        reason: String,
    },
}

/// Does steps.
///
/// # For implementers
/// - `plan` and `probe` change nothing. They are called in dry runs.
/// - `run` may be cancelled by dropping its future: at the timeout, at shutdown, when a lease is
///   lost. After a drop, no effect may begin any more; what is under way counts as unknown.
/// - `run` with a key that already succeeded must not do it twice if the step is declared
///   `idempotent: key`.
/// - Tell the three [`StepError`]s apart honestly. When in doubt it is `Unknown`: `NotStarted` is a
///   promise that a second call is harmless.
/// - An output or error text may contain what the other side sent; the engine clips and redacts it.
/// - A panic is caught by the engine and counts as unknown.
///
/// Wrong: a timed-out request reported as failed. The other side may still be working on it, and a
/// retry would do it twice.
/// ```ignore
/// Err(e) if e.is_timeout() => Err(StepError::failed("timed out")),   // wrong
/// Err(e) if e.is_timeout() => Err(StepError::unknown("timed out")),  // right
/// Err(e) if e.is_connect() => Err(StepError::not_started("refused")),// right: nothing was sent
/// ```
///
/// `testing::check_executor` judges an implementation (feature `testing`).
pub trait StepExecutor: Send + Sync {
    /// What a runbook's `uses` says.
    fn name(&self) -> &str;

    /// Changes when its behaviour does; trust that was earned with one version does not carry over.
    fn version(&self) -> &str;

    /// The least tier that a plan with this call has, whatever its document says.
    fn risk_floor(&self, call: &Call) -> Risk;

    /// Checks the call and looks at what is there now, without changing anything.
    ///
    /// # Errors
    /// [`StepError::NotStarted`] when the call makes no sense or would be refused.
    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>>;

    /// Does it.
    ///
    /// # Errors
    /// See [`StepError`].
    fn run<'a>(
        &'a self,
        call: &'a Call,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>>;

    /// Finds out whether the call with this key happened, without changing anything.
    fn probe<'a>(&'a self, call: &'a Call, key: Digest) -> BoxFuture<'a, Probe>;

    /// Restores what `plan` found before the call (`undo: {uses: self}`).
    ///
    /// # Errors
    /// See [`StepError`]; an executor without an undo of its own answers `NotStarted`.
    fn undo<'a>(
        &'a self,
        call: &'a Call,
        before: &'a Value,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>>;
}
