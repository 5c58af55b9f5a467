//! Ranking by correlation: the control in the A/B comparison with causal ranking.

use super::scorer::candidate;
use crate::independence::fisher_z;
use crate::stats::correlation;
use crate::{Context, Result, RootCauseAnalyzer};
use aiops_core::{Evidence, Ranking};
use std::collections::BTreeMap;

/// Ranks services by how closely their metrics follow the symptom: the largest absolute Pearson
/// correlation of any metric with any named symptom over the whole window, the symptom's own
/// service included by its other metrics. Without a named symptom, the correlation with "it has
/// begun" (0 before, 1 after).
///
/// What many dashboards call "related metrics". It cannot tell a cause from another effect, which
/// is the point of having it beside the causal rankings.
///
/// Time O(rows x steps). Gaps are left out pairwise; a constant metric follows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CorrelationRanking;

impl RootCauseAnalyzer for CorrelationRanking {
    fn id(&self) -> &str {
        "correlation"
    }

    fn rank(&self, context: &Context<'_>) -> Result<Ranking> {
        context.check()?;
        let frame = context.window;
        let is_symptom = |row: &usize| context.symptoms.contains(&frame.series()[*row]);
        let symptoms: Vec<usize> = (0..frame.n_series()).filter(is_symptom).collect();
        let begun: Vec<f64> = (0..frame.n_steps())
            .map(|j| f64::from(u8::from(frame.time(j) + frame.step() > context.began)))
            .collect();
        let mut services: BTreeMap<&str, Vec<(f64, usize)>> = BTreeMap::new();
        for (row, info) in context.metrics.iter().enumerate() {
            let Some(service) = info.service.as_deref() else { continue };
            let values = frame.row(row);
            let others = symptoms.iter().filter(|&&symptom| symptom != row);
            let strongest = match symptoms.is_empty() {
                true => correlation(values, &begun).abs(),
                false => others
                    .map(|&symptom| correlation(values, frame.row(symptom)).abs())
                    .fold(0.0, f64::max),
            };
            services.entry(service).or_default().push((strongest, row));
        }
        let mut candidates = vec![];
        for (service, mut metrics) in services {
            metrics.sort_by(|a, b| {
                let by_name = || frame.series()[a.1].cmp(&frame.series()[b.1]);
                b.0.total_cmp(&a.0).then_with(by_name)
            });
            let score = metrics.first().map_or(0.0, |best| best.0);
            let evidence = metrics.iter().take(3).map(|&(r, row)| Evidence::Test {
                name: "pearson".into(),
                cause: frame.series()[row].to_string(),
                effect: "the symptom".into(),
                statistic: r,
                p_value: fisher_z(r, frame.n_steps(), 0),
                lag: None,
            });
            candidates.extend(candidate(service, score, evidence.collect()));
        }
        // Half: a correlation that leaves half of the variance to others.
        let mut ranking = Ranking::from_weights(self.id(), candidates, 0.5_f64.sqrt())?;
        ranking.incident = context.incident;
        Ok(ranking)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MetricInfo;
    use aiops_core::{Frame, MetricKind, SeriesKey, Timestamp, Topology};
    use std::time::Duration;

    #[test]
    fn an_effect_that_follows_closely_beats_the_cause() {
        let keys = ["cause", "effect", "front"].map(|s| SeriesKey::new("m", [("service", s)]));
        let step = |t: u32| if t < 50 { 0.0 } else { 1.0 };
        let front: Vec<f64> = (0..100).map(|t| step(t) + f64::from(t % 7) * 0.05).collect();
        let effect = front.clone();
        let cause: Vec<f64> = (0..100).map(|t| step(t) + f64::from(t % 5) * 0.2).collect();
        let values = [cause, effect, front].concat();
        let window =
            Frame::new(keys.to_vec(), Timestamp::EPOCH, Duration::from_secs(1), values).unwrap();
        let metrics: Vec<_> =
            keys.iter().map(|key| MetricInfo::of(key, MetricKind::Latency)).collect();
        let topology = Topology::new();
        let mut context =
            Context::new(&window, &metrics, &topology, Timestamp::from_secs(50)).unwrap();
        context.symptoms = &keys[2..];
        let ranking = CorrelationRanking.rank(&context).unwrap();
        assert_eq!(ranking.top().unwrap().cause.service(), Some("effect"));
    }
}
