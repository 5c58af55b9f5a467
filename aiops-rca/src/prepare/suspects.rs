//! Deviations gathered by the service that they accuse.

use super::{Deviation, PrepareConfig};
use crate::Context;
use aiops_core::{Anomaly, Direction, Harm, NodeId, SeriesKey, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A service and what its metrics say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// The service.
    pub service: String,
    /// Its node, when the topology knows it.
    pub node: Option<NodeId>,
    /// Its deviations, indices into [`Prepared::deviations`], worst first.
    pub deviations: Vec<usize>,
    /// When the first of its metrics became abnormal.
    pub onset: Option<Timestamp>,
    /// How far the true onset may be from that.
    pub onset_uncertainty: Duration,
}

/// A window that was read: what every ranking works on.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Every metric that could be judged.
    pub deviations: Vec<Deviation>,
    /// The services, by name.
    pub suspects: Vec<Suspect>,
    /// The deviations of the symptoms that were named.
    pub symptoms: Vec<usize>,
    /// The first onset of any suspect.
    pub first_onset: Option<Timestamp>,
    /// How far the true one may be from that.
    pub first_onset_uncertainty: Duration,
    /// The sampling step: onsets that differ by less are ties.
    pub step: Duration,
}

impl Prepared {
    /// The worst score of a suspect; 0 when it has no deviation.
    pub fn worst(&self, suspect: &Suspect) -> f64 {
        suspect.deviations.first().map_or(0.0, |&d| self.deviations[d].score)
    }

    /// How much later than the first onset a suspect began; zero for a tie, `None` when it has no
    /// onset.
    pub fn delay(&self, suspect: &Suspect) -> Option<Duration> {
        let delay = suspect.onset?.since(self.first_onset?);
        let tie = delay < self.step || delay < suspect.onset_uncertainty;
        Some(if tie { Duration::ZERO } else { delay })
    }

    /// Whether `earlier` began no later than `later`, as far as the step can tell. An unknown onset
    /// contradicts nothing.
    pub fn no_later(&self, earlier: &Suspect, later: &Suspect) -> bool {
        let (Some(a), Some(b)) = (earlier.onset, later.onset) else { return true };
        let tolerance = self.step.max(earlier.onset_uncertainty).max(later.onset_uncertainty);
        a <= b + tolerance
    }

    /// Whether a deviation began no later than a suspect, in the same sense.
    pub(crate) fn began_no_later(&self, deviation: &Deviation, than: &Suspect) -> bool {
        let (Some(a), Some(b)) = (deviation.onset, than.onset) else { return true };
        a <= b + self.step.max(deviation.onset_uncertainty).max(than.onset_uncertainty)
    }

    /// The suspects that the named symptoms belong to, each once.
    pub(crate) fn symptom_suspects(&self) -> Vec<usize> {
        let symptoms: BTreeSet<usize> = self.symptoms.iter().copied().collect();
        let of_symptom = |s: &Suspect| s.deviations.iter().any(|d| symptoms.contains(d));
        (0..self.suspects.len()).filter(|&i| of_symptom(&self.suspects[i])).collect()
    }

    /// The suspect of this name.
    pub fn suspect(&self, service: &str) -> Option<usize> {
        self.suspects.binary_search_by(|s| s.service.as_str().cmp(service)).ok()
    }
}

