//! Stage 5: from an explained incident to a plan, and from an approved plan to a verified dry run.
//!
//! The two halves are apart on purpose. [`Act::consider`] belongs to the pass over time: it looks,
//! waits until the same remedy has fitted for a while, and proposes. [`carry_out`] comes after it,
//! asks for approval, and runs what was approved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiops_act::approver::call_line;
use aiops_act::audit::AuditRecord;
use aiops_act::executor::scripted::Scripted;
use aiops_act::machine::{Run, StepStatus};
use aiops_act::verify::Measurement;
use aiops_act::{
    ApprovalPolicy, Approver, Ending, Engine, EngineConfig, Fit, FixedApprover, GateConfig,
    Library, MetricFn, MetricQuery, Proposal, ReplayClock, Says, Situation, StillWorld,
    TerminalApprover, match_runbooks,
};
use aiops_core::{
    Cause, Depends, Event, Frame, Incident, IncidentId, ManualClock, MemoryStore, Reason,
    Timestamp, Topology,
};
use serde_json::Value;

use crate::recording::Recording;
use crate::story::{ActionStory, ApprovalStory, AuditLine, PlanStory, StepStory, Story};
use crate::words::clock;
use crate::{Error, Result, Settings};

/// How approval is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// Every plan is approved without asking. Steps are run dry all the same.
    Auto,
    /// Whoever sits at the terminal is asked.
    Ask,
    /// Every plan is denied without asking.
    Deny,
}

/// The name of the person whose answers count.
const OPERATOR: &str = "operator";

/// What is proposed, and since when the same remedy has fitted which incident.
#[derive(Debug)]
pub struct Act<'a> {
    library: &'a Library,
    recording: &'a Recording,
    after: Duration,
    runtime: tokio::runtime::Runtime,
    fits_since: BTreeMap<IncidentId, (String, Cause, Timestamp)>,
    /// Why nothing was proposed for an incident, as of the last look at it.
    pub misfits: BTreeMap<IncidentId, Vec<Reason>>,
    /// What was proposed.
    pub planned: BTreeMap<IncidentId, Planned>,
}

/// A plan that waits for approval, with what was known when it was made.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What was known.
    pub situation: Situation,
    /// The plan, what its steps would do, what the gates say and who has to be asked.
    pub proposal: Proposal,
    /// Why this runbook.
    pub because: Vec<Reason>,
    /// When.
    pub at: Timestamp,
}

impl<'a> Act<'a> {
    /// Nothing proposed yet.
    ///
    /// # Errors
    /// When the operating system gives no runtime.
    pub fn new(
        settings: &Settings,
        library: &'a Library,
        recording: &'a Recording,
    ) -> Result<Self> {
        let (fits_since, misfits, planned) = Default::default();
        let (after, runtime) = (settings.act_after, runtime()?);
        Ok(Act { library, recording, after, runtime, fits_since, misfits, planned })
    }

    /// Looks for a remedy of an incident as it is understood at `now`, and proposes it when the
    /// same one has fitted the same cause for long enough. An incident gets one plan.
    ///
    /// # Errors
    /// When the plan cannot be made from the runbook.
    pub fn consider(&mut self, situation: Situation, now: Timestamp) -> Result<()> {
        let incident = situation.incident.id;
        if self.planned.contains_key(&incident) {
            return Ok(());
        }
        if !is_felt(&situation, &self.recording.topology) {
            let sentence = "no alert of a service that users call fires: nobody feels it";
            self.fits_since.remove(&incident);
            self.misfits.insert(incident, vec![Reason::new("not_felt", sentence)]);
            return Ok(());
        }
        let matches = match_runbooks(self.library, &situation, &BTreeMap::new(), now);
        let Some(fit) = matches.best() else {
            self.fits_since.remove(&incident);
            let why = matches.misfits.into_iter().flat_map(|misfit| {
                let runbook = misfit.runbook;
                misfit.reasons.into_iter().map(move |reason| Reason {
                    sentence: format!("{runbook}: {}", reason.sentence),
                    ..reason
                })
            });
            self.misfits.insert(incident, why.collect());
            return Ok(());
        };
        let fits = (fit.runbook.id().to_owned(), fit.cause.clone());
        let since = match self.fits_since.get(&incident) {
            Some((runbook, cause, since)) if (runbook, cause) == (&fits.0, &fits.1) => *since,
            _ => now,
        };
        self.fits_since.insert(incident, (fits.0, fits.1, since));
        if now.since(since) < self.after {
            let waits = format!("{} has fitted for {:?} only", fit.runbook.id(), now.since(since));
            self.misfits.insert(incident, vec![Reason::new("not_settled", waits)]);
            return Ok(());
        }
        let planned = self.propose(fit, situation.clone(), now)?;
        self.planned.insert(incident, planned);
        Ok(())
    }

