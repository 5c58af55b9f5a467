//! What must hold between the fields of a document. Every problem is reported, not only the first.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::calendar;
use super::expr::{Expr, kind_of};
use super::parse::{DocumentError, closest};
use super::schema::{Auto, Document, Effect, Param, ParamType, Risk, SCHEMA, Step, Undo, Verify};
use super::template;

/// Most steps of a runbook.
pub const MAX_STEPS: usize = 64;
/// Most metrics that verification reads.
pub const MAX_METRICS: usize = 32;
const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);
const MAX_APPROVAL_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);

/// The names that a condition or template may use before any step ran.
const SITUATION: [&str; 5] = ["incident", "cause", "ranking", "alerts", "params"];
const IN_STEP: [&str; 7] = ["incident", "cause", "ranking", "alerts", "params", "targets", "steps"];
const IN_UNDO: [&str; 8] =
    ["incident", "cause", "ranking", "alerts", "params", "targets", "steps", "before"];
const IN_VERIFY: [&str; 8] =
    ["incident", "cause", "ranking", "alerts", "params", "targets", "now", "before"];

/// Undo of a step: its executor restores what it found.
pub const UNDO_BY_EXECUTOR: &str = "self";
/// Undo of a step: there is nothing to take back.
pub const UNDO_NOTHING: &str = "nothing";

/// Collects problems with their paths.
struct Problems(Vec<DocumentError>);

impl Problems {
    fn add(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(DocumentError::at(path, reason));
    }

    fn require(&mut self, holds: bool, path: impl Into<String>, reason: impl Into<String>) {
        if !holds {
            self.add(path, reason);
        }
    }

    /// Names that `expr` reads must be in `known`.
    fn names(&mut self, path: &str, expr: &Expr, known: &[&str]) {
        for name in expr.names() {
            if !known.contains(&name.as_str()) {
                let mut error = DocumentError::at(
                    path,
                    format!("`{name}` is not known here; known are {}", known.join(", ")),
                );
                error.did_you_mean = closest(&name, known);
                self.0.push(error);
            }
        }
    }

    /// Templates in `value` must parse and read only `known` names.
    fn templates(&mut self, path: &str, value: &Value, known: &[&str]) {
        match template::expressions(value) {
            Ok(exprs) => exprs.iter().for_each(|e| self.names(path, e, known)),
            Err(error) => self.add(path, error.to_string()),
        }
    }
}

/// Checks a document; an empty list means that it may be used.
pub(crate) fn check(document: &Document) -> Vec<DocumentError> {
    let mut problems = Problems(Vec::new());
    check_head(document, &mut problems);
    check_match(document, &mut problems);
    for (name, param) in &document.params {
        check_param(name, param, &mut problems);
    }
    check_targets(document, &mut problems);
    check_safety(document, &mut problems);
    check_steps(document, &mut problems);
    if let Some(verify) = &document.verify {
        check_verify(verify, &mut problems);
    }
    problems.0
}

fn check_head(document: &Document, problems: &mut Problems) {
    if document.schema != SCHEMA {
        let mut error = DocumentError::at(
            "schema",
            format!("`{}` is not a schema known here", document.schema),
        );
        error.did_you_mean = Some(SCHEMA.to_owned());
        problems.0.push(error);
    }
    problems.require(
        is_name(&document.id, false),
        "id",
        "lower-case letters, digits and dashes, 1 to 64 of them, beginning with a letter",
    );
    let numbers: Vec<&str> = document.version.split('.').collect();
    problems.require(
        numbers.len() == 3 && numbers.iter().all(|n| n.parse::<u32>().is_ok()),
        "version",
        format!("`{}` is not major.minor.patch", document.version),
    );
    problems.require(!document.title.trim().is_empty(), "title", "must say what it does");
    problems.require(!document.owner.trim().is_empty(), "owner", "must name who answers for it");
    if let Some(until) = &document.valid_until {
        problems.require(
            calendar::instant(until).is_some(),
            "valid_until",
            format!("`{until}` is not an RFC 3339 instant such as 2030-01-31T12:00:00Z"),
        );
    }
}

fn check_match(document: &Document, problems: &mut Problems) {
    let matching = &document.matching;
    if let Some(when) = &matching.when {
        problems.names("match.when", when, &SITUATION);
    }
    for (i, service) in matching.services.iter().enumerate() {
        problems.require(
            !service.is_empty() && !service.contains('*'),
            format!("match.services[{i}]"),
            "a service name, not a pattern; leave `services` out for any, or use `when`",
        );
    }
    for (name, value) in
        [("min_confidence", matching.min_confidence), ("min_margin", matching.min_margin)]
    {
        problems.require(
            (0.0..=1.0).contains(&value),
            format!("match.{name}"),
            format!("must be between 0 and 1, got {value}"),
        );
    }
}

