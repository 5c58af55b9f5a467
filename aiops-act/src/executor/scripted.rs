//! A scripted executor: does nothing, answers as told, and remembers what it was asked to do.
//!
//! For tests, for replays of recorded incidents, and for dry runs that walk a whole runbook.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value, json};

use super::{BoxFuture, Call, Output, Permit, Preview, Probe, StepError, StepExecutor};
use crate::canonical::Digest;
use crate::runbook::{Library, Risk, UNDO_BY_EXECUTOR};

/// What was asked of a [`Scripted`] executor.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// `plan`, `run`, `probe` or `undo`.
    pub method: &'static str,
    /// The step.
    pub step: String,
    /// What it was given.
    pub with: Map<String, Value>,
    /// The idempotency key; of a look there is none.
    pub key: Option<Digest>,
    /// The fencing token, where there was a permit.
    pub fence: Option<u64>,
}

/// One scripted reaction to a call of `run` or `undo`.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// It works and gives this value.
    Gives(Value),
    /// It ends so.
    Fails(StepError),
    /// The effect happens, and then the answer is lost.
    HappensThenUnknown(Value),
    /// It panics, as broken code does.
    Panics,
    /// It never ends.
    Hangs,
}

#[derive(Default)]
struct Script {
    /// Reactions by step and method, used up in order; afterwards the step's standing value.
    next: BTreeMap<(String, &'static str), VecDeque<Reaction>>,
    standing: BTreeMap<String, Value>,
    before: BTreeMap<String, Value>,
    /// Effects that happened, by key.
    happened: BTreeMap<Digest, Value>,
    asked: Vec<Asked>,
}

/// An executor without effects that answers as told. Clones share their script and memory.
///
/// Without a script every call succeeds with `null`. It remembers which keys took effect, so that
/// `probe` tells the truth, unless [`Scripted::cannot_probe`].
#[derive(Clone)]
pub struct Scripted {
    name: String,
    risk: Risk,
    can_probe: bool,
    script: Arc<Mutex<Script>>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Scripted {
    /// An executor that runbooks call `name`.
    #[must_use]
    pub fn new(name: &str) -> Scripted {
        Scripted {
            name: name.to_owned(),
            risk: Risk::ReadOnly,
            can_probe: true,
            script: Arc::default(),
        }
    }

    /// One executor for each that the library's runbooks name, with a value for every output that
    /// they read: enough to walk each of them from end to end without an effect.
    #[must_use]
    pub fn dry_run(library: &Library) -> Vec<Scripted> {
        let mut executors: BTreeMap<&str, Scripted> = BTreeMap::new();
        for runbook in library.iter() {
            for step in &runbook.document().steps {
                let undo = step.undo.iter().map(|u| u.uses.as_str());
                for uses in undo.chain([step.uses.as_str()]) {
                    executors.entry(uses).or_insert_with(|| Scripted::new(uses));
                }
                let mut value = Value::Null;
                for pointer in step.outputs.values() {
                    place(&mut value, pointer, json!("(dry run)"));
                }
                if let Some(executor) = executors.get(step.uses.as_str()) {
                    executor.script().standing.insert(step.id.clone(), value);
                }
            }
        }
        executors.remove(UNDO_BY_EXECUTOR);
        executors.remove(crate::runbook::UNDO_NOTHING);
        executors.into_values().collect()
    }

    /// Its risk floor. Default tier 0.
    #[must_use]
    pub fn with_risk(mut self, risk: Risk) -> Scripted {
        self.risk = risk;
        self
    }

    /// It cannot tell what became of a call.
    #[must_use]
    pub fn cannot_probe(mut self) -> Scripted {
        self.can_probe = false;
        self
    }

    /// Whenever nothing else is scripted, the step gives this value.
    #[must_use]
    pub fn giving(self, step: &str, value: Value) -> Scripted {
        self.script().standing.insert(step.to_owned(), value);
        self
    }

    /// Before the step, the executor finds this.
    #[must_use]
    pub fn finding(self, step: &str, before: Value) -> Scripted {
        self.script().before.insert(step.to_owned(), before);
        self
    }

    /// The next calls of `run` for this step react so, in this order.
    #[must_use]
    pub fn on_run(self, step: &str, reactions: impl IntoIterator<Item = Reaction>) -> Scripted {
        self.script().next.entry((step.to_owned(), "run")).or_default().extend(reactions);
        self
    }

    /// The next calls of `undo` for this step react so, in this order.
    #[must_use]
    pub fn on_undo(self, step: &str, reactions: impl IntoIterator<Item = Reaction>) -> Scripted {
        self.script().next.entry((step.to_owned(), "undo")).or_default().extend(reactions);
        self
    }

    /// Everything that was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.script().asked.clone()
    }