    /// Makes the plan: reads only, nothing is written and nothing is run.
    fn propose(&self, fit: &Fit, situation: Situation, now: Timestamp) -> Result<Planned> {
        let clock = Arc::new(ManualClock::new(now));
        let engine = engine(self.library, &situation, &self.recording.topology, &clock)
            .build()
            .map_err(Error::from)?;
        let params = parameters(fit, &self.recording.changes);
        let proposal = self.runtime.block_on(engine.propose(fit, &situation, &params))?;
        Ok(Planned { situation, proposal, because: fit.reasons.clone(), at: now })
    }
}

/// Whether users feel it: an alert of a service that nobody in the topology calls is firing.
///
/// What is abnormal and hurts nobody, such as the restart of a good deploy, deserves a look but no
/// remedy. Without a topology there is no telling, and every alert counts.
pub fn is_felt(situation: &Situation, topology: &Topology) -> bool {
    let is_entry = |service: &str| {
        let node = topology.node_id(service);
        node.is_some_and(|id| topology.neighbours(id, Depends::Dependents).is_empty())
    };
    let mut firing = situation.alerts.iter().filter(|alert| !alert.is_resolved());
    firing.any(|alert| topology.is_empty() || alert.service.as_deref().is_some_and(is_entry))
}

/// Parameters that the labels of the blamed change name, such as the `previous` version of a
/// deploy; the others keep their defaults.
pub fn parameters(fit: &Fit, changes: &[Event]) -> BTreeMap<String, Value> {
    let Cause::Change { event, .. } = &fit.cause else { return BTreeMap::new() };
    let Some(change) = changes.iter().find(|change| change.id == *event) else {
        return BTreeMap::new();
    };
    let declared = &fit.runbook.document().params;
    let named = change.labels.iter().filter(|(name, _)| declared.contains_key(*name));
    named.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// Asks for approval of every plan of the story and runs what was approved, dry, from the second at
/// which it was planned on. What became of it is written into the story.
///
/// Verification reads the metrics that were recorded after that second: in a recording the trouble
/// ends by itself, and what a dry run verifies is that the criteria of the runbook see it end.
///
/// # Errors
/// When the engine fails; a denied or failed plan is no error.
pub fn carry_out(story: &mut Story, library: &Library, approval: Approval) -> Result<()> {
    let runtime = runtime()?;
    let metrics = Arc::new(story.metrics.clone());
    for incident in &mut story.incidents {
        let ActionStory::Planned(plan) = &mut incident.action else { continue };
        let Planned { situation, proposal, at, .. } = plan.planned.clone();
        let clock = Arc::new(ManualClock::new(at));
        let frame = Arc::clone(&metrics);
        let read = move |query: &MetricQuery, at: Timestamp| mean(&frame, query, at);
        let engine = engine(library, &situation, &story.topology, &clock)
            .approver(approver(approval, &clock))
            .metrics(Arc::new(MetricFn(read)))
            .build()?;
        let (run, audit) = runtime.block_on(async {
            let run = engine.execute(proposal.plan).await?;
            let audit = engine.audit(0, usize::MAX).await?;
            Ok::<_, aiops_act::Error>((run, audit))
        })?;
        aiops_act::audit::verify(&audit, None).map_err(|broken| Error::Audit(Box::new(broken)))?;
        plan.audit = audit.iter().map(audit_line).collect();
        tell(plan, &run, approval);
    }
    Ok(())
}

/// An engine whose executors have no effect, in the world as it was at the time of the clock.
fn engine(
    library: &Library,
    situation: &Situation,
    topology: &Topology,
    clock: &Arc<ManualClock>,
) -> aiops_act::EngineBuilder {
    let config = EngineConfig {
        approval: ApprovalPolicy::default().with_person(OPERATOR, &["oncall"]),
        // Fifty labelled incidents would be needed to calibrate; there are seven. A person decides.
        gates: GateConfig { act_on_uncalibrated: true, ..GateConfig::default() },
        name: "pipeline".to_owned(),
        ..EngineConfig::default()
    };
    let world = StillWorld {
        calibrated: false,
        unhealthy: situation.incident.services.clone(),
        ..StillWorld::new(situation.clone(), Arc::new(as_of(topology, clock)))
    };
    let store = Arc::new(MemoryStore::with_clock(clock.clone()));
    let builder =
        Engine::builder(config, store, Arc::new(ReplayClock(clock.clone())), Arc::new(world));
    Scripted::dry_run(library)
        .into_iter()
        .fold(builder, |builder, executor| builder.executor(Arc::new(executor)))
}

/// The recorded topology, confirmed now: a recording does not say when each edge was seen.
fn as_of(topology: &Topology, clock: &ManualClock) -> Topology {
    let now = aiops_core::Clock::now(clock);
    let mut confirmed = topology.clone();
    for (_, node) in topology.nodes() {
        confirmed.upsert_node(&node.name, node.kind, now);
    }
    confirmed
}

fn approver(approval: Approval, clock: &Arc<ManualClock>) -> Arc<dyn Approver> {
    let clock = Arc::new(ReplayClock(clock.clone()));
    match approval {
        Approval::Auto => Arc::new(FixedApprover::approving(OPERATOR, clock)),
        Approval::Ask => Arc::new(TerminalApprover::new(OPERATOR, clock)),
        Approval::Deny => Arc::new(FixedApprover::rejecting(OPERATOR, clock)),
    }
}

/// The mean of the recorded values of a query's series; `None` without any.
fn mean(metrics: &Frame, query: &MetricQuery, at: Timestamp) -> Option<f64> {
    let row = metrics.series().iter().position(|key| {
        let is_of = query.service.is_empty() || key.service() == Some(query.service.as_str());
        let mut labels = query.labels.iter();
        key.name == query.metric && is_of && labels.all(|(n, v)| key.labels.get(n) == Some(v))
    })?;
    let (from, to) = (metrics.step_of(at - query.over), metrics.step_of(at)?);
    let values = &metrics.row(row)[from.unwrap_or(0)..=to];
    let (sum, count) = values
        .iter()
        .filter(|value| value.is_finite())
        .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// A plan as it is shown before anybody was asked.
pub fn plan_story(planned: Planned) -> PlanStory {
    let plan = &planned.proposal.plan;
    let document = plan.runbook.document();
    let steps =
        document.steps.iter().zip(&planned.proposal.steps).map(|(step, preview)| StepStory {
            id: step.id.clone(),
            title: if step.title.is_empty() { step.id.clone() } else { step.title.clone() },
            does: call_line(&preview.uses, &preview.with),
            undo: step.undo.as_ref().map(|undo| call_line(&undo.uses, &plan.fill(&undo.with))),
            state: "pending".to_owned(),
            output: String::new(),
        });
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    PlanStory {
        run: plan.run.to_string(),
        runbook: document.id.clone(),
        title: document.title.clone(),
        made_at: planned.at,
        because: planned.because.iter().cloned().map(on_one_line).collect(),
        params: plan.params.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        targets: plan.targets.iter().map(str::to_owned).collect(),
        blast_radius: plan.blast.services.iter().cloned().collect(),
        gates: planned.proposal.gates.checks.iter().map(|check| check.reason.clone()).collect(),
        steps: steps.collect(),
        approval: ApprovalStory { answer: "not asked", by: String::new(), how: String::new() },
        state: "proposed".to_owned(),
        outcome: None,
        verification: vec![],
        audit: vec![],
        planned,
    }
}

/// Conditions keep the line breaks of their documents; a sentence has none.
fn on_one_line(reason: Reason) -> Reason {
    let words: Vec<_> = reason.sentence.split_whitespace().collect();
    Reason { sentence: words.join(" "), ..reason }
}

/// Writes what became of a plan.
fn tell(plan: &mut PlanStory, run: &Run, approval: Approval) {
    for (step, done) in plan.steps.iter_mut().zip(&run.steps) {
        step.state = name(&done.status);
        step.output = match (&done.error, done.status) {
            (Some(error), _) => error.to_string(),
            (None, StepStatus::Succeeded) => "dry run: nothing was touched".to_owned(),
            _ => String::new(),
        };
    }
    let answer = run.answers.last();
    let asked = match approval {
        Approval::Auto | Approval::Deny => "without asking anybody",
        Approval::Ask => "on the terminal",
    };
    plan.approval = match answer {
        Some(answer) => ApprovalStory {
            answer: if answer.says == Says::Approve { "approved" } else { "denied" },
            by: answer.by.clone(),
            how: if answer.comment.is_empty() { asked.to_owned() } else { answer.comment.clone() },
        },
        None => ApprovalStory {
            answer: "not approved",
            by: "nobody".to_owned(),
            how: run.because.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        },
    };
    plan.state = match run.ending() {
        Some(ending) => name(&ending),
        None => name(&run.state),
    };
    plan.outcome = run.outcome.filter(|_| run.started_at.is_some());
    plan.verification = verification(run);
    if run.ending() != Some(Ending::Succeeded) && plan.verification.is_empty() {
        plan.verification = run.because.clone();
    }
}

/// What verification measured; measurements that say the same in a row share a line.
fn verification(run: &Run) -> Vec<Reason> {
    let taken = &run.progress.taken;
    let same = taken.chunk_by(|a, b| a.reason.sentence == b.reason.sentence);
    let line = |chunk: &[Measurement]| {
        let (first, last) = (chunk.first()?, chunk.last()?);
        let when = match chunk.len() {
            1 => clock(first.at),
            n => format!("{} to {}, {n} times", clock(first.at), clock(last.at)),
        };
        let sentence = format!("{when}: {}", first.reason);
        Some(Reason { sentence, ..first.reason.clone() })
    };
    same.filter_map(line).collect()
}

/// A unit variant's name as JSON has it, or the tag of one with fields.
fn name<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(Value::Object(fields)) => {
            fields.values().find_map(Value::as_str).unwrap_or("unknown").to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// One entry of the audit record for people; the hash chain was checked before.
fn audit_line(record: &AuditRecord) -> AuditLine {
    let body = &record.body;
    let text = |value: &Value, field: &str| value[field].as_str().map(str::to_owned);
    let reasons = body["because"].as_array().into_iter().flatten();
    let mut parts: Vec<String> = text(body, "step").into_iter().collect();
    parts.extend(text(&body["answer"], "says"));
    parts.extend(reasons.filter_map(|reason| text(reason, "sentence")));
    let detail = if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) };
    AuditLine {
        at: record.at,
        actor: text(body, "by").unwrap_or_else(|| "pipeline".to_owned()),
        what: format!("{}{detail}", record.what.replace('_', " ")),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)
}

/// Why the action stage was not reached, when it never looked.
pub fn never_looked(incident: &Incident) -> Vec<Reason> {
    let sentence = match incident.shown_at {
        None => "the incident was never shown: it ended by itself while it was held",
        Some(_) => "the incident was over before there was anything to rank",
    };
    vec![Reason::new("never_looked", sentence)]
}