fn check_param(name: &str, param: &Param, problems: &mut Problems) {
    let path = format!("params.{name}");
    problems.require(is_name(name, true), &*path, "lower-case letters, digits and underscores");
    if param.secret {
        problems.require(
            param.kind == ParamType::String,
            format!("{path}.type"),
            "a secret is a string: the reference to it",
        );
    }
    if let Some(default) = &param.default
        && let Err(reason) = param.accepts(default)
    {
        problems.add(format!("{path}.default"), reason);
    }
    for (i, value) in param.one_of.iter().enumerate() {
        problems.require(
            param.kind.fits(value),
            format!("{path}.enum[{i}]"),
            format!("{} is not of the parameter's type", kind_of(value)),
        );
    }
    for (bound, value) in [("minimum", param.minimum), ("maximum", param.maximum)] {
        problems.require(
            value.is_none_or(f64::is_finite),
            format!("{path}.{bound}"),
            "must be a finite number",
        );
    }
}

fn check_targets(document: &Document, problems: &mut Problems) {
    let services = &document.targets.services;
    problems.require(
        !services.is_empty(),
        "targets.services",
        "name at least one target; an empty list does not mean all",
    );
    for (i, service) in services.iter().enumerate() {
        let path = format!("targets.services[{i}]");
        problems.require(
            !service.trim().is_empty() && !service.contains('*'),
            &*path,
            "a service name or a template, never a pattern: there is no value for all",
        );
        problems.templates(&path, &Value::String(service.clone()), &SITUATION);
    }
}

fn check_safety(document: &Document, problems: &mut Problems) {
    let safety = &document.safety;
    problems.require(safety.max_services >= 1, "safety.max_services", "must be at least 1");
    for (name, value) in [
        ("max_percent", safety.max_percent),
        ("max_unhealthy_percent", safety.max_unhealthy_percent),
    ] {
        problems.require(
            value > 0.0 && value <= 100.0,
            format!("safety.{name}"),
            format!("must be above 0 and at most 100, got {value}"),
        );
    }
    problems.require(safety.hops <= 16, "safety.hops", "must be at most 16");
    problems.require(
        safety.rate.runs >= 1 && !safety.rate.per.is_zero(),
        "safety.rate",
        "needs at least one run in a window that is not empty",
    );
    problems.require(safety.approvals.count <= 16, "safety.approvals.count", "must be at most 16");
    problems.require(
        !safety.approvals.timeout.is_zero() && safety.approvals.timeout <= MAX_APPROVAL_TIMEOUT,
        "safety.approvals.timeout",
        "must be above 0 and at most 7d",
    );
    for (i, freeze) in safety.freeze.iter().enumerate() {
        if let Err(reason) = calendar::check(freeze) {
            problems.add(format!("safety.freeze[{i}]"), reason);
        }
    }
    problems.require(
        safety.auto == Auto::Never || document.risk() < Risk::Irreversible,
        "safety.auto",
        "a runbook of tier 3 never runs without asking",
    );
}

fn check_steps(document: &Document, problems: &mut Problems) {
    let steps = &document.steps;
    problems.require(!steps.is_empty(), "steps", "a runbook does at least one thing");
    problems.require(steps.len() <= MAX_STEPS, "steps", format!("at most {MAX_STEPS} steps"));
    let all: Vec<&str> = steps.iter().map(|s| s.id.as_str()).collect();
    let mut earlier: BTreeSet<&str> = BTreeSet::new();
    for (i, step) in steps.iter().enumerate() {
        let path = format!("steps[{i}]");
        problems.require(
            is_name(&step.id, true),
            format!("{path}.id"),
            "lower-case letters, digits and underscores, 1 to 64 of them, beginning with a letter",
        );
        for (n, need) in step.needs.iter().enumerate() {
            if earlier.contains(need.as_str()) {
                continue;
            }
            let at = format!("{path}.needs[{n}]");
            if all.contains(&need.as_str()) {
                problems.add(at, format!("`{need}` does not come before `{}`; steps run in the order they are written", step.id));
            } else {
                let mut error = DocumentError::at(at, format!("no step is called `{need}`"));
                error.did_you_mean = closest(need, &all);
                problems.0.push(error);
            }
        }
        if !earlier.insert(&step.id) {
            problems.add(format!("{path}.id"), format!("two steps are called `{}`", step.id));
        }
        check_step(&path, step, problems);
    }
}

