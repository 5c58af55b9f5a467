//! A plan: one runbook for one incident, with its parameters and targets filled in. Data, not
//! permission: what runs is an [`Approved<Plan>`](crate::Approved).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aiops_core::{Cause, IncidentId, Timestamp, Topology};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::blast::Blast;
use crate::canonical::Digest;
use crate::matcher::Fit;
use crate::runbook::expr::Scope;
use crate::runbook::template::{self, TemplateError};
use crate::runbook::{ParamError, Risk, Runbook};
use crate::situation::Situation;

/// Most targets of one plan; more is not a remedy but a migration.
pub const MAX_TARGETS: usize = 256;

/// The identity of a run: hash of everything its plan is made of, and when it was proposed.
/// Written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(u64);

impl RunId {
    #[cfg(feature = "testing")]
    pub(crate) fn for_tests(id: u64) -> RunId {
        RunId(id)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RunId({self})")
    }
}

impl FromStr for RunId {
    type Err = aiops_core::Error;

    fn from_str(text: &str) -> Result<RunId, Self::Err> {
        // Sixteen digits and nothing else, as the ids of the other nouns.
        IncidentId::from_str(text).map(|id| RunId(id.as_u64()))
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// At least one target, each by name; there is no value for "all".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<String>", into = "BTreeSet<String>")]
pub struct Targets(BTreeSet<String>);

impl Targets {
    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many there are, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether `service` is one of them.
    #[must_use]
    pub fn contains(&self, service: &str) -> bool {
        self.0.contains(service)
    }
}

impl TryFrom<BTreeSet<String>> for Targets {
    type Error = PlanError;

    fn try_from(names: BTreeSet<String>) -> Result<Targets, PlanError> {
        if names.is_empty() {
            return Err(PlanError::NoTarget);
        }
        if names.len() > MAX_TARGETS {
            return Err(PlanError::TooManyTargets { got: names.len() });
        }
        let is_name = |name: &&String| {
            !name.trim().is_empty() && !name.contains(['*', '?']) && name.len() <= 256
        };
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(PlanError::NotATarget { name: name.clone() }),
            None => Ok(Targets(names)),
        }
    }
}

impl From<Targets> for BTreeSet<String> {
    fn from(targets: Targets) -> BTreeSet<String> {
        targets.0
    }
}

/// Why no plan can be made. Nothing was done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The selector gave no target: the run would have nothing to act on, and nothing never means
    /// everything.
    #[error("the runbook selects no target")]
    NoTarget,
    /// More than [`MAX_TARGETS`].
    #[error("the runbook selects {got} targets, more than {MAX_TARGETS}")]
    TooManyTargets {
        /// How many.
        got: usize,
    },
    /// A target that is empty, a pattern, or not a text.
    #[error("`{name}` is not the name of a target")]
    NotATarget {
        /// What the selector gave.
        name: String,
    },
    /// A parameter is missing or does not fit.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// A target template has no value.
    #[error("targets: {0}")]
    Template(#[from] TemplateError),
}

/// What an approval is for. Any edit after the review changes one of the hashes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The run.
    pub run: RunId,
    /// Hash of the document.
    pub document: Digest,
    /// Hash of the parameters.
    pub params: Digest,
    /// Hash of the set of targets.
    pub targets: Digest,
    /// The effective tier at the time of the question.
    pub risk: Risk,
}

/// One runbook for one incident, filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The identity of its run.
    pub run: RunId,
    /// The incident it is for.
    pub incident: IncidentId,
    /// Who or what proposed it; may not approve it.
    pub proposer: String,
    /// When.
    pub proposed_at: Timestamp,
    /// The runbook, as it was then. A run in flight finishes on the document it began with.
    pub runbook: Runbook,
    /// The cause it is for.
    pub cause: Cause,
    /// Rank of that cause, counted from 1.
    pub rank: usize,
    /// How probable the cause is.
    pub confidence: f64,
    /// Values of the parameters; secrets as references.
    pub params: Map<String, Value>,
    /// What it acts on.
    pub targets: Targets,
    /// Whom it can hurt. Unbounded until [`Plan::measure_blast`] looked.
    pub blast: Blast,
    /// The effective tier: the document's, raised by its executors and its blast radius.
    pub risk: Risk,
    /// What conditions and templates read: `incident`, `cause`, `ranking`, `alerts` as they were.
    pub facts: Map<String, Value>,
}

