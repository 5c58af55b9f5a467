//! What people say of alerts, counted per detector and class, and what follows from it.

use std::collections::{BTreeMap, VecDeque};

use aiops_core::{
    AlertId, Feedback, FeedbackId, IncidentId, MetricClass, Reason, Said, Subject, standing,
};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, error::probability};

/// When a detector is asked to be trained anew.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthConfig {
    /// Share of judged alerts that may be false. Default 0.1.
    pub tolerated: f64,
    /// Judged alerts needed before anything follows. Default 20.
    pub enough: usize,
    /// Two-sided confidence of the Wilson interval. 1.96, 95 %, by default, in standard deviations.
    pub z: f64,
    /// Alerts that are remembered for feedback. Default 100,000; the oldest are forgotten.
    pub remembered: usize,
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig { tolerated: 0.1, enough: 20, z: 1.96, remembered: 100_000 }
    }
}

/// Where an alert came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The detector, as in [`Anomaly::detector`](aiops_core::Anomaly).
    pub detector: String,
    /// The class of the series.
    pub class: MetricClass,
}

/// What should be done about a detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing.
    Healthy,
    /// The share of false alerts is above what is tolerated: train it anew, see
    /// [`retrain`](fn@super::retrain).
    Retrain,
    /// It surely is: train it anew, and let nobody act on its alerts without asking until then.
    SuggestOnly,
}

/// The count of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Rate {
    /// Alerts that somebody judged.
    pub judged: usize,
    /// Those of them that were nothing.
    pub false_alerts: usize,
}

impl Rate {
    /// Share of false alerts; 0 when none was judged.
    pub fn point(&self) -> f64 {
        self.false_alerts as f64 / self.judged.max(1) as f64
    }

    /// Lower end of the Wilson score interval, `z` standard deviations wide to each side.
    ///
    /// `(p + z²/2n - z·√(p(1-p)/n + z²/4n²)) / (1 + z²/n)`.
    ///
    /// Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    pub fn wilson_lower(&self, z: f64) -> f64 {
        if self.judged == 0 {
            return 0.0;
        }
        let (n, p, zz) = (self.judged as f64, self.point(), z * z);
        let middle = p + zz / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
        ((middle - half) / (1.0 + zz / n)).clamp(0.0, 1.0)
    }
}

/// Counts feedback about the alerts of detectors.
///
/// One alert counts once, whoever and however many judged it: false when more people call it noise
/// than trouble. What is said of an incident is said of each of its alerts. An undo takes back what
/// it names. Remarks about alerts that are not known are counted in [`unknown`](Self::unknown).
///
/// ```
/// use aiops_core::{AlertId, Feedback, MetricClass, Said, Subject, Timestamp};
/// use aiops_detect::router::{Advice, HealthConfig, Origin};
/// let mut health = HealthConfig::default().build()?;
/// let origin = Origin { detector: "robust".into(), class: MetricClass::Infrastructure };
/// for i in 0..20 {
///     let alert = AlertId::from_u64(i);
///     health.told(alert, origin.clone());
///     let said = if i < 12 { Said::Noise } else { Said::NotNoise };
///     health.hear(&Feedback::new(Subject::Alert(alert), said, "kim", Timestamp::EPOCH));
/// }
/// assert_eq!(health.rate(&origin).point(), 0.6);
/// assert_eq!(health.advice(&origin), Advice::SuggestOnly);
/// # Ok::<(), aiops_detect::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Health {
    config: HealthConfig,
    origins: BTreeMap<AlertId, Origin>,
    oldest: VecDeque<AlertId>,
    incidents: BTreeMap<IncidentId, Vec<AlertId>>,
    said: BTreeMap<AlertId, Vec<Feedback>>,
    /// Which alerts a remark is about, so that an undo finds it.
    about: BTreeMap<FeedbackId, Vec<AlertId>>,
    unknown: u64,
}

impl HealthConfig {
    /// A count of nothing.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the field that is out of range.
    pub fn build(self) -> Result<Health> {
        probability("tolerated", self.tolerated)?;
        if !(self.z >= 0.0 && self.z.is_finite()) {
            return Err(Error::config("z", format!("must be finite and >= 0, got {}", self.z)));
        }
        Ok(Health {
            config: self,
            origins: BTreeMap::new(),
            oldest: VecDeque::new(),
            incidents: BTreeMap::new(),
            said: BTreeMap::new(),
            about: BTreeMap::new(),
            unknown: 0,
        })
    }
}

