//! Proposals: what a plan would do, found out by reading alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Engine;
use crate::approve::{Earned, Question};
use crate::book::Book;
use crate::error::{Error, Result};
use crate::executor::{Call, Preview, StepError};
use crate::gates::{self, GateInput, GateReport};
use crate::matcher::Fit;
use crate::plan::Plan;
use crate::runbook::{Risk, Step, UNDO_BY_EXECUTOR, UNDO_NOTHING, template};
use crate::situation::Situation;
use crate::trust::{Level, TrustKey};

/// A plan and everything that can be known about it without doing anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// The plan, ready to be submitted.
    pub plan: Plan,
    /// Each step, with what its executor says it would do.
    pub steps: Vec<StepPreview>,
    /// What the gates say now. They are asked again when it is submitted, and after the approval.
    pub gates: GateReport,
    /// What people would be asked.
    pub question: Question,
}

/// What one step would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepPreview {
    /// The step's id.
    pub id: String,
    /// The executor.
    pub uses: String,
    /// What it would be given, as far as that is known: a template that reads the output of an
    /// earlier step is still a template.
    pub with: Map<String, Value>,
    /// What the executor says; `None` when the call depends on an earlier step.
    pub preview: Option<std::result::Result<Preview, StepError>>,
}

impl Engine {
    /// Makes a plan for a fit, and finds out what it would do. Calls only what reads: gates are
    /// checked and executors look, nothing is written and nothing is run.
    ///
    /// # Errors
    /// A parameter or target does not fit, an executor is missing, or the store failed.
    pub async fn propose(
        &self,
        fit: &Fit,
        situation: &Situation,
        params: &BTreeMap<String, Value>,
    ) -> Result<Proposal> {
        let now = self.0.clock.now();
        let proposer = &self.0.config.name;
        let mut plan = Plan::new(fit, situation, params, proposer, now)?;
        self.require_executors(&plan)?;
        let max_age = self.0.config.gates.max_topology_age;
        plan.measure_blast(&self.0.world.topology(), max_age, now);
        let mut steps = Vec::new();
        for step in &fit.runbook.document().steps {
            let preview = self.preview(&plan, step).await?;
            steps.push(preview);
        }
        self.raise_to_floor(&mut plan)?;
        let (book, _) = self.blocking(|journal| journal.book()).await?;
        let gates = self.check_gates(&plan).await?;
        let earned = self.earned(&plan, &book);
        let question = self.0.config.approval.question(&plan, earned.as_ref(), now);
        Ok(Proposal { plan, steps, gates, question })
    }

    async fn preview(&self, plan: &Plan, step: &Step) -> Result<StepPreview> {
        let executor = self.require_executor(&step.uses)?;
        let (call, complete) = planned(plan, step);
        let preview = if complete { Some(executor.plan(&call).await) } else { None };
        Ok(StepPreview { id: call.step, uses: call.uses, with: call.with, preview })
    }

    /// Raises the tier of a plan to the least that its document, its executors, those of its undos, and
    /// its number of targets allow.
    pub(super) fn raise_to_floor(&self, plan: &mut Plan) -> Result<()> {
        let document = plan.runbook.document();
        let mut floor = document.risk();
        for step in &document.steps {
            let (call, _) = planned(plan, step);
            floor = floor.max(self.require_executor(&step.uses)?.risk_floor(&call));
            let Some(undo) = &step.undo else { continue };
            if ![UNDO_BY_EXECUTOR, UNDO_NOTHING].contains(&undo.uses.as_str()) {
                let (uses, with) = (undo.uses.clone(), plan.fill(&undo.with));
                let step = format!("{}/undo", step.id);
                let call = Call { step, uses, with, timeout: undo.timeout, ..call };
                floor = floor.max(self.require_executor(&undo.uses)?.risk_floor(&call));
            }
        }
        if plan.targets.count() > 1 && floor > Risk::ReadOnly {
            floor = floor.max(Risk::Stateful);
        }
        plan.raise_risk(floor);
        Ok(())
    }

    /// Checks every gate for a plan, as they stand now.
    ///
    /// # Errors
    /// The store failed.
    pub async fn check_gates(&self, plan: &Plan) -> Result<GateReport> {
        let (paused, (book, _)) =
            self.blocking(|journal| Ok::<_, Error>((journal.paused()?, journal.book()?))).await?;
        Ok(self.gate_report(plan, paused.as_deref(), &book))
    }

    fn level(&self, plan: &Plan, book: &Book) -> Level {
        // A plan whose executors are gone is not run anyway.
        let key = self.trust_key(plan);
        key.map_or(Level::Suggest, |key| book.trust.level(&key, &self.0.config.trust))
    }

    /// Whether the plan may run without asking: it has earned that now, or it began when it had. Trust
    /// that is lost in the middle does not stop a run halfway, and not its rollback either.
    pub(super) fn earned(&self, plan: &Plan, book: &Book) -> Option<Earned> {
        let now = self.0.clock.now();
        let began = book.in_flight.get(&plan.run).is_some_and(|entry| entry.unasked);
        let has = |key: TrustKey| book.trust.runs_alone(plan, &key, &self.0.config.trust, now);
        (began || self.trust_key(plan).is_ok_and(has)).then(|| Earned::by(plan))
    }

    pub(super) fn gate_report(&self, plan: &Plan, paused: Option<&str>, book: &Book) -> GateReport {
        let world = &self.0.world;
        let situation = world.situation(plan.incident);
        let topology = world.topology();
        let unhealthy = world.unhealthy();
        let input = GateInput {
            now: self.0.clock.now(),
            paused,
            mode: self.mode(),
            incident: situation.as_ref().map(|s| &s.incident),
            ranking: situation.as_ref().map(|s| &s.ranking),
            calibrated: world.calibrated(),
            topology: &topology,
            unhealthy: &unhealthy,
            book,
            level: self.level(plan, book),
        };
        gates::check(plan, &self.0.config.gates, &input)
    }
}

/// The call of a step as far as it is known before anything ran, and whether all of it is.
fn planned(plan: &Plan, step: &Step) -> (Call, bool) {
    let rendered = template::render(&Value::Object(step.with.clone()), &plan.scope());
    let (with, complete) = match rendered {
        Ok(Value::Object(with)) => (with, true),
        _ => (step.with.clone(), false),
    };
    let (step_id, uses) = (step.id.clone(), step.uses.clone());
    let targets = plan.targets.iter().map(str::to_owned).collect();
    (Call { step: step_id, uses, with, targets, timeout: step.timeout }, complete)
}
