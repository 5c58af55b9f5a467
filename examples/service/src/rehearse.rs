//! What the service would have shown of a recording, in virtual time: how settings are judged before they are used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Cause, IncidentId, MemoryStore, Timestamp};
use aiops_observe::IntakeRequest;
use aiops_pipeline::recording::Recording;
use serde_json::json;

use crate::{Config, Error, Result, Stages};

/// An incident as people would have seen it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Shown {
    /// Its id.
    pub id: IncidentId,
    /// When it was first on the page.
    pub at: Timestamp,
    /// The alerts that it had then, by service and name.
    pub because: Vec<String>,
    /// What was ranked first, each time that changed.
    pub first: Vec<(Timestamp, Cause)>,
}

/// Plays the samples and changes of a recording from `from` on to a service with an empty memory, second by second,
/// as a sender would send them; recorded alerts are left out. Gives what was shown, in the order in which it was.
///
/// # Errors
/// When a setting is out of range; a failure of a stage is printed and goes on, as in the service.
pub fn rehearse(recording: &Recording, from: Timestamp, config: &Config) -> Result<Vec<Shown>> {
    let store = Arc::new(MemoryStore::default());
    let mut stages = Stages::open(config.clone(), store, from)?;
    let mut shown: Vec<Shown> = Vec::new();
    let mut numbers: BTreeMap<IncidentId, usize> = BTreeMap::new();
    let headers = [("content-type", "application/json")];
    let mut changes = recording.changes.iter().filter(|change| change.starts_at >= from).peekable();
    for (second, &now) in recording.times.iter().enumerate().filter(|(_, time)| **time >= from) {
        let samples = recording.series.iter().zip(recording.row(second));
        let lines = samples.filter(|(_, value)| value.is_finite()).map(|(series, value)| {
            let labels: BTreeMap<&str, &str> = series.key.labels.iter().collect();
            let time = now.as_nanos() as f64 / 1e9;
            let name = &series.key.name;
            format!("{}\n", json!({"name": name, "labels": labels, "time": time, "value": value}))
        });
        let mut send = |path: &str, body: &str| {
            let body = body.as_bytes();
            let request = IntakeRequest { method: "POST", path, headers: &headers, body };
            let answer = stages.receive(&request, now);
            let reason = String::from_utf8_lossy(&answer.body).into_owned();
            let ok = (200..300).contains(&answer.status);
            if ok { Ok(()) } else { Err(Error::Stage { stage: "observe", reason }) }
        };
        send("/samples.jsonl", &lines.collect::<String>())?;
        while let Some(change) = changes.next_if(|change| change.starts_at <= now) {
            let body = json!({
                "kind": change.kind, "service": change.service, "title": change.title,
                "starts_at": change.starts_at.as_nanos() as f64 / 1e9, "labels": change.labels,
            });
            send("/changes", &body.to_string())?;
        }
        if let Err(error) = stages.tick(now + Duration::from_millis(1)) {
            eprintln!("a tick failed and is repeated: {error}");
        }
        for incident in stages.shown() {
            let number = *numbers.entry(incident.id).or_insert_with(|| {
                let alerts = stages.alerts_of(&incident).into_iter();
                let because =
                    alerts.map(|a| format!("{} {}", a.service.unwrap_or_default(), a.name));
                let because = because.collect();
                shown.push(Shown { id: incident.id, at: now, because, first: Vec::new() });
                shown.len() - 1
            });
            let top = stages.ranked(incident.id).and_then(|ranked| ranked.ranking.top());
            let first = &mut shown[number].first;
            if let Some(top) = top.filter(|top| first.last().is_none_or(|(_, c)| *c != top.cause)) {
                first.push((now, top.cause.clone()));
            }
        }
    }
    Ok(shown)
}