impl Health {
    /// Remembers where an alert came from, so that feedback about it can be counted.
    pub fn told(&mut self, alert: AlertId, origin: Origin) {
        if self.origins.insert(alert, origin).is_none() {
            self.oldest.push_back(alert);
        }
        while self.oldest.len() > self.config.remembered {
            if let Some(gone) = self.oldest.pop_front() {
                self.origins.remove(&gone);
                self.said.remove(&gone);
            }
        }
    }

    /// Remembers which alerts an incident is made of; replaces what was said of it before.
    pub fn grouped(&mut self, incident: IncidentId, alerts: &[AlertId]) {
        self.incidents.insert(incident, alerts.to_vec());
    }

    /// Takes in a remark. Returns whether it was about anything known.
    pub fn hear(&mut self, feedback: &Feedback) -> bool {
        let alerts = match (&feedback.said, feedback.subject) {
            (Said::Undo { feedback: undone }, _) => {
                self.about.get(undone).cloned().unwrap_or_default()
            }
            (_, Subject::Alert(alert)) => vec![alert],
            (_, Subject::Incident(incident)) => {
                self.incidents.get(&incident).cloned().unwrap_or_default()
            }
        };
        let known: Vec<AlertId> =
            alerts.into_iter().filter(|alert| self.origins.contains_key(alert)).collect();
        if known.is_empty() {
            self.unknown += 1;
            return false;
        }
        for alert in &known {
            self.said.entry(*alert).or_default().push(feedback.clone());
        }
        self.about.insert(feedback.id, known);
        true
    }

    /// Remarks about alerts that are not known, or not any more.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// The count of an origin, over the remarks that stand.
    pub fn rate(&self, origin: &Origin) -> Rate {
        let mut rate = Rate::default();
        for (alert, said) in &self.said {
            if self.origins.get(alert) != Some(origin) {
                continue;
            }
            if let Some(noise) = is_noise(said) {
                rate.judged += 1;
                rate.false_alerts += usize::from(noise);
            }
        }
        rate
    }

    /// What follows from the count of an origin.
    pub fn advice(&self, origin: &Origin) -> Advice {
        let (rate, config) = (self.rate(origin), &self.config);
        if rate.judged < config.enough || rate.point() <= config.tolerated {
            Advice::Healthy
        } else if rate.wilson_lower(config.z) > config.tolerated {
            Advice::SuggestOnly
        } else {
            Advice::Retrain
        }
    }

    /// The advice about every origin that somebody judged, with the reason.
    pub fn report(&self) -> Vec<(Origin, Rate, Advice, Reason)> {
        let mut origins: Vec<&Origin> =
            self.said.keys().filter_map(|alert| self.origins.get(alert)).collect();
        origins.sort_unstable();
        origins.dedup();
        origins.into_iter().map(|origin| self.line(origin)).collect()
    }

    fn line(&self, origin: &Origin) -> (Origin, Rate, Advice, Reason) {
        let (rate, advice) = (self.rate(origin), self.advice(origin));
        let lower = rate.wilson_lower(self.config.z);
        let sentence = format!(
            "{} of {} judged alerts of {} were nothing, surely more than {:.0} %",
            rate.false_alerts,
            rate.judged,
            origin.detector,
            100.0 * lower,
        );
        let reason = Reason::new("false_alert_rate", sentence)
            .with("judged", rate.judged)
            .with("false", rate.false_alerts)
            .with("share", rate.point())
            .with("wilson_lower", lower);
        (origin.clone(), rate, advice, reason)
    }

    /// Starts counting an origin anew, after its model was swapped.
    pub fn reset(&mut self, origin: &Origin) {
        let origins = &self.origins;
        self.said.retain(|alert, _| origins.get(alert) != Some(origin));
    }
}

