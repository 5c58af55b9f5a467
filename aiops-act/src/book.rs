//! The book: what is in flight, how often things ran, and what went wrong lately.
//!
//! It is one value in the store, changed by compare-and-swap in the very commit that starts or ends
//! a run. So limits hold over several engines, and a crash loop cannot reset them: limits in memory
//! are forgotten just when they matter.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aiops_core::{IncidentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::plan::{Plan, RunId};
use crate::trust::Ledger;

/// Limits over all runbooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most runs in flight at once, quarantined ones included. Default 4, a guess.
    pub max_concurrent: u32,
    /// Most runs that may start in an hour; beyond it everything is only proposed. Default 20.
    pub max_per_hour: u32,
    /// Bad ends within `breaker_window` that open a breaker. Default 3. One "worse" verdict opens
    /// it at once.
    pub breaker_count: u32,
    /// How far back bad ends count. Default 1 h.
    #[serde(with = "crate::runbook::duration")]
    pub breaker_window: Duration,
    /// How long a breaker stays open. Default 1 h.
    #[serde(with = "crate::runbook::duration")]
    pub breaker_open: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_concurrent: 4,
            max_per_hour: 20,
            breaker_count: 3,
            breaker_window: Duration::from_secs(3_600),
            breaker_open: Duration::from_secs(3_600),
        }
    }
}

impl Limits {
    /// Checks the limits.
    ///
    /// # Errors
    /// A limit of zero, which would be a kill switch in disguise.
    pub fn build(self) -> Result<Limits> {
        for (field, value) in [
            ("max_concurrent", self.max_concurrent),
            ("max_per_hour", self.max_per_hour),
            ("breaker_count", self.breaker_count),
        ] {
            if value == 0 {
                return Err(Error::config(field, "must be at least 1; to stop everything, pause"));
            }
        }
        for (field, value) in
            [("breaker_window", self.breaker_window), ("breaker_open", self.breaker_open)]
        {
            if value.is_zero() {
                return Err(Error::config(field, "must be above 0"));
            }
        }
        Ok(self)
    }
}

/// A run that has been started and has not ended, with what it may touch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Its incident.
    pub incident: IncidentId,
    /// Its runbook.
    pub runbook: String,
    /// What it acts on; nobody else may.
    pub targets: BTreeSet<String>,
    /// Whom it can hurt.
    pub services: BTreeSet<String>,
    /// When it started.
    pub since: Timestamp,
    /// It stopped for a person: its targets stay taken until somebody looked.
    #[serde(default)]
    pub quarantined: bool,
    /// It started without asking anybody, because it had earned that by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unasked: bool,
}

/// Which breaker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breaker<'a> {
    /// Of a runbook, whatever its target.
    Runbook(&'a str),
    /// Of a target, whatever the runbook.
    Target(&'a str),
}

impl Breaker<'_> {
    fn key(&self) -> String {
        match self {
            Breaker::Runbook(id) => format!("runbook/{id}"),
            Breaker::Target(name) => format!("target/{name}"),
        }
    }
}

/// How a run ended, as the book counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// It helped, or it changed nothing.
    Good,
    /// A step failed, or a person had to take over.
    Bad,
    /// Verification said "worse", or its rollback failed.
    Worse,
}

/// What is in flight, how often things ran, and what went wrong lately.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Book {
    /// The last fencing token given out.
    pub fence: u64,
    /// Runs in flight.
    pub in_flight: BTreeMap<RunId, InFlight>,
    /// What remedies have earned.
    #[serde(default)]
    pub trust: Ledger,
    /// Starts within the last day, oldest first, by runbook.
    starts: BTreeMap<String, Vec<Timestamp>>,
    /// Last start by runbook and target, for cooldowns.
    last: BTreeMap<String, Timestamp>,
    /// Bad ends within the breaker window, by breaker.
    bad: BTreeMap<String, Vec<Timestamp>>,
    /// Open breakers, and until when.
    open: BTreeMap<String, Timestamp>,
}

/// How long starts are remembered: no rate window or cooldown is longer.
const MEMORY: Duration = Duration::from_secs(86_400);

impl Book {
    /// Runs in flight that share a target with `plan`.
    pub fn holders<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (RunId, &'a InFlight)> {
        self.in_flight
            .iter()
            .filter(|(run, f)| {
                **run != plan.run && f.targets.iter().any(|t| plan.targets.contains(t))
            })
            .map(|(run, f)| (*run, f))
    }

    /// The services that runs in flight other than `except` can hurt.
    #[must_use]
    pub fn exposed(&self, except: RunId) -> BTreeSet<String> {
        let others = self.in_flight.iter().filter(|(run, _)| **run != except);
        others.flat_map(|(_, f)| f.services.iter().cloned()).collect()
    }

