//! Gates: everything that must hold before anything runs, in a fixed order, each with its reason.
//!
//! They are checked before anybody is asked, and all of them again after the approval: the world
//! may have moved while people were thinking.

use std::collections::BTreeSet;
use std::time::Duration;

use aiops_core::{Incident, Ranking, Reason, Timestamp, Topology};
use serde::{Deserialize, Serialize};

use crate::blast::{Blast, percent};
use crate::book::{Book, Breaker, Limits};
use crate::error::{Error, Result};
use crate::matcher::fit;
use crate::modes::Mode;
use crate::plan::Plan;
use crate::runbook::calendar;
use crate::situation::Situation;
use crate::trust::Level;

/// The gates, in the order in which they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Gate {
    /// Nobody pressed the kill switch.
    KillSwitch,
    /// The engine is in a mode in which it may act.
    Mode,
    /// No freeze window is open.
    Freeze,
    /// The document is neither revoked nor past its date.
    Document,
    /// The incident is still open.
    Incident,
    /// The cause is still the one the plan is for, with enough confidence and margin.
    Confidence,
    /// Confidence means something: the ranking is calibrated on labelled incidents.
    Calibration,
    /// Every target is in the topology, and none is something that the engine itself needs.
    Targets,
    /// The topology is fresh and the closure complete.
    Topology,
    /// The targets and their dependents are within the limits, also together with what is in
    /// flight, and no more than when the plan was made.
    BlastRadius,
    /// The target group is not so sick that the cause must be elsewhere.
    GroupHealth,
    /// Nobody else works on a target.
    Lease,
    /// The same remedy was not applied a moment ago.
    Cooldown,
    /// No breaker is open.
    Breaker,
    /// The runbook has not run too often.
    Rate,
    /// The remedy has not lost the trust to run at all.
    Trust,
}

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passage {
    /// Go on.
    Open,
    /// Not now; try again.
    Wait,
    /// Show it to people, do nothing.
    Propose,
    /// End the run.
    Refuse,
}

/// One gate's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateCheck {
    /// The gate.
    pub gate: Gate,
    /// What it lets through.
    pub passage: Passage,
    /// Why.
    pub reason: Reason,
}

/// All gates' answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateReport {
    /// In the order of [`Gate`].
    pub checks: Vec<GateCheck>,
}

impl GateReport {
    /// What all gates together let through: the most restrictive answer, and the first gate that
    /// gave it.
    #[must_use]
    pub fn passage(&self) -> Passage {
        self.decisive().map_or(Passage::Open, |check| check.passage)
    }

    /// The first gate with the most restrictive answer; `None` when all are open.
    #[must_use]
    pub fn decisive(&self) -> Option<&GateCheck> {
        let worst = self.checks.iter().map(|c| c.passage).max()?;
        self.checks.iter().find(|c| c.passage == worst && worst != Passage::Open)
    }
}

/// Limits that hold for every runbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// How long after its last confirmation a topology may still be acted on. Default 5 min.
    #[serde(with = "crate::runbook::duration")]
    pub max_topology_age: Duration,
    /// What the engine itself needs to work: never a target, and never within a blast radius.
    pub self_exclusion: BTreeSet<String>,
    /// Whether an uncalibrated ranking may be acted on (after approval). Default `false`:
    /// confidence thresholds mean nothing then, so everything is only proposed.
    pub act_on_uncalibrated: bool,
    /// Concurrency, budget and breakers.
    pub limits: Limits,
}

impl Default for GateConfig {
    fn default() -> GateConfig {
        GateConfig {
            max_topology_age: Duration::from_secs(5 * 60),
            self_exclusion: BTreeSet::new(),
            act_on_uncalibrated: false,
            limits: Limits::default(),
        }
    }
}

impl GateConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// A limit or an age of zero.
    pub fn build(self) -> Result<GateConfig> {
        if self.max_topology_age.is_zero() {
            return Err(Error::config("max_topology_age", "must be above 0"));
        }
        let limits = self.limits.build()?;
        Ok(GateConfig { limits, ..self })
    }
}