impl Plan {
    /// Fills a runbook in for a situation that it fits. The tier is the document's own until
    /// [`Plan::raise_risk`].
    ///
    /// # Errors
    /// A parameter or a target that is missing or does not fit.
    pub fn new(
        fit: &Fit,
        situation: &Situation,
        params: &BTreeMap<String, Value>,
        proposer: &str,
        now: Timestamp,
    ) -> Result<Plan, PlanError> {
        let document = fit.runbook.document();
        let params = document.fill_params(params)?;
        let scope = situation.scope(fit.rank).with("params", Value::Object(params.clone()));
        let targets = select_targets(&document.targets.services, &scope)?;
        let facts: Map<String, Value> = ["incident", "cause", "ranking", "alerts"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), scope.get(name)?.clone())))
            .collect();
        let seed = json!({
            "incident": situation.incident.id, "document": fit.runbook.hash(), "params": params,
            "targets": targets, "facts": facts, "proposer": proposer,
            "at": now.as_nanos(),
        });
        let hash = Digest::of_json(&seed);
        let first: [u8; 8] = std::array::from_fn(|i| hash.as_bytes()[i]);
        Ok(Plan {
            run: RunId(u64::from_be_bytes(first)),
            incident: situation.incident.id,
            proposer: proposer.to_owned(),
            proposed_at: now,
            runbook: fit.runbook.clone(),
            cause: fit.cause.clone(),
            rank: fit.rank,
            confidence: fit.confidence,
            params,
            blast: Blast::unmeasured(&targets),
            targets,
            risk: document.risk(),
            facts,
        })
    }

    /// Walks the topology for whom the plan can hurt. Several targets make the tier at least 2.
    pub fn measure_blast(&mut self, topology: &Topology, max_age: Duration, now: Timestamp) {
        let hops = self.runbook.document().safety.hops;
        self.blast = Blast::of(topology, self.targets.iter(), hops, max_age, now);
        if self.targets.count() > 1 && self.risk > Risk::ReadOnly {
            self.raise_risk(Risk::Stateful);
        }
    }

    /// Raises the tier; it never falls.
    pub fn raise_risk(&mut self, to: Risk) {
        self.risk = self.risk.max(to);
    }

    /// `with` of a step or undo as far as it is known before anything ran: an entry that reads the
    /// output of a step, or a measurement, stays the template it is.
    #[must_use]
    pub fn fill(&self, with: &Map<String, Value>) -> Map<String, Value> {
        let scope = self.scope();
        let filled = |value: &Value| template::render(value, &scope);
        with.iter()
            .map(|(name, value)| (name.clone(), filled(value).unwrap_or_else(|_| value.clone())))
            .collect()
    }

    /// What an approval of this plan is for.
    #[must_use]
    pub fn binding(&self) -> Binding {
        Binding {
            run: self.run,
            document: self.runbook.hash(),
            params: Digest::of_json(&Value::Object(self.params.clone())),
            targets: Digest::of_json(&json!(self.targets)),
            risk: self.risk,
        }
    }

    /// The names that templates of its steps read before any step ran.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let mut scope = Scope::new();
        for (name, value) in &self.facts {
            scope.set(name, value.clone());
        }
        scope.set("params", Value::Object(self.params.clone()));
        scope.set("targets", json!(self.targets));
        scope
    }
}

fn select_targets(selector: &[String], scope: &Scope) -> Result<Targets, PlanError> {
    let mut names = BTreeSet::new();
    for entry in selector {
        match template::render_text(entry, scope)? {
            Value::String(name) => {
                names.insert(name);
            }
            Value::Array(items) => {
                for item in items {
                    match item {
                        Value::String(name) => names.insert(name),
                        other => return Err(PlanError::NotATarget { name: other.to_string() }),
                    };
                }
            }
            other => return Err(PlanError::NotATarget { name: other.to_string() }),
        }
    }
    // A cause without a service renders as an empty name, which is no target.
    names.retain(|name| !name.is_empty());
    Targets::try_from(names)
}
