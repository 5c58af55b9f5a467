//! Rankings by one statistic, without any graph: the bar that causality has to clear.

use crate::error::within;
use crate::prepare::Prepared;
use crate::stats::{finite, mean_std, quantile};
use crate::{Context, MagnitudeConfig, PrepareConfig, Result, RootCauseAnalyzer};
use aiops_core::{Candidate, Cause, Evidence, Ranking};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ranks services by their worst metric, as prepared for the default analyzer: harm only, with a
/// floor under the scale, and only what is new. No topology, no timing, no changes.
///
/// This is the control for the claim that causality pays its way: whatever the default wins over it
/// comes from the graph and the symptom, not from the preparation that both share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RobustConfig {
    /// How the window is read.
    pub prepare: PrepareConfig,
    /// How deviations are weighed; symptoms play no part.
    pub magnitude: MagnitudeConfig,
    /// The score that the unknown weighs as much as. Default 3.
    pub unknown_score: f64,
}

impl Default for RobustConfig {
    fn default() -> Self {
        let (prepare, magnitude) = (PrepareConfig::default(), MagnitudeConfig::default());
        RobustConfig { prepare, magnitude, unknown_score: 3.0 }
    }
}

impl RobustConfig {
    /// Checks the values and builds the analyzer.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn build(self) -> Result<RobustScorer> {
        self.prepare.check()?;
        self.magnitude.check()?;
        within("unknown_score", self.unknown_score, 0.0, 1e12)?;
        Ok(RobustScorer { config: self })
    }
}

/// The analyzer of [`RobustConfig`].
#[derive(Debug, Clone)]
pub struct RobustScorer {
    config: RobustConfig,
}

impl RobustScorer {
    pub(crate) fn rank_prepared(
        &self,
        context: &Context<'_>,
        prepared: &Prepared,
    ) -> Result<Ranking> {
        let RobustConfig { prepare, magnitude, unknown_score } = &self.config;
        let mut candidates = vec![];
        for suspect in &prepared.suspects {
            let weigh = |index: usize| {
                let deviation = &prepared.deviations[index];
                magnitude.kind(deviation.kind)
                    * magnitude.of_score(deviation.score, prepare.abnormal)
            };
            let mut metrics: Vec<(f64, usize)> =
                suspect.deviations.iter().map(|&index| (weigh(index), index)).collect();
            metrics.sort_by(|a, b| b.0.total_cmp(&a.0));
            let score = metrics.first().map_or(0.0, |(weight, _)| *weight);
            let evidence = metrics.iter().take(3).map(|&(_, index)| {
                let deviation = &prepared.deviations[index];
                Evidence::Magnitude {
                    metric: deviation.metric(),
                    score: deviation.score,
                    expected: deviation.expected,
                    observed: deviation.observed,
                }
            });
            candidates.extend(candidate(&suspect.service, score, evidence.collect()));
        }
        let unknown = magnitude.of_score(*unknown_score, prepare.abnormal);
        let mut ranking = Ranking::from_weights(self.id(), candidates, unknown)?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

impl RootCauseAnalyzer for RobustScorer {
    fn id(&self) -> &str {
        "robust"
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        let prepared = self.config.prepare.prepare(context)?;
        self.rank_prepared(context, &prepared)
    }
}

/// What a published scorer divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Median and interquartile range: the scorer of BARO.
    InterquartileRange,
    /// Mean and standard deviation: n-sigma.
    StandardDeviation,
}

/// The scorers of the literature as they were published: the largest (x − centre) / scale of any
/// step after the beginning, and a service is as suspect as its worst metric. Upward only, every
/// kind of metric alike; a scale of zero is replaced by one, in whatever unit.
///
/// They are here to be compared with. Use [`RobustConfig`] for work: the two rules just named cost
/// these scorers most of their errors.
///
/// Sources: Pham, Ha & Zhang 2024 (BARO), section 3.3, `RobustScorer`; n-sigma as in Li et al. 2022
/// (CIRCA) and RCAEval. No deviation that we know of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedScorer {
    /// What it divides by.
    pub scale: Scale,
}

impl RootCauseAnalyzer for PublishedScorer {
    fn id(&self) -> &str {
        match self.scale {
            Scale::InterquartileRange => "baro",
            Scale::StandardDeviation => "n_sigma",
        }
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        context.check()?;
        let frame = context.window;
        let began = (0..frame.n_steps()).find(|&j| frame.time(j) >= context.began);
        let began = began.unwrap_or(frame.n_steps());
        let mut services: BTreeMap<&str, Vec<(f64, usize, f64, f64)>> = BTreeMap::new();
        for (row, info) in context.metrics.iter().enumerate() {
            let Some(service) = info.service.as_deref() else { continue };
            let values = frame.row(row);
            let normal = context.normal.map_or(&values[..began], |normal| normal.row(row));
            let (mut normal, incident) = (finite(normal), finite(&values[began..]));
            if normal.is_empty() || incident.is_empty() {
                continue;
            }
            let (centre, scale) = match self.scale {
                Scale::InterquartileRange => {
                    let centre = quantile(&mut normal, 0.5);
                    (centre, quantile(&mut normal, 0.75) - quantile(&mut normal, 0.25))
                }
                Scale::StandardDeviation => mean_std(&normal),
            };
            let worst = incident.into_iter().fold(f64::NEG_INFINITY, f64::max);
            let score = (worst - centre) / if scale > 0.0 { scale } else { 1.0 };
            services.entry(service).or_default().push((score, row, centre, worst));
        }
        let mut candidates = vec![];
        for (service, mut metrics) in services {
            metrics.sort_by(|a, b| {
                let by_name = || frame.series()[a.1].cmp(&frame.series()[b.1]);
                b.0.total_cmp(&a.0).then_with(by_name)
            });
            let score = metrics.first().map_or(0.0, |best| best.0.clamp(0.0, f64::MAX / 1e6));
            let evidence = metrics.iter().take(3).map(|&(score, row, expected, observed)| {
                let mut short = frame.series()[row].clone();
                short.labels.remove("service");
                Evidence::Magnitude { metric: short.to_string(), score, expected, observed }
            });
            candidates.extend(candidate(service, score.ln_1p(), evidence.collect()));
        }
        let mut ranking = Ranking::from_weights(self.id(), candidates, 3.0_f64.ln_1p())?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

/// `None` without any weight: nothing speaks for it.
pub(super) fn candidate(service: &str, score: f64, evidence: Vec<Evidence>) -> Option<Candidate> {
    let cause = Cause::Service { service: service.to_owned() };
    (score > 0.0).then_some(Candidate { cause, probability: 0.0, score, evidence })
}