/// The world as it is when gates are checked.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// The time.
    pub now: Timestamp,
    /// Why everything is paused, if somebody pressed the kill switch.
    pub paused: Option<&'a str>,
    /// The availability mode.
    pub mode: Mode,
    /// The incident as it is now; `None` when it is not known any more.
    pub incident: Option<&'a Incident>,
    /// Its ranking as it is now; `None` when there is none.
    pub ranking: Option<&'a Ranking>,
    /// Whether probabilities of the ranking were calibrated on labelled incidents.
    pub calibrated: bool,
    /// The topology as it is now.
    pub topology: &'a Topology,
    /// Services known to be unhealthy.
    pub unhealthy: &'a BTreeSet<String>,
    /// What is in flight and what went wrong lately.
    pub book: &'a Book,
    /// What the remedy may do.
    pub level: Level,
}

/// Checks every gate. All of them are always checked, so that a proposal shows the whole picture.
#[must_use]
pub fn check(plan: &Plan, config: &GateConfig, input: &GateInput<'_>) -> GateReport {
    let blast = plan_blast(plan, config, input.topology, input.now);
    let checks = [
        (Gate::KillSwitch, kill_switch(input)),
        (Gate::Mode, mode(input)),
        (Gate::Freeze, freeze(plan, input)),
        (Gate::Document, document(plan, input)),
        (Gate::Incident, incident(input)),
        (Gate::Confidence, confidence(plan, input)),
        (Gate::Calibration, calibration(config, input)),
        (Gate::Targets, targets(plan, config, &blast)),
        (Gate::Topology, topology(&blast)),
        (Gate::BlastRadius, blast_radius(plan, &blast, input)),
        (Gate::GroupHealth, group_health(plan, input)),
        (Gate::Lease, lease(plan, config, input)),
        (Gate::Cooldown, cooldown(plan, input)),
        (Gate::Breaker, breaker(plan, config, input)),
        (Gate::Rate, rate(plan, input)),
        (Gate::Trust, trust(input)),
    ];
    let checks =
        checks.into_iter().map(|(gate, (passage, reason))| GateCheck { gate, passage, reason });
    GateReport { checks: checks.collect() }
}

/// The blast radius of a plan in a topology.
#[must_use]
pub fn plan_blast(plan: &Plan, config: &GateConfig, topology: &Topology, now: Timestamp) -> Blast {
    let hops = plan.runbook.document().safety.hops;
    Blast::of(topology, plan.targets.iter(), hops, config.max_topology_age, now)
}

type Answer = (Passage, Reason);

fn open(sentence: impl Into<String>) -> Answer {
    (Passage::Open, Reason::new("ok", sentence))
}

fn kill_switch(input: &GateInput<'_>) -> Answer {
    match input.paused {
        Some(why) => (
            Passage::Refuse,
            Reason::new("paused", format!("everything is paused: {why}")).with("why", why),
        ),
        None => open("not paused"),
    }
}

fn mode(input: &GateInput<'_>) -> Answer {
    let name = input.mode.name();
    match input.mode {
        Mode::Full => open("the engine may act"),
        Mode::SuggestOnly => {
            (Passage::Propose, Reason::new("suggest_only", format!("the engine is in mode {name}")))
        }
        Mode::NotifyOnly | Mode::PassThrough => {
            (Passage::Refuse, Reason::new("no_acting", format!("the engine is in mode {name}")))
        }
    }
}

fn freeze(plan: &Plan, input: &GateInput<'_>) -> Answer {
    let windows = &plan.runbook.document().safety.freeze;
    match windows.iter().find(|window| calendar::is_frozen(window, input.now)) {
        Some(window) => {
            let sentence = format!("a freeze window is open: {}", window.reason);
            (Passage::Propose, Reason::new("frozen", sentence))
        }
        None => open("no freeze window is open"),
    }
}

fn document(plan: &Plan, input: &GateInput<'_>) -> Answer {
    if plan.runbook.is_valid_at(input.now) {
        open("the document is valid")
    } else {
        (Passage::Refuse, Reason::new("not_valid", "the document is revoked or past its date"))
    }
}

fn incident(input: &GateInput<'_>) -> Answer {
    match input.incident {
        Some(incident) if incident.state.is_live() => open("the incident is open"),
        Some(incident) => {
            let sentence = format!("the incident is {}", incident.state.name());
            (Passage::Refuse, Reason::new("incident_over", sentence))
        }
        None => {
            (Passage::Refuse, Reason::new("incident_unknown", "the incident is not known any more"))
        }
    }
}

