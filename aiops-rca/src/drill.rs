//! Drill-down: in which dimension of a metric does the trouble of a service lie?

use crate::error::within;
use crate::{Context, PrepareConfig, Result};
use aiops_core::{Evidence, Harm, MetricKind, Reason};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How the series of one metric are compared by their labels.
///
/// A service that has a metric several times, told apart by labels (route, code, instance, tenant),
/// may be in trouble as a whole or in one part. For each label the values are compared with normal
/// time: the power of a value is its share of the whole change, (A(v) − E(v)) / (A − E), with E the
/// expected and A the actual mean; its surprise is its part of the Jensen-Shannon divergence between
/// the expected shares E(v) / E and the actual ones. Values are taken by surprise, those with too
/// little power left out, until they explain enough together; the dimension whose values surprise
/// most is the finding. A change that all values share in proportion surprises nobody: no finding.
///
/// Meant for what adds up: counts, rates, bytes, seconds spent. Levels that do not add up (ratios,
/// quantiles) are added all the same; read their power as "where", not "how much". One label at a
/// time: a fault of one route on one instance gives two findings.
///
/// Time O(series of the service · steps).
///
/// Source: Bhagwan et al. 2014 (Adtributor), sections 3.1 to 3.3. Deviations: harmful direction only;
/// a minimal surprise instead of always the best three.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrillConfig {
    /// What is normal time and what is the incident.
    pub prepare: PrepareConfig,
    /// Values with a smaller share of the change are left out. Default 0.1, as published.
    pub min_power: f64,
    /// The values of a finding explain at least this share together. Default 0.67, as published.
    pub power: f64,
    /// Dimensions whose values surprise less together are no finding. Default 0.02 (a guess: the
    /// divergence is at most 0.69; 0.02 is a share that went from one half to two thirds).
    pub min_surprise: f64,
}

impl Default for DrillConfig {
    fn default() -> Self {
        let prepare = PrepareConfig::default();
        DrillConfig { prepare, min_power: 0.1, power: 0.67, min_surprise: 0.02 }
    }
}

/// One value of a dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct DimensionValue {
    /// The label's value; empty for the series without the label.
    pub value: String,
    /// Its mean in normal time, summed over its series.
    pub expected: f64,
    /// The same in the incident.
    pub actual: f64,
    /// Its share of the whole change.
    pub power: f64,
    /// Its part of the divergence.
    pub surprise: f64,
}

/// Where the trouble of one metric lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The metric's name.
    pub metric: String,
    /// What it measures.
    pub kind: MetricKind,
    /// The label.
    pub dimension: String,
    /// The values that explain the change, most surprising first.
    pub values: Vec<DimensionValue>,
    /// How many values the dimension has.
    pub of: usize,
    /// Their surprise together.
    pub surprise: f64,
}

impl Finding {
    /// The finding as evidence for a ranking.
    pub fn evidence(&self) -> Evidence {
        let names: Vec<String> = self.values.iter().map(|v| v.value.clone()).collect();
        let power: f64 = self.values.iter().map(|v| v.power).sum();
        let sentence = format!(
            "{:.0} % of the change in {} lies at {}={} (of {} values)",
            power.min(1.0) * 100.0,
            self.metric,
            self.dimension,
            names.join(", "),
            self.of
        );
        let reason = Reason::new("dimension", sentence)
            .with("metric", self.metric.clone())
            .with("dimension", self.dimension.clone())
            .with("values", names)
            .with("power", power);
        Evidence::Other { reason }
    }
}

impl DrillConfig {
    /// Checks the values and builds the step.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<Drill> {
        self.prepare.check()?;
        within("min_power", self.min_power, 0.0, 1.0)?;
        within("power", self.power, 0.0, 1.0)?;
        within("min_surprise", self.min_surprise, 0.0, 1.0)?;
        Ok(Drill { config: self })
    }
}

/// The step of [`DrillConfig`].
#[derive(Debug, Clone)]
pub struct Drill {
    config: DrillConfig,
}

/// A series with its expected and actual mean.
struct Part {
    row: usize,
    expected: f64,
    actual: f64,
}

