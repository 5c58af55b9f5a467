//! What detection hands on: a stretch in which one series was abnormal.

use crate::{
    Alert, AlertId, Fingerprint, Labels, MetricKind, Reason, SeriesKey, Severity, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The side on which values left the expected range.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Neither side: flat lines, absence, changes of shape.
    #[default]
    None,
    /// Above.
    Above,
    /// Below.
    Below,
}

/// A stretch in which one series was abnormal, from its onset to when it was last seen so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// The series.
    pub series: SeriesKey,
    /// What the series measures.
    #[serde(default)]
    pub kind: MetricKind,
    /// When it began.
    pub onset: Timestamp,
    /// How far the true onset may be from `onset`, either way.
    #[serde(default)]
    pub onset_uncertainty: Duration,
    /// When it was last seen abnormal.
    pub last_seen: Timestamp,
    /// The highest score; higher is worse.
    pub peak_score: f64,
    /// The smallest p-value: chance of a score at least this large when all is normal.
    pub p_value: f64,
    /// What was expected at the peak; NaN (JSON `null`) where the detector has no expectation.
    #[serde(with = "crate::nan_as_null")]
    pub expected: f64,
    /// What was observed at the peak; NaN (JSON `null`) when it was a gap.
    #[serde(with = "crate::nan_as_null")]
    pub observed: f64,
    /// The side on which values left the expected range.
    #[serde(default)]
    pub direction: Direction,
    /// The detector that saw it, for example `robust`.
    pub detector: String,
    /// Why it counts as one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// How an [`Anomaly`] becomes an [`Alert`]: the stated rule.
///
/// Name: `detector:metric`. Labels: those of the series, plus `metric`. Service: the label
/// `service`. Severity: critical at or below `critical_p`, warning otherwise. Id: hash(tenant,
/// series, rule, start of the `window` that holds the onset), so that a replay gives the same id
/// and a later sighting of the same anomaly is the same alert.
///
/// ```
/// use aiops_core::{AlertRule, Anomaly, Labels, SeriesKey, Severity, Timestamp};
/// # let series = SeriesKey::new("latency_p99", [("service", "api")]);
/// # let at = Timestamp::from_secs(60);
/// # let anomaly = Anomaly { series, kind: Default::default(), onset: at, onset_uncertainty: Default::default(),
/// #     last_seen: at, peak_score: 9.0, p_value: 1e-9, expected: 0.2, observed: 3.0,
/// #     direction: Default::default(), detector: "robust".into(), reasons: vec![] };
/// let alert = AlertRule::default().alert(&anomaly, Timestamp::from_secs(65));
/// assert_eq!(alert.name, "robust:latency_p99");
/// assert_eq!(alert.service.as_deref(), Some("api"));
/// assert_eq!(alert.severity, Severity::Critical);
/// assert_eq!(alert.received_at, Timestamp::from_secs(65));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertRule {
    /// Anomalies whose onset falls into the same window of the same series are one alert.
    /// Default 5 minutes (a guess: the usual repeat interval of alerting systems).
    pub window: Duration,
    /// At or below this p-value the alert is critical. Default 10^-6 (a guess: once in eleven days
    /// of one-second samples).
    pub critical_p: f64,
}

impl Default for AlertRule {
    fn default() -> Self {
        AlertRule { window: Duration::from_secs(300), critical_p: 1e-6 }
    }
}

impl AlertRule {
    /// The alert that says what `anomaly` found, arriving at `now`.
    pub fn alert(&self, anomaly: &Anomaly, now: Timestamp) -> Alert {
        let (series, tenant) = (&anomaly.series, &anomaly.series.tenant);
        let name = format!("{}:{}", anomaly.detector, series.name);
        let mut labels = series.labels.clone();
        labels.insert("metric", series.name.clone());
        let window_start = anomaly.onset.window_start(self.window);
        let reasons = anomaly.reasons.iter().map(|reason| reason.sentence.as_str());
        let mut annotations = Labels::new();
        annotations.insert("summary", reasons.collect::<Vec<_>>().join("; "));
        annotations.insert("kind", anomaly.kind.name());
        annotations.insert("p_value", format!("{:.2e}", anomaly.p_value));
        Alert {
            id: AlertId::of(tenant, series.hash(), &name, window_start),
            tenant: tenant.clone(),
            fingerprint: Fingerprint::of(tenant, &name, &labels, &[]),
            severity: if anomaly.p_value <= self.critical_p {
                Severity::Critical
            } else {
                Severity::Warning
            },
            service: series.service().map(str::to_owned),
            labels,
            annotations,
            starts_at: anomaly.onset,
            ends_at: None,
            received_at: now,
            source: format!("detector:{}", anomaly.detector),
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_sightings_of_one_anomaly_are_one_alert() {
        let mut anomaly = Anomaly {
            series: SeriesKey::new("cpu", [("service", "api")]),
            kind: MetricKind::Cpu,
            onset: Timestamp::from_secs(310),
            onset_uncertainty: Duration::ZERO,
            last_seen: Timestamp::from_secs(312),
            peak_score: 5.0,
            p_value: 1e-4,
            expected: f64::NAN,
            observed: 0.9,
            direction: Direction::Above,
            detector: "ewma".into(),
            reasons: vec![],
        };
        let rule = AlertRule::default();
        let first = rule.alert(&anomaly, anomaly.last_seen);
        anomaly.last_seen = Timestamp::from_secs(900);
        anomaly.peak_score = 50.0;
        let second = rule.alert(&anomaly, anomaly.last_seen);
        assert_eq!((first.id, first.fingerprint), (second.id, second.fingerprint));
        assert_eq!(first.severity, Severity::Warning);
    }

    #[test]
    fn an_unknown_expectation_survives_json() {
        let json = r#"{"series":{"name":"x"},"onset":1,"last_seen":2,"peak_score":1.0,
            "p_value":0.1,"expected":null,"observed":2.5,"detector":"d"}"#;
        let anomaly: Anomaly = serde_json::from_str(json).unwrap();
        assert!(anomaly.expected.is_nan());
        assert!(serde_json::to_string(&anomaly).unwrap().contains(r#""expected":null"#));
    }
}