fn confidence(plan: &Plan, input: &GateInput<'_>) -> Answer {
    let (Some(incident), Some(ranking)) = (input.incident, input.ranking) else {
        return (Passage::Propose, Reason::new("no_ranking", "there is no ranking of causes"));
    };
    let situation = Situation::new(incident.clone(), ranking.clone());
    let needs_alerts = plan.runbook.document().matching.when.as_ref();
    // `alerts` are not part of a re-check: what the condition said of them when the plan was made
    // stands. Everything else is asked again.
    let runbook = match needs_alerts {
        Some(when) if when.names().iter().any(|n| n == "alerts") => without_condition(plan),
        _ => plan.runbook.clone(),
    };
    match fit(&runbook, &situation, None, input.now) {
        Ok(fit) if fit.cause.service() == plan.cause.service() => {
            let sentence =
                format!("{} is the cause with {:.0} %", fit.cause, fit.confidence * 100.0);
            (Passage::Open, Reason::new("ok", sentence).with("confidence", fit.confidence))
        }
        Ok(fit) => {
            let sentence =
                format!("the cause is now {}, the plan is for {}", fit.cause, plan.cause);
            (Passage::Refuse, Reason::new("cause_changed", sentence))
        }
        Err(reasons) => {
            let weak = |r: &Reason| r.code == "low_confidence" || r.code == "thin_margin";
            let passage = if reasons.iter().all(weak) { Passage::Propose } else { Passage::Refuse };
            let nothing = || Reason::new("cause_changed", "the runbook does not fit any more");
            (passage, reasons.into_iter().next().unwrap_or_else(nothing))
        }
    }
}

fn without_condition(plan: &Plan) -> crate::Runbook {
    let mut document = plan.runbook.document().clone();
    document.matching.when = None;
    crate::Runbook::check(document).unwrap_or_else(|_| plan.runbook.clone())
}

fn calibration(config: &GateConfig, input: &GateInput<'_>) -> Answer {
    if input.calibrated {
        open("the ranking is calibrated")
    } else if config.act_on_uncalibrated {
        open("the ranking is not calibrated; the configuration allows to act on it")
    } else {
        (Passage::Propose, Reason::new("uncalibrated", "the ranking is not calibrated"))
    }
}

fn targets(plan: &Plan, config: &GateConfig, blast: &Blast) -> Answer {
    if let Some(own) = config.self_exclusion.intersection(&blast.services).next() {
        let sentence = format!("the engine itself needs {own}");
        return (Passage::Propose, Reason::new("self_exclusion", sentence).with("service", &**own));
    }
    if let Some(unknown) = blast.unbounded.iter().find(|r| r.code == "unknown_target") {
        return (Passage::Propose, unknown.clone());
    }
    open(format!(
        "{} known",
        if plan.targets.count() == 1 { "the target is" } else { "all targets are" }
    ))
}

fn topology(blast: &Blast) -> Answer {
    match blast.unbounded.iter().find(|r| r.code != "unknown_target") {
        Some(reason) => (Passage::Propose, reason.clone()),
        None => open(format!("revision {} is fresh", blast.revision)),
    }
}

fn blast_radius(plan: &Plan, blast: &Blast, input: &GateInput<'_>) -> Answer {
    let safety = &plan.runbook.document().safety;
    let exceeds = |count: usize| {
        count > safety.max_services as usize || percent(count, blast.known) > safety.max_percent
    };
    let alone = blast.services.len();
    let describe = |code: &'static str, count: usize, what: &str| {
        let sentence = format!(
            "{count} of {} services {what}, limits are {} and {} %",
            blast.known, safety.max_services, safety.max_percent
        );
        Reason::new(code, sentence).with("services", count).with("known", blast.known)
    };
    if exceeds(alone) {
        return (Passage::Propose, describe("blast_radius", alone, "can be hurt"));
    }
    if let Some(new) = blast.services.difference(&plan.blast.services).next() {
        let sentence = format!("{new} can be hurt now, and could not when the plan was made");
        return (Passage::Refuse, Reason::new("blast_grew", sentence).with("service", &**new));
    }
    let mut union = input.book.exposed(plan.run);
    if union.is_empty() {
        return (Passage::Open, describe("ok", alone, "can be hurt"));
    }
    union.extend(blast.services.iter().cloned());
    if exceeds(union.len()) {
        let what = "can be hurt together with the runs in flight";
        return (Passage::Wait, describe("blast_radius_shared", union.len(), what));
    }
    (Passage::Open, describe("ok", union.len(), "can be hurt together with the runs in flight"))
}

