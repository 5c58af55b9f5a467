//! How much a deviation weighs, and whether it is large enough to explain what users feel.

use crate::error::within;
use crate::prepare::{Deviation, Prepared, Suspect};
use crate::{PrepareConfig, Result};
use aiops_core::MetricKind;
use serde::{Deserialize, Serialize};

/// How deviations are weighed.
///
/// weight = k · ln(1 + min(z, cap)) · z² / (z² + a²) · share, with z the score in robust standard
/// deviations, a the level called abnormal, k the weight of the metric's kind and share as below.
/// The logarithm keeps a flat baseline from drowning everything; the quotient fades out what is not
/// abnormal instead of cutting it.
///
/// **Share of the symptom.** A symptom that was named asks how much of it a suspect can explain:
/// share = min(1, impact / symptom's impact)^e, where impact is excess times throughput: seconds
/// lost or requests failed per step. A database query that became 2 ms slower does not explain a
/// page that became 400 ms slower, however many standard deviations 2 ms are, unless it is asked
/// two hundred times as often. Only metrics of the symptom's kind with a known throughput are
/// judged so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MagnitudeConfig {
    /// Scores count up to here. Default 10^9: the logarithm is bound enough.
    pub cap: f64,
    /// The exponent e of the share. 0 switches it off. Default 0.5.
    pub share_exponent: f64,
    /// Weight of a metric that travels but is of another kind than every named symptom: errors do
    /// not explain slowness as well as slowness does. Default 0.1.
    pub other_kind: f64,
    /// Weight of throughput: it falls wherever somebody further up stops asking, and so says little
    /// about who began. Default 0.
    pub throughput: f64,
    /// Weight of kinds that nobody classified. Default 0.
    pub unclassified: f64,
}

impl Default for MagnitudeConfig {
    fn default() -> Self {
        MagnitudeConfig {
            cap: 1e9,
            share_exponent: 0.5,
            other_kind: 0.1,
            throughput: 0.0,
            unclassified: 0.0,
        }
    }
}

impl MagnitudeConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) names the field that is out of range.
    pub fn check(&self) -> Result<()> {
        within("cap", self.cap, f64::MIN_POSITIVE, 1e12)?;
        within("share_exponent", self.share_exponent, 0.0, 10.0)?;
        within("other_kind", self.other_kind, 0.0, 1.0)?;
        within("throughput", self.throughput, 0.0, 1.0)?;
        within("unclassified", self.unclassified, 0.0, 1.0)
    }

    /// The weight of a score of a fully weighed kind.
    pub fn of_score(&self, score: f64, abnormal: f64) -> f64 {
        let z = score.min(self.cap);
        z.ln_1p() * z * z / (z * z + abnormal * abnormal)
    }

    pub(super) fn kind(&self, kind: MetricKind) -> f64 {
        match kind {
            MetricKind::Throughput => self.throughput,
            MetricKind::Other => self.unclassified,
            _ => 1.0,
        }
    }
}

/// A suspect's weight and the deviation that it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weight {
    pub(super) value: f64,
    /// Index into [`Prepared::deviations`].
    pub(super) by: Option<usize>,
    /// The share of the symptom that it explains, where that could be judged.
    pub(super) share: Option<f64>,
    /// The weightiest deviation of the service's own processor, and its weight: no dependency makes
    /// it busy.
    pub(super) own: Option<(usize, f64)>,
    /// Whether a deviation that counts is abnormal: only then it can explain someone else's.
    pub(super) abnormal: bool,
}

/// The weight of one suspect: that of its weightiest deviation.
pub(super) fn weigh(
    config: &MagnitudeConfig,
    prepare: &PrepareConfig,
    prepared: &Prepared,
    suspect: &Suspect,
) -> Weight {
    let mut best = Weight { value: 0.0, by: None, share: None, own: None, abnormal: false };
    // The share belongs to a kind, not to a metric: of several statistics of latency one may have
    // the larger score and another the larger impact.
    for &index in &suspect.deviations {
        let deviation = &prepared.deviations[index];
        let (relevance, share) = relevance(config, prepared, suspect, deviation);
        let kind = config.kind(deviation.kind);
        let value = kind * relevance * config.of_score(deviation.score, prepare.abnormal);
        best.abnormal |= kind > 0.0 && relevance > 0.2 && deviation.score > prepare.abnormal;
        let is_own = deviation.kind == MetricKind::Cpu && deviation.score >= prepare.abnormal;
        if is_own && best.own.is_none_or(|(_, known)| value > known) {
            best.own = Some((index, value));
        }
        if value > best.value {
            best = Weight { value, by: Some(index), share, ..best };
        }
    }
    best
}

/// How far a deviation is of the kind and of the size to explain the named symptoms.
fn relevance(
    config: &MagnitudeConfig,
    prepared: &Prepared,
    suspect: &Suspect,
    deviation: &Deviation,
) -> (f64, Option<f64>) {
    let symptoms = || prepared.symptoms.iter().map(|&s| &prepared.deviations[s]);
    if !deviation.travels() || !symptoms().any(Deviation::travels) {
        return (1.0, None);
    }
    let same_kind = || symptoms().filter(|symptom| symptom.kind == deviation.kind);
    if same_kind().next().is_none() {
        return (config.other_kind, None);
    }
    let impact = |of: &[usize]| {
        let same = of.iter().map(|&d| &prepared.deviations[d]);
        let same = same.filter(|d| d.kind == deviation.kind);
        same.filter_map(|d| d.impact)
            .fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))))
    };
    let whole = same_kind().filter_map(|s| s.impact).filter(|w| *w > 0.0).reduce(f64::min);
    match (impact(&suspect.deviations), whole) {
        (Some(part), Some(whole)) if config.share_exponent > 0.0 => {
            let share = (part / whole).min(1.0);
            (share.powf(config.share_exponent), Some(share))
        }
        _ => (1.0, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_fades_and_flat_baselines_do_not_drown_the_rest() {
        let config = MagnitudeConfig::default();
        assert_eq!(config.of_score(0.0, 3.0), 0.0);
        assert!((config.of_score(3.0, 3.0) - 4.0_f64.ln() / 2.0).abs() < 1e-15);
        let (large, absurd) = (config.of_score(30.0, 3.0), config.of_score(3e6, 3.0));
        assert!(absurd < 5.0 * large, "{absurd} against {large}");
    }
}
