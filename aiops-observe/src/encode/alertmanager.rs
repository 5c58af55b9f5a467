//! Alertmanager's API v2.

use crate::time::to_rfc3339;
use aiops_core::{Incident, IncidentState, Timestamp};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Headers that the body travels with.
pub const ALERTMANAGER_HEADERS: [(&str, &str); 1] = [("content-type", "application/json")];

/// A body for `POST /api/v2/alerts`: one alert for each incident that people may see, so that
/// routing, silences and receivers that exist already take over from here.
///
/// Labels, which make it the same alert the next time: `alertname` = `Incident`, `incident` (the
/// id), `severity`, `tenant` where there is one, and `service` where it is about one. Annotations:
/// `summary` (the title), `services`, `alerts` (how many), `because` (the last line of its story).
/// An incident that is over ends when it was resolved; one that goes on ends at `now + keep`, so
/// that it is over by itself if nobody posts it again: post open incidents every third of `keep`.
/// A merged incident ends now, the one it became part of goes on under its own id. Held and
/// discarded ones are left out.
///
/// ```
/// use aiops_core::{Fingerprint, Incident, IncidentId, IncidentState, Severity, Timestamp};
/// use aiops_observe::encode::alertmanager;
/// # use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::AlertmanagerApi};
/// # use std::time::Duration;
/// let onset = Timestamp::from_secs(1_700_000_000);
/// let incident = Incident {
///     id: IncidentId::of("", Fingerprint::from_u64(1), onset), tenant: String::new(),
///     state: IncidentState::Open, onset, shown_at: Some(onset), resolved_at: None,
///     severity: Severity::Critical, title: "checkout is slow".into(), alerts: vec![],
///     services: ["checkout".to_owned()].into(), events: vec![], timeline: vec![],
/// };
/// let now = Timestamp::from_secs(1_700_000_060);
/// let body = alertmanager(&[incident], now, Duration::from_secs(300));
///
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// AlertmanagerApi::default().decode(&body, now, &mut normaliser.sink(&mut inbox))?;
/// assert_eq!(inbox.alerts[0].service.as_deref(), Some("checkout"));
/// assert!(!inbox.alerts[0].is_resolved());
/// # Ok::<(), aiops_observe::Error>(())
/// ```
///
/// Source: `api/v2/openapi.yaml` of Alertmanager 0.25, `postableAlerts`.
pub fn alertmanager(incidents: &[Incident], now: Timestamp, keep: Duration) -> Vec<u8> {
    let shown = |i: &&Incident| i.shown_at.is_some() && i.state != IncidentState::Discarded;
    let alerts = incidents.iter().filter(shown).map(|incident| {
        let mut labels = Map::new();
        let mut label = |name: &str, value: &str| {
            // An empty value would remove the label.
            (!value.is_empty()).then(|| labels.insert(name.into(), value.into()));
        };
        label("alertname", "Incident");
        label("incident", &incident.id.to_string());
        label("severity", incident.severity.name());
        label("tenant", &incident.tenant);
        let mut services = incident.services.iter();
        if let (Some(only), None) = (services.next(), services.next()) {
            label("service", only);
        }
        let services: Vec<_> = incident.services.iter().map(String::as_str).collect();
        let because = incident.timeline.last().map_or("", |entry| entry.reason.sentence.as_str());
        let ends = match incident.state {
            _ if incident.resolved_at.is_some() => incident.resolved_at.unwrap_or(now),
            IncidentState::Merged(_) => now,
            _ => now + keep,
        };
        json!({
            "labels": labels,
            "annotations": {
                "summary": incident.title,
                "services": services.join(", "),
                "alerts": incident.alerts.len().to_string(),
                "because": because,
            },
            "startsAt": to_rfc3339(incident.onset),
            // Alertmanager refuses an end before the start.
            "endsAt": to_rfc3339(ends.max(incident.onset)),
        })
    });
    Value::Array(alerts.collect()).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Fingerprint, IncidentChange, IncidentId, Reason, Severity};

    fn incident(number: u64, changes: &[IncidentChange]) -> Incident {
        let onset = Timestamp::from_secs(100);
        let mut incident = Incident {
            id: IncidentId::of("", Fingerprint::from_u64(number), onset),
            tenant: String::new(),
            state: IncidentState::Held,
            onset,
            shown_at: None,
            resolved_at: None,
            severity: Severity::Warning,
            title: "\"checkout\" is slow".into(),
            alerts: vec![],
            services: ["a".to_owned(), "b".to_owned()].into(),
            events: vec![],
            timeline: vec![],
        };
        for change in changes {
            incident
                .apply(*change, Timestamp::from_secs(200), Reason::new("test", "so it is"))
                .unwrap();
        }
        incident
    }

    #[test]
    fn what_is_shown_goes_out_and_what_is_over_ends() {
        use IncidentChange::{Discard, Merge, Resolve, Show};
        let older = incident(0, &[Show]).id;
        let incidents = [
            incident(1, &[]),
            incident(2, &[Discard]),
            incident(3, &[Show]),
            incident(4, &[Show, Resolve]),
            incident(5, &[Show, Merge(older)]),
        ];
        let body = alertmanager(&incidents, Timestamp::from_secs(300), Duration::from_secs(60));
        let alerts: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let ends: Vec<_> = alerts.iter().map(|alert| alert["endsAt"].as_str().unwrap()).collect();
        assert_eq!(ends, ["1970-01-01T00:06:00Z", "1970-01-01T00:03:20Z", "1970-01-01T00:05:00Z"]);
        assert_eq!(alerts[0]["labels"].get("service"), None, "it is about two");
        assert_eq!(alerts[0]["annotations"]["summary"], "\"checkout\" is slow");
        assert_eq!(alerts[0]["annotations"]["because"], "so it is");
    }
}