fn check_step(path: &str, step: &Step, problems: &mut Problems) {
    problems.require(
        !step.uses.is_empty() && ![UNDO_BY_EXECUTOR, UNDO_NOTHING].contains(&step.uses.as_str()),
        format!("{path}.uses"),
        "must name an executor",
    );
    for (name, expr) in [("if", &step.condition), ("precheck", &step.precheck)] {
        if let Some(expr) = expr {
            problems.names(&format!("{path}.{name}"), expr, &IN_STEP);
        }
    }
    for (key, value) in &step.with {
        problems.templates(&format!("{path}.with.{key}"), value, &IN_STEP);
    }
    check_timeout(path, step.timeout, problems);
    problems.require(
        (1..=10).contains(&step.retry.attempts),
        format!("{path}.retry.attempts"),
        "must be 1 to 10",
    );
    for (name, pointer) in &step.outputs {
        let at = format!("{path}.outputs.{name}");
        problems.require(is_name(name, true), &*at, "lower-case letters, digits and underscores");
        problems.require(
            pointer.is_empty() || pointer.starts_with('/'),
            at,
            format!("`{pointer}` is not a JSON pointer; it begins with / or is empty for the whole output"),
        );
    }
    match (step.effect, &step.undo) {
        (Effect::Write, None) => problems.add(
            format!("{path}.undo"),
            "a write says how it is taken back: `undo: {uses: ...}`, `undo: {uses: nothing}` when nothing is left to take back, or `effect: irreversible`",
        ),
        (Effect::Read | Effect::Irreversible, Some(_)) => problems.add(
            format!("{path}.undo"),
            "only a step with `effect: write` is taken back",
        ),
        (_, Some(undo)) => check_undo(path, undo, problems),
        (_, None) => {}
    }
}

fn check_undo(path: &str, undo: &Undo, problems: &mut Problems) {
    problems.require(!undo.uses.is_empty(), format!("{path}.undo.uses"), "must name an executor");
    let takes_nothing = [UNDO_BY_EXECUTOR, UNDO_NOTHING].contains(&undo.uses.as_str());
    problems.require(
        !takes_nothing || undo.with.is_empty(),
        format!("{path}.undo.with"),
        format!("`uses: {}` takes no values", undo.uses),
    );
    for (key, value) in &undo.with {
        problems.templates(&format!("{path}.undo.with.{key}"), value, &IN_UNDO);
    }
    check_timeout(&format!("{path}.undo"), undo.timeout, problems);
}

fn check_timeout(path: &str, timeout: Duration, problems: &mut Problems) {
    problems.require(
        !timeout.is_zero() && timeout <= MAX_TIMEOUT,
        format!("{path}.timeout"),
        "must be above 0 and at most 1d",
    );
}

fn check_verify(verify: &Verify, problems: &mut Problems) {
    problems.require(
        (1..=MAX_METRICS).contains(&verify.metrics.len()),
        "verify.metrics",
        format!("name 1 to {MAX_METRICS} metrics"),
    );
    for (name, metric) in &verify.metrics {
        let path = format!("verify.metrics.{name}");
        problems.require(is_name(name, true), &*path, "lower-case letters, digits and underscores");
        problems.require(!metric.metric.is_empty(), format!("{path}.metric"), "must name a metric");
        problems.templates(
            &format!("{path}.service"),
            &Value::String(metric.service.clone()),
            &["incident", "cause", "ranking", "alerts", "params", "targets"],
        );
        if let Some(guard) = metric.guard {
            problems.require(
                guard.tolerance_percent >= 0.0 && guard.tolerance_percent.is_finite(),
                format!("{path}.guard.tolerance_percent"),
                "must be 0 or more",
            );
        }
    }
    problems.names("verify.success_when", &verify.success_when, &IN_VERIFY);
    if let Some(fail_when) = &verify.fail_when {
        problems.names("verify.fail_when", fail_when, &IN_VERIFY);
    }
    problems.require(
        !verify.interval.is_zero() && verify.interval <= MAX_TIMEOUT,
        "verify.interval",
        "must be above 0 and at most 1d",
    );
    problems.require((1..=1_000).contains(&verify.count), "verify.count", "must be 1 to 1000");
    problems.require(
        verify.max_measurements.is_none_or(|most| most >= verify.count && most <= 10_000),
        "verify.max_measurements",
        "must be at least `count` and at most 10000",
    );
}

/// `[a-z][a-z0-9-]*` or, for names that expressions use, `[a-z][a-z0-9_]*`; 1 to 64 characters.
fn is_name(text: &str, in_expressions: bool) -> bool {
    let joint = if in_expressions { '_' } else { '-' };
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == joint)
}