impl Drill {
    /// The findings for one service, most surprising first; at most one for each metric.
    ///
    /// # Errors
    /// Those of [`Context::check`].
    pub fn drill(&self, context: &Context<'_>, service: &str) -> Result<Vec<Finding>> {
        context.check()?;
        let spans = self.config.prepare.spans(context);
        let mut metrics: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, info) in context.metrics.iter().enumerate() {
            if info.service.as_deref() == Some(service) {
                metrics.entry(&context.window.series()[row].name).or_default().push(row);
            }
        }
        let many = metrics.into_iter().filter(|(_, rows)| rows.len() > 1);
        let mut findings: Vec<Finding> =
            many.filter_map(|(name, rows)| self.metric(context, &spans, name, &rows)).collect();
        findings.sort_by(|a, b| {
            b.surprise.total_cmp(&a.surprise).then_with(|| a.metric.cmp(&b.metric))
        });
        Ok(findings)
    }

    fn metric(
        &self,
        context: &Context<'_>,
        (before, incident): &(std::ops::Range<usize>, std::ops::Range<usize>),
        name: &str,
        rows: &[usize],
    ) -> Option<Finding> {
        let frame = context.window;
        let part = |&row: &usize| {
            let normal = context.normal.map_or(&frame.row(row)[before.clone()], |n| n.row(row));
            let expected = mean(normal)?;
            // What is gone altogether counts as nothing, not as unknown.
            let actual = mean(&frame.row(row)[incident.clone()]).unwrap_or(0.0);
            Some(Part { row, expected: expected.max(0.0), actual: actual.max(0.0) })
        };
        let parts: Vec<Part> = rows.iter().filter_map(part).collect();
        let total = |pick: fn(&Part) -> f64| parts.iter().map(pick).sum::<f64>();
        let (expected, actual) = (total(|p| p.expected), total(|p| p.actual));
        let info = &context.metrics[*rows.first()?];
        let worse = match info.harm {
            Harm::Both => (actual - expected).abs(),
            harm => harm.of(actual - expected),
        };
        if parts.len() < 2 || !(worse > 0.0 && worse.is_finite()) {
            return None;
        }
        let keys: BTreeSet<&str> = parts
            .iter()
            .flat_map(|p| frame.series()[p.row].labels.iter().map(|(key, _)| key))
            .filter(|key| *key != "service")
            .collect();
        let found = keys.into_iter().filter_map(|dimension| {
            let mut values: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
            for part in &parts {
                let value = frame.series()[part.row].labels.get(dimension).unwrap_or_default();
                let sums = values.entry(value).or_default();
                *sums = (sums.0 + part.expected, sums.1 + part.actual);
            }
            let of = values.len();
            let values = self.explain(values, expected, actual)?;
            let surprise = values.iter().map(|v| v.surprise).sum();
            let (metric, dimension) = (name.to_owned(), dimension.to_owned());
            Some(Finding { metric, kind: info.kind, dimension, values, of, surprise })
        });
        // Of equal ones the first by name.
        let best = found.reduce(|best, f| if f.surprise > best.surprise { f } else { best })?;
        (best.surprise >= self.config.min_surprise).then_some(best)
    }

    /// The values of one dimension that explain enough; `None` when they do not, or when it takes
    /// all of them.
    fn explain(
        &self,
        values: BTreeMap<&str, (f64, f64)>,
        expected: f64,
        actual: f64,
    ) -> Option<Vec<DimensionValue>> {
        let of = values.len();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let mut all: Vec<DimensionValue> = values
            .into_iter()
            .map(|(value, (e, a))| DimensionValue {
                value: value.to_owned(),
                expected: e,
                actual: a,
                power: (a - e) / (actual - expected),
                surprise: divergence(share(e, expected), share(a, actual)),
            })
            .filter(|v| v.power >= self.config.min_power)
            .collect();
        all.sort_by(|a, b| b.surprise.total_cmp(&a.surprise).then_with(|| a.value.cmp(&b.value)));
        let mut explained = 0.0;
        let enough = all.iter().position(|v| {
            explained += v.power;
            explained >= self.config.power
        })?;
        all.truncate(enough + 1);
        (all.len() < of).then_some(all)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    let (sum, n) = values
        .iter()
        .filter(|v| v.is_finite())
        .fold((0.0, 0_usize), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// One term of the Jensen-Shannon divergence.
fn divergence(p: f64, q: f64) -> f64 {
    let half = |a: f64| if a > 0.0 { 0.5 * a * (2.0 * a / (p + q)).ln() } else { 0.0 };
    half(p) + half(q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MetricInfo;
    use aiops_core::{Frame, SeriesKey, Timestamp, Topology};
    use std::time::Duration;

    /// Errors of one service by route and instance; `factor` says how much more of each.
    fn findings(factor: impl Fn(&str, &str) -> f64) -> Vec<Finding> {
        let (mut keys, mut values) = (vec![], vec![]);
        for route in ["cart", "checkout", "list"] {
            for instance in ["a", "b"] {
                let labels = [("service", "api"), ("route", route), ("instance", instance)];
                keys.push(SeriesKey::new("errors", labels));
                let after = 1.0 * factor(route, instance);
                values.extend((0..400).map(|t| if t < 300 { 1.0 } else { after }));
            }
        }
        let metrics = vec![MetricInfo::new("api", MetricKind::Errors); keys.len()];
        let window = Frame::new(keys, Timestamp::EPOCH, Duration::from_secs(1), values).unwrap();
        let topology = Topology::new();
        let began = Timestamp::from_secs(300);
        let context = Context::new(&window, &metrics, &topology, began).unwrap();
        DrillConfig::default().build().unwrap().drill(&context, "api").unwrap()
    }

    #[test]
    fn the_part_in_trouble_is_named() {
        let found = findings(|route, _| if route == "checkout" { 10.0 } else { 1.0 });
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((finding.dimension.as_str(), finding.of), ("route", 3));
        assert_eq!(finding.values.len(), 1);
        let value = &finding.values[0];
        assert_eq!((value.value.as_str(), value.expected, value.actual), ("checkout", 2.0, 20.0));
        assert!((value.power - 1.0).abs() < 1e-12);
        // By hand: p = 1/3, q = 20/24.
        let (p, q) = (1.0 / 3.0_f64, 20.0 / 24.0_f64);
        let expected = 0.5 * p * (2.0 * p / (p + q)).ln() + 0.5 * q * (2.0 * q / (p + q)).ln();
        assert!((value.surprise - expected).abs() < 1e-12);
    }

    #[test]
    fn what_all_share_is_no_finding() {
        assert_eq!(findings(|_, _| 5.0), []);
        assert_eq!(findings(|_, _| 1.0), []);
        assert_eq!(findings(|route, _| if route == "list" { 0.1 } else { 1.0 }), [], "better");
    }
}