/// Whether the people who judged an alert call it noise; `None` when nobody who stands does either.
/// Each person's latest word counts.
fn is_noise(said: &[Feedback]) -> Option<bool> {
    let mut last: BTreeMap<&str, bool> = BTreeMap::new();
    for feedback in standing(said) {
        let noise = match feedback.said {
            Said::Noise => true,
            Said::NotNoise | Said::TrueCause { .. } | Said::WrongCause { .. } => false,
            _ => continue,
        };
        last.insert(&feedback.by, noise);
    }
    let noise = last.values().filter(|noise| **noise).count();
    (!last.is_empty()).then(|| 2 * noise > last.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::Timestamp;

    fn origin() -> Origin {
        Origin { detector: "pca".into(), class: MetricClass::Critical }
    }

    fn judged(noise: u64, of: u64) -> Health {
        let mut health = HealthConfig::default().build().unwrap();
        for i in 0..of {
            let alert = AlertId::from_u64(i);
            health.told(alert, origin());
            let said = if i < noise { Said::Noise } else { Said::NotNoise };
            health.hear(&Feedback::new(Subject::Alert(alert), said, "kim", Timestamp::EPOCH));
        }
        health
    }

    #[test]
    fn advice_needs_enough_and_certainty_for_the_harder_step() {
        assert_eq!(judged(19, 19).advice(&origin()), Advice::Healthy, "too few");
        assert_eq!(judged(2, 20).advice(&origin()), Advice::Healthy, "10 % is tolerated");
        assert_eq!(judged(3, 20).advice(&origin()), Advice::Retrain);
        assert_eq!(judged(6, 20).advice(&origin()), Advice::SuggestOnly);
    }

    // By hand: 6 of 20 at z = 1.96: (0.3 + 0.09604 - 1.96·√(0.0105 + 0.0024010)) / 1.19208.
    #[test]
    fn wilson_by_hand() {
        let rate = Rate { judged: 20, false_alerts: 6 };
        assert!((rate.wilson_lower(1.96) - 0.145_48).abs() < 1e-4, "{}", rate.wilson_lower(1.96));
    }

    #[test]
    fn people_outvote_and_take_back() {
        let mut health = judged(1, 1);
        let about = Subject::Alert(AlertId::from_u64(0));
        let say = |said, by: &str, at| Feedback::new(about, said, by, Timestamp::from_secs(at));
        assert_eq!(health.rate(&origin()).false_alerts, 1);
        health.hear(&say(Said::NotNoise, "ada", 1));
        assert_eq!(health.rate(&origin()).false_alerts, 0, "a tie is no majority");
        let lin = say(Said::Noise, "lin", 2);
        health.hear(&lin);
        assert_eq!(health.rate(&origin()).false_alerts, 1);
        health.hear(&say(Said::Undo { feedback: lin.id }, "lin", 3));
        assert_eq!(health.rate(&origin()).false_alerts, 0);
        assert!(!health.hear(&Feedback::new(
            Subject::Alert(AlertId::from_u64(77)),
            Said::Noise,
            "kim",
            Timestamp::EPOCH
        )));
        assert_eq!(health.unknown(), 1);
    }

    #[test]
    fn an_incident_speaks_for_its_alerts() {
        let mut health = judged(0, 0);
        let (incident, alerts) = (IncidentId::from_u64(9), [1, 2].map(AlertId::from_u64));
        alerts.iter().for_each(|alert| health.told(*alert, origin()));
        health.grouped(incident, &alerts);
        let about = Subject::Incident(incident);
        health.hear(&Feedback::new(about, Said::Noise, "kim", Timestamp::EPOCH));
        assert_eq!(health.rate(&origin()), Rate { judged: 2, false_alerts: 2 });
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for z in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(HealthConfig { z, ..HealthConfig::default() }.build().is_err(), "{z}");
        }
        assert!(HealthConfig { tolerated: 1.5, ..HealthConfig::default() }.build().is_err());
    }

    #[test]
    fn the_oldest_alerts_are_forgotten_and_remarks_about_them_counted() {
        let mut health = HealthConfig { remembered: 2, ..HealthConfig::default() }.build().unwrap();
        (0..3).for_each(|i| health.told(AlertId::from_u64(i), origin()));
        let mut hear = |i: u64| {
            let about = Subject::Alert(AlertId::from_u64(i));
            health.hear(&Feedback::new(about, Said::Noise, "kim", Timestamp::EPOCH))
        };
        assert_eq!([0, 1, 2, 9].map(&mut hear), [false, true, true, false]);
        assert_eq!(health.unknown(), 2);
        assert_eq!(judged(3, 3).unknown(), 0);
    }

    #[test]
    fn the_report_is_per_origin_and_a_swapped_model_starts_anew() {
        let mut health = judged(6, 20);
        let other = Origin { detector: "ewma".into(), class: MetricClass::Business };
        let alert = AlertId::from_u64(100);
        health.told(alert, other.clone());
        let about = Subject::Alert(alert);
        health.hear(&Feedback::new(about, Said::NotNoise, "kim", Timestamp::EPOCH));
        let lines = |health: &Health| -> Vec<(String, usize, Advice)> {
            let report = health.report().into_iter();
            report.map(|(origin, rate, advice, _)| (origin.detector, rate.judged, advice)).collect()
        };
        let healthy = ("ewma".to_owned(), 1, Advice::Healthy);
        let bad = ("pca".to_owned(), 20, Advice::SuggestOnly);
        assert_eq!(lines(&health), [healthy.clone(), bad]);
        let words = "6 of 20 judged alerts of pca were nothing, surely more than 15 %";
        assert_eq!(health.report()[1].3.sentence, words);
        health.reset(&origin());
        assert_eq!(lines(&health), [healthy], "the other keeps its count");
    }
}
