//! Verification: did it help? Good, bad and "no data" are told apart, and missing data is never ok.

use std::collections::BTreeMap;
use std::time::Duration;

use aiops_core::{Outcome, Reason, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::executor::BoxFuture;
use crate::plan::Plan;
use crate::runbook::template;
use crate::runbook::{Direction, Verify};

/// One value that verification asks for: the mean of a metric over the time before an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricQuery {
    /// Name of the metric.
    pub metric: String,
    /// Service it belongs to; empty when the labels say it all.
    pub service: String,
    /// Labels that select the series.
    pub labels: BTreeMap<String, String>,
    /// Mean over this long.
    pub over: Duration,
}

/// Where verification reads metrics.
///
/// # For implementers
/// Answer `None` when there is no sample in the window, when the source cannot be reached, or when
/// the answer would be a guess. Zero is a claim. NaN counts as `None`.
pub trait Metrics: Send + Sync {
    /// The value of `query` at `at`.
    fn read<'a>(&'a self, query: &'a MetricQuery, at: Timestamp) -> BoxFuture<'a, Option<f64>>;
}

/// A closure as a metric source, for replays and tests.
///
/// ```
/// use aiops_act::{MetricFn, MetricQuery};
/// use aiops_core::Timestamp;
/// let source = MetricFn(|query: &MetricQuery, _at: Timestamp| {
///     (query.metric == "up").then_some(1.0)
/// });
/// # let _: &dyn aiops_act::Metrics = &source;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MetricFn<F>(pub F);

impl<F> Metrics for MetricFn<F>
where
    F: Fn(&MetricQuery, Timestamp) -> Option<f64> + Send + Sync,
{
    fn read<'a>(&'a self, query: &'a MetricQuery, at: Timestamp) -> BoxFuture<'a, Option<f64>> {
        let value = (self.0)(query, at);
        Box::pin(std::future::ready(value))
    }
}

/// A metric source that knows nothing: every verification is inconclusive.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMetrics;

impl Metrics for NoMetrics {
    fn read<'a>(&'a self, _: &'a MetricQuery, _: Timestamp) -> BoxFuture<'a, Option<f64>> {
        Box::pin(std::future::ready(None))
    }
}

/// Values by the name that conditions use; `None` where there was no data.
pub type Values = BTreeMap<String, Option<f64>>;

/// What one measurement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// The success condition holds and no guard is hurt.
    Good,
    /// The failure condition holds, or a guarded metric is worse than before.
    Bad,
    /// Neither.
    NotYet,
    /// A value is missing, so nothing can be said.
    NoData,
}

/// One measurement with its judgement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// When.
    pub at: Timestamp,
    /// What was read.
    pub values: Values,
    /// What it says.
    pub judged: Judged,
    /// Why.
    pub reason: Reason,
}

/// How far verification has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What was measured before the first step.
    pub before: Values,
    /// Measurements after the last step, oldest first.
    pub taken: Vec<Measurement>,
}

/// The queries of a document's verification, with templates filled in.
///
/// # Errors
/// A service template without a value.
pub fn queries(plan: &Plan) -> Result<BTreeMap<String, MetricQuery>, template::TemplateError> {
    let mut queries = BTreeMap::new();
    let Some(verify) = &plan.runbook.document().verify else { return Ok(queries) };
    let scope = plan.scope();
    for (name, metric) in &verify.metrics {
        let service = match template::render_text(&metric.service, &scope)? {
            Value::String(service) => service,
            other => other.to_string(),
        };
        let query = MetricQuery {
            metric: metric.metric.clone(),
            service,
            labels: metric.labels.clone(),
            over: metric.over,
        };
        queries.insert(name.clone(), query);
    }
    Ok(queries)
}

/// Judges one measurement.
#[must_use]
pub fn judge(verify: &Verify, plan: &Plan, before: &Values, now: &Values) -> (Judged, Reason) {
    if let Some(missing) = verify.metrics.keys().find(|name| value(now, name).is_none()) {
        let sentence = format!("no value of {missing}");
        return (Judged::NoData, Reason::new("no_data", sentence).with("metric", &**missing));
    }
    for (name, metric) in &verify.metrics {
        let Some(guard) = metric.guard else { continue };
        let (Some(was), Some(is)) = (value(before, name), value(now, name)) else {
            let sentence = format!("no value of {name} from before the run to compare with");
            return (Judged::NoData, Reason::new("no_baseline", sentence).with("metric", &**name));
        };
        let noise = was.abs() * guard.tolerance_percent / 100.0;
        let hurt = match guard.worse {
            Direction::Up => is > was + noise,
            Direction::Down => is < was - noise,
        };
        if hurt {
            let sentence = format!("{name} is worse than before: {was:.4} then, {is:.4} now");
            let reason = Reason::new("guard", sentence).with("metric", &**name);
            return (Judged::Bad, reason.with("before", was).with("now", is));
        }
    }
    let scope =
        plan.scope().with("before", json!(present(before))).with("now", json!(present(now)));
    if let Some(fail_when) = &verify.fail_when {
        match fail_when.holds(&scope) {
            Ok(true) => {
                return (Judged::Bad, Reason::new("fail_when", format!("`{fail_when}` holds")));
            }
            Ok(false) => {}
            Err(error) => return (Judged::NoData, Reason::new("no_data", error.to_string())),
        }
    }
    let success_when = &verify.success_when;
    match success_when.holds(&scope) {
        Ok(true) => (Judged::Good, Reason::new("success_when", format!("`{success_when}` holds"))),
        Ok(false) => {
            (Judged::NotYet, Reason::new("not_yet", format!("`{success_when}` does not hold yet")))
        }
        Err(error) => (Judged::NoData, Reason::new("no_data", error.to_string())),
    }
}

impl Progress {
    /// Takes a measurement in; `Some` when it settles the matter.
    ///
    /// Worse as soon as more than `failure_limit` measurements were bad; ok after `count` good
    /// ones in a row; inconclusive when `max_measurements` were taken without either.
    pub fn record(
        &mut self,
        verify: &Verify,
        plan: &Plan,
        at: Timestamp,
        values: Values,
    ) -> Option<Outcome> {
        let (judged, reason) = judge(verify, plan, &self.before, &values);
        self.taken.push(Measurement { at, values, judged, reason });
        let bad = self.taken.iter().filter(|m| m.judged == Judged::Bad).count();
        let good = self.taken.iter().rev().take_while(|m| m.judged == Judged::Good).count();
        let most = verify.max_measurements.unwrap_or(verify.count.saturating_mul(4));
        if bad > verify.failure_limit as usize {
            Some(Outcome::Worse)
        } else if good >= verify.count as usize {
            Some(Outcome::Ok)
        } else if self.taken.len() >= most as usize {
            Some(Outcome::Inconclusive)
        } else {
            None
        }
    }
}

/// The finite value of a metric.
fn value(values: &Values, name: &str) -> Option<f64> {
    values.get(name).copied().flatten().filter(|v| v.is_finite())
}

/// The values that are there; a condition that asks for another has no value.
fn present(values: &Values) -> BTreeMap<&str, f64> {
    values.keys().filter_map(|name| Some((name.as_str(), value(values, name)?))).collect()
}