/// Joins rows and anomalies. An anomaly refines the onset of its row; one without a row stands for
/// itself, with its peak score taken as robust standard deviations.
pub(super) fn gather(
    config: &PrepareConfig,
    context: &Context<'_>,
    rows: Vec<Option<Deviation>>,
) -> Prepared {
    let position: BTreeMap<&SeriesKey, usize> =
        context.window.series().iter().enumerate().map(|(row, key)| (key, row)).collect();
    let mut deviations = Vec::new();
    let mut services: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut of_row = vec![None; rows.len()];
    for (row, deviation) in rows.into_iter().enumerate() {
        if let (Some(deviation), Some(service)) =
            (deviation, context.metrics[row].service.as_deref())
        {
            of_row[row] = Some(deviations.len());
            services.entry(service).or_default().push(deviations.len());
            deviations.push(deviation);
        }
    }
    let mut detected = vec![false; deviations.len()];
    for anomaly in context.anomalies {
        match position.get(&anomaly.series).map(|&row| (row, of_row[row])) {
            Some((_, Some(index))) => {
                refine(&mut deviations[index], anomaly, &mut detected[index]);
            }
            Some((row, None)) if context.metrics[row].service.is_none() => {}
            Some((_, None)) | None => {
                if let (Some(service), Some(deviation)) =
                    (anomaly.series.service(), standing_alone(anomaly))
                {
                    services.entry(service).or_default().push(deviations.len());
                    deviations.push(deviation);
                }
            }
        }
    }
    let suspects: Vec<Suspect> = services
        .into_iter()
        .map(|(service, of)| suspect(config, context, service, of, &deviations))
        .collect();
    let by_series: BTreeMap<&SeriesKey, usize> =
        deviations.iter().enumerate().rev().map(|(index, d)| (&d.series, index)).collect();
    let symptoms = context.symptoms.iter().filter_map(|key| by_series.get(key).copied()).collect();
    let first = suspects.iter().filter_map(|s| Some((s.onset?, s.onset_uncertainty)));
    // Of several at the same time the most uncertain.
    let first = first.min_by_key(|&(onset, uncertainty)| (onset, std::cmp::Reverse(uncertainty)));
    Prepared {
        deviations,
        suspects,
        symptoms,
        first_onset: first.map(|(onset, _)| onset),
        first_onset_uncertainty: first.map_or(Duration::ZERO, |(_, uncertainty)| uncertainty),
        step: context.window.step(),
    }
}

fn suspect(
    config: &PrepareConfig,
    context: &Context<'_>,
    service: &str,
    mut of: Vec<usize>,
    deviations: &[Deviation],
) -> Suspect {
    of.sort_by(|&a, &b| {
        let (a, b) = (&deviations[a], &deviations[b]);
        b.score.total_cmp(&a.score).then_with(|| a.series.cmp(&b.series))
    });
    let abnormal = of.iter().map(|&d| &deviations[d]).filter(|d| d.score >= config.abnormal);
    let first = abnormal.filter_map(|d| Some((d.onset?, d.onset_uncertainty))).min();
    Suspect {
        service: service.to_owned(),
        node: context.topology.node_id(service),
        deviations: of,
        onset: first.map(|(onset, _)| onset),
        onset_uncertainty: first.map_or(Duration::ZERO, |(_, uncertainty)| uncertainty),
    }
}

/// A detector watched the series closer than one look at a window can: what it says of the onset
/// takes the place of what the window shows, be it earlier or later. Of several anomalies of one
/// series the first onset counts.
fn refine(deviation: &mut Deviation, anomaly: &Anomaly, detected: &mut bool) {
    if !*detected || deviation.onset.is_none_or(|onset| anomaly.onset < onset) {
        deviation.onset = Some(anomaly.onset);
        deviation.onset_uncertainty = anomaly.onset_uncertainty;
        *detected = true;
    }
}

/// `None` for an anomaly in the direction that does no harm, and for a score that is no number.
fn standing_alone(anomaly: &Anomaly) -> Option<Deviation> {
    let harmless = matches!(
        (anomaly.kind.harm(), anomaly.direction),
        (Harm::Up, Direction::Below) | (Harm::Down, Direction::Above)
    );
    let score = anomaly.peak_score;
    if harmless || !(score.is_finite() && score >= 0.0) {
        return None;
    }
    let excess = (anomaly.observed - anomaly.expected).abs();
    Some(Deviation {
        row: None,
        series: anomaly.series.clone(),
        kind: anomaly.kind,
        score,
        excess: if excess.is_finite() { excess } else { 0.0 },
        impact: None,
        expected: anomaly.expected,
        observed: anomaly.observed,
        onset: Some(anomaly.onset),
        onset_uncertainty: anomaly.onset_uncertainty,
    })
}