    /// When the runbook may start again under `runs` in `per`; `None` when it may now.
    #[must_use]
    pub fn rate_free_at(
        &self,
        runbook: &str,
        runs: u32,
        per: Duration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let starts = self.starts.get(runbook)?;
        let recent: Vec<&Timestamp> = starts.iter().filter(|at| within(**at, per, now)).collect();
        let excess = recent.len().checked_sub(runs as usize)?;
        recent.get(excess).map(|at| **at + per)
    }

    /// Starts of all runbooks within the last hour.
    #[must_use]
    pub fn starts_in_last_hour(&self, now: Timestamp) -> usize {
        let hour = Duration::from_secs(3_600);
        self.starts.values().flatten().filter(|at| within(**at, hour, now)).count()
    }

    /// When the cooldown of the runbook on any of the targets is over; `None` when it is.
    #[must_use]
    pub fn cooldown_until(&self, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
        let cooldown = plan.runbook.document().matching.cooldown;
        let ends = plan.targets.iter().filter_map(|target| {
            let last = *self.last.get(&cooldown_key(plan.runbook.id(), target))?;
            within(last, cooldown, now).then(|| last + cooldown)
        });
        ends.max()
    }

    /// Until when a breaker is open; `None` when it is closed.
    #[must_use]
    pub fn open_until(&self, breaker: &Breaker<'_>, now: Timestamp) -> Option<Timestamp> {
        self.open.get(&breaker.key()).copied().filter(|until| now < *until)
    }

    /// Enters a run that starts now, and gives it a fencing token larger than any before.
    pub fn start(&mut self, plan: &Plan, services: BTreeSet<String>, now: Timestamp) -> u64 {
        self.forget(now);
        self.fence += 1;
        let targets: BTreeSet<String> = plan.targets.iter().map(str::to_owned).collect();
        self.starts.entry(plan.runbook.id().to_owned()).or_default().push(now);
        for target in &targets {
            self.last.insert(cooldown_key(plan.runbook.id(), target), now);
        }
        let entry = InFlight {
            incident: plan.incident,
            runbook: plan.runbook.id().to_owned(),
            targets,
            services,
            since: now,
            quarantined: false,
            unasked: false,
        };
        self.in_flight.insert(plan.run, entry);
        self.fence
    }

    /// The run started without asking anybody.
    pub fn note_unasked(&mut self, run: RunId) {
        if let Some(entry) = self.in_flight.get_mut(&run) {
            entry.unasked = true;
        }
    }

    /// Gives a run that another engine takes over a new fencing token.
    pub fn fence_again(&mut self) -> u64 {
        self.fence += 1;
        self.fence
    }

    /// Keeps the run's targets taken until a person looked.
    pub fn quarantine(&mut self, run: RunId) {
        if let Some(entry) = self.in_flight.get_mut(&run) {
            entry.quarantined = true;
        }
    }

    /// Takes the run out and counts how it ended.
    pub fn end(&mut self, plan: &Plan, closing: Closing, limits: &Limits, now: Timestamp) {
        self.in_flight.remove(&plan.run);
        self.count(plan, closing, limits, now);
    }

    /// Counts a bad end towards the breakers of the runbook and of each target.
    pub fn count(&mut self, plan: &Plan, closing: Closing, limits: &Limits, now: Timestamp) {
        self.forget(now);
        if closing == Closing::Good {
            return;
        }
        let targets = plan.targets.iter().map(Breaker::Target);
        for breaker in targets.chain([Breaker::Runbook(plan.runbook.id())]) {
            let key = breaker.key();
            let bad = self.bad.entry(key.clone()).or_default();
            bad.push(now);
            let recent = bad.iter().filter(|at| within(**at, limits.breaker_window, now)).count();
            if closing == Closing::Worse || recent >= limits.breaker_count as usize {
                self.open.insert(key, now + limits.breaker_open);
            }
        }
    }

    /// Drops what no limit can ask for any more, so that the book stays small.
    fn forget(&mut self, now: Timestamp) {
        for times in self.starts.values_mut().chain(self.bad.values_mut()) {
            times.retain(|at| within(*at, MEMORY, now));
        }
        self.starts.retain(|_, times| !times.is_empty());
        self.bad.retain(|_, times| !times.is_empty());
        self.last.retain(|_, at| within(*at, MEMORY, now));
        self.open.retain(|_, until| now < *until);
    }
}

/// Whether `at` is within `window` before `now`. An instant after `now` counts too: when the
/// clock was set back, a limit must not be forgotten.
fn within(at: Timestamp, window: Duration, now: Timestamp) -> bool {
    now < at + window
}

fn cooldown_key(runbook: &str, target: &str) -> String {
    format!("{runbook}/{target}")
}
