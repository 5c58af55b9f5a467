//! Ranking by regression on causal parents: who behaves otherwise than its parents explain?

use super::scorer::candidate;
use crate::error::within;
use crate::linalg::{Symmetric, dot};
use crate::prepare::{Prepared, Suspect};
use crate::stats::{mean_std, upper_mean};
use crate::{Context, MagnitudeConfig, PrepareConfig, Result, RootCauseAnalyzer, parallel};
use aiops_core::{Candidate, Depends, Evidence, MetricKind, Ranking};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Regression-based hypothesis testing on the known topology.
///
/// Each metric is regressed, over normal time, on its causal parents: the metrics of the same kind
/// of the services that its own depends on, and its own service's throughput. A metric whose
/// residual stays small during the incident is explained by them; one whose residual leaves its
/// normal range is where the fault entered. A service scores as its worst residual, in standard
/// deviations and in the harmful direction; then every abnormal service gets the largest score of
/// those that directly depend on it on top ("descendant adjustment"): a cause with loud effects
/// before one with none.
///
/// Finds the entry point also where a symptom is louder than its cause. Fails where normal time never
/// varied enough to learn the regression, and, like all of this crate, where edges are missing.
/// Time O(rows · steps · parents²), in parallel over rows.
///
/// Source: Li et al. 2022 (CIRCA), sections 4.2 and 4.3. Deviations: harmful direction only, ridge
/// regression in place of the support vector regression, services in place of metrics as candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HypothesisConfig {
    /// How the window is read; the scale of a metric without parents is the one defined here.
    pub prepare: PrepareConfig,
    /// How residuals are weighed; symptoms play no part.
    pub magnitude: MagnitudeConfig,
    /// Added to the diagonal of the normal equations, as a share of it. Default 0.01.
    pub ridge: f64,
    /// At most so many parents a metric, in the order of their names. Default 10.
    pub max_parents: usize,
    /// Whether the scores of direct dependents are added. Default true.
    pub adjust: bool,
    /// The score that the unknown weighs as much as. Default 3.
    pub unknown_score: f64,
}

impl Default for HypothesisConfig {
    fn default() -> Self {
        HypothesisConfig {
            prepare: PrepareConfig::default(),
            magnitude: MagnitudeConfig::default(),
            ridge: 0.01,
            max_parents: 10,
            adjust: true,
            unknown_score: 3.0,
        }
    }
}

impl HypothesisConfig {
    /// Checks the values and builds the analyzer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<HypothesisTest> {
        self.prepare.check()?;
        self.magnitude.check()?;
        within("ridge", self.ridge, 1e-12, 1e6)?;
        within("unknown_score", self.unknown_score, 0.0, 1e12)?;
        Ok(HypothesisTest { config: self })
    }
}

/// The analyzer of [`HypothesisConfig`].
#[derive(Debug, Clone)]
pub struct HypothesisTest {
    config: HypothesisConfig,
}

