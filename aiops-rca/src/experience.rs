//! What people said about earlier rankings, as counts that multiply the prior.

use crate::error::within;
use crate::{Error, Result};
use aiops_core::{Cause, Feedback, MetricKind, Said, Timestamp, standing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The kind of trouble that a remark is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The service as such; the remark counts for every kind.
    Any,
    /// A metric of this kind.
    Kind(MetricKind),
    /// A change of the service.
    Change,
}

/// How remarks are counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExperienceConfig {
    /// How many remarks of either sort are taken as given before anyone spoke: the larger, the
    /// slower it learns. Default 2 (a guess).
    pub strength: f64,
    /// The age at which a remark counts half: systems change. Default 90 days (a guess).
    pub half_life: Duration,
    /// One person's remarks about one thing count for at most so many. Default 3.
    pub per_person: f64,
}

impl Default for ExperienceConfig {
    fn default() -> Self {
        let half_life = Duration::from_secs(90 * 86_400);
        ExperienceConfig { strength: 2.0, half_life, per_person: 3.0 }
    }
}

/// Counts of confirmed and rejected causes for each service and kind of trouble.
///
/// It is apart from the model, so that it can be looked at ([`counts`](Self::counts)), thrown away and
/// rebuilt: it is a function of the remarks and of `now`, so a replay learns the same. Remarks that
/// were taken back do not count.
///
/// ```
/// use aiops_core::{Cause, Feedback, IncidentId, Said, Subject, Timestamp};
/// use aiops_rca::{ExperienceConfig, Trouble};
///
/// let (incident, now) = (Subject::Incident(IncidentId::from_u64(1)), Timestamp::from_secs(1_000));
/// let said = |said| Feedback::new(incident, said, "ada", now);
/// let db = Cause::Service { service: "db".into() };
/// let api = Cause::Service { service: "api".into() };
/// let remarks = [said(Said::TrueCause { cause: db }), said(Said::WrongCause { cause: api })];
///
/// let experience = ExperienceConfig::default().learn(&remarks, now)?;
/// assert_eq!(experience.factor("db", Trouble::Any), 1.2); // (2 + 1) / (4 + 1) against 2 / 4
/// assert_eq!(experience.factor("api", Trouble::Any), 0.8);
/// assert_eq!(experience.factor("cache", Trouble::Any), 1.0);
/// # Ok::<(), aiops_rca::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Experience {
    strength: f64,
    counts: BTreeMap<(String, Trouble), (f64, f64)>,
}

impl ExperienceConfig {
    /// Counts what stands of `feedback`, as seen at `now`. Remarks that name no service, and those
    /// from after `now`, are left out.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] names the setting that is out of range.
    pub fn learn(&self, feedback: &[Feedback], now: Timestamp) -> Result<Experience> {
        within("strength", self.strength, 1e-6, 1e9)?;
        within("per_person", self.per_person, 0.0, 1e9)?;
        if self.half_life.is_zero() {
            return Err(Error::config("half_life", "must be longer than zero"));
        }
        type Key = (String, Trouble);
        let mut by_person: BTreeMap<(Key, &str), (f64, f64)> = BTreeMap::new();
        for remark in standing(feedback) {
            let (cause, confirmed) = match &remark.said {
                Said::TrueCause { cause } => (cause, true),
                Said::WrongCause { cause } => (cause, false),
                _ => continue,
            };
            let Some(service) = cause.service().filter(|_| remark.at <= now) else { continue };
            let trouble = match cause {
                Cause::Metric { metric_kind, .. } => Trouble::Kind(*metric_kind),
                Cause::Change { .. } => Trouble::Change,
                _ => Trouble::Any,
            };
            let age = now.since(remark.at).as_secs_f64() / self.half_life.as_secs_f64();
            let key = ((service.to_owned(), trouble), remark.by.as_str());
            let counts = by_person.entry(key).or_default();
            *(if confirmed { &mut counts.0 } else { &mut counts.1 }) += 0.5_f64.powf(age);
        }
        let mut counts: BTreeMap<Key, (f64, f64)> = BTreeMap::new();
        for ((key, _), (yes, no)) in by_person {
            let entry = counts.entry(key).or_default();
            entry.0 += yes.min(self.per_person);
            entry.1 += no.min(self.per_person);
        }
        Ok(Experience { strength: self.strength, counts })
    }
}

impl Experience {
    /// The decayed counts of confirmations and rejections, by service and kind of trouble.
    pub fn counts(&self) -> impl Iterator<Item = (&str, Trouble, f64, f64)> {
        self.counts
            .iter()
            .map(|((service, trouble), &(yes, no))| (service.as_str(), *trouble, yes, no))
    }

    /// By how much the prior of `service` is multiplied: (s + yes) / (2 s + yes + no) over one half,
    /// the mean of a Beta distribution against that of the one nobody has spoken to. Between 0 and 2.
    /// Remarks about [`Trouble::Any`] count for every kind but changes.
    pub fn factor(&self, service: &str, trouble: Trouble) -> f64 {
        let of = |trouble| {
            let key = (service.to_owned(), trouble);
            self.counts.get(&key).copied().unwrap_or_default()
        };
        let (yes, no) = of(trouble);
        let (more_yes, more_no) = match trouble {
            Trouble::Kind(_) => of(Trouble::Any),
            Trouble::Any | Trouble::Change => (0.0, 0.0),
        };
        let (yes, no, s) = (yes + more_yes, no + more_no, self.strength);
        2.0 * (s + yes) / (2.0 * s + yes + no)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{IncidentId, Subject};

    fn remark(said: Said, by: &str, day: i64) -> Feedback {
        let incident = Subject::Incident(IncidentId::from_u64(day as u64));
        Feedback::new(incident, said, by, Timestamp::from_secs(day * 86_400))
    }

    fn confirmed(service: &str) -> Said {
        Said::TrueCause { cause: Cause::Service { service: service.into() } }
    }

    fn factor(remarks: &[Feedback], day: i64) -> f64 {
        let now = Timestamp::from_secs(day * 86_400);
        let experience = ExperienceConfig::default().learn(remarks, now).unwrap();
        experience.factor("db", Trouble::Kind(MetricKind::Latency))
    }

    #[test]
    fn remarks_fade_and_can_be_taken_back() {
        let said = remark(confirmed("db"), "ada", 0);
        let fresh = factor(std::slice::from_ref(&said), 0);
        assert_eq!(fresh, 1.2);
        // Half a remark after one half-life: 2 (2 + 0.5) / 4.5.
        assert!((factor(std::slice::from_ref(&said), 90) - 5.0 / 4.5).abs() < 1e-12);
        let undo = remark(Said::Undo { feedback: said.id }, "ada", 1);
        assert_eq!(factor(&[said, undo], 1), 1.0);
    }

    #[test]
    fn nobody_outvotes_everybody() {
        let one: Vec<_> = (0..50).map(|day| remark(confirmed("db"), "ada", day)).collect();
        let several: Vec<_> =
            (0..50).map(|day| remark(confirmed("db"), &format!("person {day}"), day)).collect();
        assert!(factor(&one, 50) <= 2.0 * (2.0 + 3.0) / 7.0);
        assert!(factor(&several, 50) > 1.8);
    }

    #[test]
    fn the_future_does_not_count() {
        assert_eq!(factor(&[remark(confirmed("db"), "ada", 9)], 8), 1.0);
    }
}
