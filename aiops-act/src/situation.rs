//! What is known when a runbook is chosen: an incident, its ranked causes, its alerts.

use aiops_core::{Alert, Candidate, Cause, Incident, Ranking};
use serde_json::{Value, json};

use crate::runbook::CauseKind;
use crate::runbook::expr::{MAX_ITEMS, Scope};

/// An incident with its explanation.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation {
    /// The incident.
    pub incident: Incident,
    /// Its ranked causes.
    pub ranking: Ranking,
    /// Its alerts; may be empty when nobody needs them.
    pub alerts: Vec<Alert>,
}

impl Situation {
    /// An incident and its ranking, without alerts.
    #[must_use]
    pub fn new(incident: Incident, ranking: Ranking) -> Situation {
        Situation { incident, ranking, alerts: Vec::new() }
    }

    /// The candidate at `rank`, counted from 1.
    #[must_use]
    pub fn candidate(&self, rank: usize) -> Option<&Candidate> {
        self.ranking.candidates.get(rank.checked_sub(1)?)
    }

    /// What conditions and templates read as `cause`: the candidate at `rank`.
    pub(crate) fn cause(&self, rank: usize) -> Value {
        self.candidate(rank).map_or(Value::Null, |candidate| describe(candidate, rank))
    }

    /// The names that conditions and templates read: `incident`, `cause` (the candidate at
    /// `rank`), `ranking` and `alerts`. Texts that are not known are empty, so that a condition
    /// can compare them without asking first.
    #[must_use]
    pub fn scope(&self, rank: usize) -> Scope {
        let incident = &self.incident;
        let candidates = self.ranking.candidates.iter().take(MAX_ITEMS).zip(1..);
        let ranked: Vec<Value> = candidates.map(|(c, rank)| describe(c, rank)).collect();
        Scope::new()
            .with(
                "incident",
                json!({
                    "id": incident.id,
                    "tenant": incident.tenant,
                    "state": incident.state.name(),
                    "severity": incident.severity,
                    "title": incident.title,
                    "services": incident.services,
                    "alert_count": incident.alerts.len(),
                    "onset_s": incident.onset.as_secs(),
                }),
            )
            .with("cause", self.cause(rank))
            .with(
                "ranking",
                json!({
                    "method": self.ranking.method,
                    "unknown": self.ranking.unknown,
                    "margin": self.ranking.margin(),
                    "candidates": ranked,
                }),
            )
            .with(
                "alerts",
                Value::Array(
                    self.alerts
                        .iter()
                        .take(MAX_ITEMS)
                        .map(|alert| {
                            json!({
                                "name": alert.name,
                                "severity": alert.severity,
                                "service": alert.service.as_deref().unwrap_or(""),
                                "labels": alert.labels,
                            })
                        })
                        .collect(),
                ),
            )
    }
}

/// The kind of a cause; `None` for kinds newer than this crate, which match nothing.
pub(crate) fn kind_of_cause(cause: &Cause) -> Option<CauseKind> {
    match cause {
        Cause::Service { .. } => Some(CauseKind::Service),
        Cause::Metric { .. } => Some(CauseKind::Metric),
        Cause::Change { .. } => Some(CauseKind::Change),
        _ => None,
    }
}

fn describe(candidate: &Candidate, rank: usize) -> Value {
    let (kind, metric, metric_kind, title) = match &candidate.cause {
        Cause::Service { .. } => ("service", "", Value::from(""), ""),
        Cause::Metric { series, metric_kind, .. } => {
            ("metric", series.name.as_str(), json!(metric_kind), "")
        }
        Cause::Change { title, .. } => ("change", "", Value::from(""), title.as_str()),
        _ => ("other", "", Value::from(""), ""),
    };
    json!({
        "kind": kind,
        "service": candidate.cause.service().unwrap_or(""),
        "metric": metric,
        "metric_kind": metric_kind,
        "title": title,
        "probability": candidate.probability,
        "rank": rank,
    })
}