fn group_health(plan: &Plan, input: &GateInput<'_>) -> Answer {
    let sick = plan.targets.iter().filter(|t| input.unhealthy.contains(*t)).count();
    let share = percent(sick, plan.targets.count());
    let most = plan.runbook.document().safety.max_unhealthy_percent;
    let sentence = format!("{sick} of {} targets are unhealthy", plan.targets.count());
    let reason = |code| Reason::new(code, sentence.clone()).with("percent", share);
    if share > most {
        (Passage::Refuse, reason("group_unhealthy"))
    } else {
        (Passage::Open, reason("ok"))
    }
}

fn lease(plan: &Plan, config: &GateConfig, input: &GateInput<'_>) -> Answer {
    if let Some((run, holder)) = input.book.holders(plan).next() {
        let (passage, code) = if holder.quarantined {
            (Passage::Refuse, "quarantined")
        } else {
            (Passage::Wait, "target_taken")
        };
        let sentence = format!("run {run} ({}) holds a target", holder.runbook);
        return (passage, Reason::new(code, sentence).with("run", run.to_string()));
    }
    let others = input.book.in_flight.keys().filter(|run| **run != plan.run).count();
    if others >= config.limits.max_concurrent as usize {
        let sentence = format!("{others} runs are in flight, the most that may be");
        return (Passage::Wait, Reason::new("concurrency", sentence).with("in_flight", others));
    }
    open("nobody else works on the targets")
}

fn cooldown(plan: &Plan, input: &GateInput<'_>) -> Answer {
    if input.book.in_flight.contains_key(&plan.run) {
        return open("this run has begun");
    }
    match input.book.cooldown_until(plan, input.now) {
        Some(until) => {
            let left = until.since(input.now).as_secs();
            let sentence = format!("it ran on the same target; it cools down for {left} s more");
            (Passage::Propose, Reason::new("cooldown", sentence).with("left_s", left))
        }
        None => open("it did not run on the targets lately"),
    }
}

fn breaker(plan: &Plan, config: &GateConfig, input: &GateInput<'_>) -> Answer {
    let of_targets = plan.targets.iter().map(Breaker::Target);
    for breaker in [Breaker::Runbook(plan.runbook.id())].into_iter().chain(of_targets) {
        if let Some(until) = input.book.open_until(&breaker, input.now) {
            let what = match breaker {
                Breaker::Runbook(id) => format!("runbook {id}"),
                Breaker::Target(name) => format!("target {name}"),
            };
            let left = until.since(input.now).as_secs();
            let sentence = format!("the breaker of {what} is open for {left} s more");
            return (Passage::Propose, Reason::new("breaker_open", sentence).with("left_s", left));
        }
    }
    let starts = input.book.starts_in_last_hour(input.now);
    if starts >= config.limits.max_per_hour as usize {
        let sentence = format!("{starts} runs started in the last hour, the most that may");
        return (Passage::Propose, Reason::new("budget", sentence).with("starts", starts));
    }
    open("no breaker is open")
}

fn trust(input: &GateInput<'_>) -> Answer {
    match input.level {
        Level::Auto | Level::Approve => open("it may run"),
        Level::Observe | Level::Suggest => {
            let sentence = "its record allows to suggest it, not to run it";
            (Passage::Propose, Reason::new("not_trusted", sentence))
        }
    }
}

fn rate(plan: &Plan, input: &GateInput<'_>) -> Answer {
    let rate = plan.runbook.document().safety.rate;
    match input.book.rate_free_at(plan.runbook.id(), rate.runs, rate.per, input.now) {
        Some(free_at) => {
            let left = free_at.since(input.now).as_secs();
            let sentence = format!("it ran {} times already; free in {left} s", rate.runs);
            (Passage::Propose, Reason::new("rate", sentence).with("left_s", left))
        }
        None => open("it has not run too often"),
    }
}
