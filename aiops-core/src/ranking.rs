//! A ranking: who may have caused an incident, how probably, and on what evidence.

use crate::{Error, EventId, Evidence, IncidentId, MetricKind, Result, SeriesKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A thing that can be a root cause.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// A service, database or host as a whole.
    Service {
        /// Its name in the topology.
        service: String,
    },
    /// One metric of a service.
    Metric {
        /// The service, when the metric belongs to one.
        service: Option<String>,
        /// The series.
        series: SeriesKey,
        /// What it measures.
        metric_kind: MetricKind,
    },
    /// A change.
    Change {
        /// The service that changed, if known.
        service: Option<String>,
        /// The event.
        event: EventId,
        /// Its title.
        title: String,
    },
}

impl Cause {
    /// The service concerned.
    pub fn service(&self) -> Option<&str> {
        match self {
            Cause::Service { service } => Some(service),
            Cause::Metric { service, .. } | Cause::Change { service, .. } => service.as_deref(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Service { service } => f.write_str(service),
            Cause::Metric { series, .. } => write!(f, "{series}"),
            Cause::Change { title, .. } => f.write_str(title),
        }
    }
}

/// One candidate of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// What may be the cause.
    pub cause: Cause,
    /// How probably it is the cause, between 0 and 1.
    pub probability: f64,
    /// The unnormalised score; higher is more suspect. Comparable within one ranking only.
    pub score: f64,
    /// What speaks for and against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// Candidates from most to least probable, and the probability that the cause is none of them.
///
/// Probabilities of the candidates and `unknown` sum to one. Equal probabilities are ordered by
/// score, then by cause, so that the order never depends on chance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// The incident that was explained, if it has an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// The method, for example `bayes` or `default`.
    pub method: String,
    /// Candidates, most probable first.
    pub candidates: Vec<Candidate>,
    /// Probability that the cause is outside of what was looked at.
    pub unknown: f64,
}

impl Ranking {
    /// Orders and normalises candidates whose `score` is a non-negative weight, beside the weight
    /// of the unknown. Their probabilities are overwritten. Without any weight at all the unknown
    /// has all the probability: nothing explains it.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when a weight is negative or not finite.
    pub fn from_weights(
        method: impl Into<String>,
        mut candidates: Vec<Candidate>,
        unknown_weight: f64,
    ) -> Result<Ranking> {
        let weights = candidates.iter().map(|c| c.score).chain([unknown_weight]);
        if let Some(bad) = weights.clone().find(|w| !(*w >= 0.0 && w.is_finite())) {
            let reason = format!("must be finite and >= 0, got {bad}");
            return Err(Error::config("weight of a candidate", reason));
        }
        let total: f64 = weights.sum();
        let share = |weight: f64| if total > 0.0 { weight / total } else { 0.0 };
        for candidate in &mut candidates {
            candidate.probability = share(candidate.score);
        }
        candidates.sort_by(|a, b| {
            let by_score = b.score.total_cmp(&a.score);
            b.probability.total_cmp(&a.probability).then(by_score).then(a.cause.cmp(&b.cause))
        });
        let unknown = if total > 0.0 { share(unknown_weight) } else { 1.0 };
        Ok(Ranking { incident: None, method: method.into(), candidates, unknown })
    }

    /// The most probable candidate.
    pub fn top(&self) -> Option<&Candidate> {
        self.candidates.first()
    }

    /// Probability of the first candidate minus that of the best alternative, the unknown included.
    /// Zero for an empty ranking, negative when the unknown leads.
    pub fn margin(&self) -> f64 {
        let Some(top) = self.top() else { return 0.0 };
        let second = self.candidates.get(1).map_or(0.0, |c| c.probability);
        top.probability - second.max(self.unknown)
    }

    /// The rank of the first candidate that `is_cause` accepts, counted from 1.
    pub fn rank_of(&self, is_cause: impl Fn(&Cause) -> bool) -> Option<usize> {
        self.candidates.iter().position(|c| is_cause(&c.cause)).map(|index| index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(service: &str, weight: f64) -> Candidate {
        let cause = Cause::Service { service: service.into() };
        Candidate { cause, probability: f64::NAN, score: weight, evidence: vec![] }
    }

    #[test]
    fn probabilities_sum_to_one_and_ties_break_by_name() -> Result<()> {
        let candidates = vec![candidate("b", 1.0), candidate("a", 1.0), candidate("c", 4.0)];
        let ranking = Ranking::from_weights("test", candidates, 2.0)?;
        let names: Vec<_> = ranking.candidates.iter().map(|c| c.cause.to_string()).collect();
        assert_eq!(names, ["c", "a", "b"]);
        let sum: f64 = ranking.candidates.iter().map(|c| c.probability).sum();
        assert_eq!(sum + ranking.unknown, 1.0);
        assert_eq!(ranking.margin(), 0.25, "the unknown is the best alternative");
        assert_eq!(ranking.rank_of(|cause| cause.service() == Some("a")), Some(2));
        Ok(())
    }

    #[test]
    fn no_weight_means_unknown_and_a_bad_weight_is_refused() -> Result<()> {
        let ranking = Ranking::from_weights("test", vec![candidate("a", 0.0)], 0.0)?;
        assert_eq!((ranking.unknown, ranking.candidates[0].probability), (1.0, 0.0));
        assert!(ranking.margin() < 0.0);
        assert!(Ranking::from_weights("test", vec![candidate("a", f64::NAN)], 0.0).is_err());
        assert!(Ranking::from_weights("test", vec![], -1.0).is_err());
        Ok(())
    }
}