impl RootCauseAnalyzer for HypothesisTest {
    fn id(&self) -> &str {
        "hypothesis"
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        let prepared = self.config.prepare.prepare(context)?;
        let scores: Vec<Vec<(usize, f64)>> = parallel::map(&prepared.suspects, |suspect| {
            self.residuals(context, &prepared, suspect)
        });
        let HypothesisConfig { prepare, magnitude, .. } = &self.config;
        let weight = |&(index, score): &(usize, f64)| {
            magnitude.kind(prepared.deviations[index].kind)
                * magnitude.of_score(score, prepare.abnormal)
        };
        let own: Vec<f64> =
            scores.iter().map(|of| of.iter().map(weight).fold(0.0, f64::max)).collect();
        let adjusted = self.adjusted(context, &prepared, &own);
        let mut candidates: Vec<Candidate> = vec![];
        for ((suspect, score), mut residuals) in prepared.suspects.iter().zip(adjusted).zip(scores)
        {
            residuals.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
            let evidence = residuals.iter().take(3).map(|&(index, score)| {
                let deviation = &prepared.deviations[index];
                Evidence::Magnitude {
                    metric: deviation.metric(),
                    score,
                    expected: deviation.expected,
                    observed: deviation.observed,
                }
            });
            candidates.extend(candidate(&suspect.service, score, evidence.collect()));
        }
        let unknown = magnitude.of_score(self.config.unknown_score, prepare.abnormal);
        let mut ranking = Ranking::from_weights(self.id(), candidates, unknown)?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

impl HypothesisTest {
    /// For each deviation of a suspect the score of its residual; its plain score where it has no
    /// parents, or where normal time is too short to learn from.
    fn residuals(
        &self,
        context: &Context<'_>,
        prepared: &Prepared,
        suspect: &Suspect,
    ) -> Vec<(usize, f64)> {
        let score = |&index: &usize| {
            let deviation = &prepared.deviations[index];
            let learned = deviation.row.and_then(|row| {
                let parents = self.parents(context, prepared, suspect, row);
                self.residual_score(context, row, &parents)
            });
            // What the parents explain can only take away from what was seen.
            (index, learned.map_or(deviation.score, |score| score.min(deviation.score)))
        };
        suspect.deviations.iter().map(score).collect()
    }

    /// Rows of the same kind of the services depended on, and the own throughput.
    fn parents(
        &self,
        context: &Context<'_>,
        prepared: &Prepared,
        suspect: &Suspect,
        row: usize,
    ) -> Vec<usize> {
        let kind = context.metrics[row].kind;
        let dependencies =
            suspect.node.map(|node| context.topology.neighbours(node, Depends::Dependencies));
        let below = dependencies.unwrap_or_default();
        let near = below.iter().filter_map(|&node| prepared.suspect(context.topology.name(node)?));
        let rows_of = |index: usize| {
            let deviations = prepared.suspects[index].deviations.iter();
            deviations.filter_map(|&d| prepared.deviations[d].row)
        };
        let same = near.flat_map(rows_of).filter(|&r| context.metrics[r].kind == kind);
        let throughput = MetricKind::Throughput;
        let own = suspect.deviations.iter().filter_map(|&d| prepared.deviations[d].row);
        let own = own.filter(|&r| r != row && context.metrics[r].kind == throughput);
        let own = own.filter(|_| kind != throughput);
        let mut parents: Vec<usize> = same.chain(own).collect();
        parents.sort_by(|&a, &b| context.window.series()[a].cmp(&context.window.series()[b]));
        parents.truncate(self.config.max_parents);
        parents
    }

    fn residual_score(&self, context: &Context<'_>, row: usize, parents: &[usize]) -> Option<f64> {
        if parents.is_empty() {
            return None;
        }
        let config = &self.config.prepare;
        let (before, incident) = config.spans(context);
        let normal = context.normal.unwrap_or(context.window);
        let learn: Vec<usize> = match context.normal {
            Some(normal) => (0..normal.n_steps()).collect(),
            None => before.collect(),
        };
        let whole = |frame: &aiops_core::Frame, t: usize| {
            frame.row(row)[t].is_finite() && parents.iter().all(|&p| frame.row(p)[t].is_finite())
        };
        let learn: Vec<usize> = learn.into_iter().filter(|&t| whole(normal, t)).collect();
        if learn.len() < config.min_normal.max(3 * parents.len()) {
            return None;
        }
        let column = |r: usize| -> Vec<f64> { learn.iter().map(|&t| normal.row(r)[t]).collect() };
        let centre = |values: Vec<f64>| {
            let (mean, _) = mean_std(&values);
            (mean, values.into_iter().map(|v| v - mean).collect::<Vec<f64>>())
        };
        let (mean, target) = centre(column(row));
        let (means, columns): (Vec<f64>, Vec<Vec<f64>>) =
            parents.iter().map(|&p| centre(column(p))).unzip();
        let views: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let gram = Symmetric::gram(&views);
        let ridge = 1.0 + self.config.ridge;
        let tiny = f64::MIN_POSITIVE.sqrt();
        let ridged = Symmetric::from_fn(gram.len(), |i, j| match i == j {
            true => gram.at(i, i) * ridge + tiny,
            false => gram.at(i, j),
        });
        let with: Vec<f64> = views.iter().map(|column| dot(column, &target)).collect();
        let slopes = ridged.cholesky()?.solve(&with);
        let residual = |frame: &aiops_core::Frame, t: usize| {
            let explained = parents.iter().zip(&means).zip(&slopes);
            let explained = explained.map(|((&p, m), b)| b * (frame.row(p)[t] - m));
            frame.row(row)[t] - mean - explained.sum::<f64>()
        };
        let rest: Vec<f64> = learn.iter().map(|&t| residual(normal, t)).collect();
        let (_, spread) = mean_std(&rest);
        let scale = (config.std_share * spread).max(config.relative_floor * mean.abs());
        if scale <= 0.0 {
            return None;
        }
        let harm = context.metrics[row].harm;
        let steps = incident.filter(|&t| whole(context.window, t));
        let mut worse: Vec<f64> =
            steps.map(|t| harm.of(residual(context.window, t)).max(0.0)).collect();
        Some((upper_mean(&mut worse, config.upper_share) / scale).min(1e12))
    }

    /// Adds the largest score of the direct dependents, for services that are abnormal themselves.
    fn adjusted(&self, context: &Context<'_>, prepared: &Prepared, own: &[f64]) -> Vec<f64> {
        let abnormal = self.config.prepare.abnormal;
        let level = self.config.magnitude.of_score(abnormal, abnormal);
        let index: BTreeMap<_, usize> = prepared
            .suspects
            .iter()
            .enumerate()
            .filter_map(|(i, suspect)| Some((suspect.node?, i)))
            .collect();
        let adjust = |(i, suspect): (usize, &Suspect)| {
            let Some(node) = suspect.node.filter(|_| self.config.adjust && own[i] > level) else {
                return own[i];
            };
            let above = context.topology.neighbours(node, Depends::Dependents);
            let loudest = above.iter().filter_map(|node| Some(own[*index.get(node)?]));
            own[i] + loudest.fold(0.0, f64::max)
        };
        prepared.suspects.iter().enumerate().map(adjust).collect()
    }
}