    /// Calls of `run` and `undo` so far: what would have touched the world.
    #[must_use]
    pub fn effects(&self) -> Vec<Asked> {
        let asked = self.asked();
        asked.into_iter().filter(|a| a.method == "run" || a.method == "undo").collect()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        // A scripted panic happens without the lock; a poisoned one still holds whole values.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, method: &'static str, call: &Call, key: Option<Digest>, fence: Option<u64>) {
        self.script().asked.push(Asked {
            method,
            step: call.step.clone(),
            with: call.with.clone(),
            key,
            fence,
        });
    }

    async fn react(
        &self,
        method: &'static str,
        call: &Call,
        permit: &Permit,
    ) -> Result<Output, StepError> {
        self.note(method, call, Some(permit.key()), Some(permit.fence()));
        let reaction = {
            let mut script = self.script();
            let scripted =
                script.next.get_mut(&(call.step.clone(), method)).and_then(VecDeque::pop_front);
            let standing = script.standing.get(&call.step).cloned().unwrap_or(Value::Null);
            let reaction = scripted.unwrap_or(Reaction::Gives(standing));
            if let Reaction::Gives(value) | Reaction::HappensThenUnknown(value) = &reaction {
                script.happened.insert(permit.key(), value.clone());
            }
            reaction
        };
        match reaction {
            Reaction::Gives(value) => Ok(Output::of(value)),
            Reaction::Fails(error) => Err(error),
            Reaction::HappensThenUnknown(_) => Err(StepError::unknown("the answer was lost")),
            Reaction::Panics => panic!("scripted panic"),
            Reaction::Hangs => std::future::pending().await,
        }
    }
}

impl StepExecutor for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        "1"
    }

    fn risk_floor(&self, _: &Call) -> Risk {
        self.risk
    }

    fn plan<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Preview, StepError>> {
        self.note("plan", call, None, None);
        let before = self.script().before.get(&call.step).cloned().unwrap_or(Value::Null);
        let with = Value::Object(call.with.clone());
        let summary = format!("{} {}", self.name, crate::canonical::to_canonical_json(&with));
        Box::pin(std::future::ready(Ok(Preview { summary, before })))
    }

    fn run<'a>(
        &'a self,
        call: &'a Call,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.react("run", call, permit))
    }

    fn probe<'a>(&'a self, call: &'a Call, key: Digest) -> BoxFuture<'a, Probe> {
        self.note("probe", call, Some(key), None);
        let probe = match (self.can_probe, self.script().happened.get(&key)) {
            (false, _) => Probe::CannotTell { reason: "scripted".to_owned() },
            (true, Some(value)) => Probe::Done { output: Output::of(value.clone()) },
            (true, None) => Probe::NotDone,
        };
        Box::pin(std::future::ready(probe))
    }

    fn undo<'a>(
        &'a self,
        call: &'a Call,
        _before: &'a Value,
        permit: &'a Permit,
    ) -> BoxFuture<'a, Result<Output, StepError>> {
        Box::pin(self.react("undo", call, permit))
    }
}

/// Sets the value at a JSON pointer, making maps on the way; index segments become map keys, which
/// a pointer finds as well.
fn place(root: &mut Value, pointer: &str, value: Value) {
    let mut at = root;
    for segment in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        let name = segment.replace("~1", "/").replace("~0", "~");
        at = &mut at[name];
    }
    *at = value;
}
