//! The same as JSON.

use aiops_core::{Incident, IncidentId};
use serde_json::{Value, json};

use crate::{Error, Result, Stages};

/// These incidents, each with its first cause.
pub(super) fn incidents(stages: &Stages, listed: Vec<Incident>) -> Value {
    let rows = listed.into_iter().map(|incident| {
        let ranked = stages.ranked(incident.id);
        json!({
            "id": incident.id,
            "title": incident.title,
            "state": incident.state,
            "severity": incident.severity,
            "onset": incident.onset,
            "shown_at": incident.shown_at,
            "resolved_at": incident.resolved_at,
            "services": incident.services,
            "alerts": incident.alerts.len(),
            "cause": ranked.and_then(|ranked| ranked.ranking.top()).map(|top| {
                json!({ "cause": top.cause, "probability": top.probability })
            }),
        })
    });
    json!({ "incidents": rows.collect::<Vec<_>>() })
}

/// Everything about one incident, held and merged ones too.
pub(super) fn incident(stages: &Stages, id: IncidentId) -> Result<Value> {
    let Some(incident) = stages.incident(id) else {
        return Err(Error::Unknown { reason: format!("incident {id} is not known") });
    };
    let ranked = stages.ranked(id);
    let decisions = stages.decisions(id).into_iter().map(|(decision, alert)| {
        json!({ "sentence": decision.sentence(), "decision": decision, "alert": alert })
    });
    let similar = stages.similar(id).into_iter().map(|similar| {
        json!({ "similarity": similar.similarity, "past": similar.past, "shared": similar.shared })
    });
    Ok(json!({
        "incident": incident,
        "ranked_at": ranked.map(|ranked| ranked.at),
        "ranking": ranked.map(|ranked| &ranked.ranking),
        "decisions": decisions.collect::<Vec<_>>(),
        "similar": similar.collect::<Vec<_>>(),
        "answers": stages.answers(id)?,
    }))
}
