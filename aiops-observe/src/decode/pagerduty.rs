//! PagerDuty Events API v2, as a receiver: what tools send that can page.

use super::json::{self, checked, cut};
use super::mapped::{moment, scalar};
use crate::alert_identity::{DEDUP_KEY, identify};
use crate::{Decoder, Limits, Rejection, Result, Sink, Tally};
use aiops_core::{Alert, Labels, Severity, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Reads events of PagerDuty's Events API v2, one or an array of them.
///
/// `trigger` is an alert that fires and `resolve` one that ended; both are told by `dedup_key` alone,
/// since a resolve carries no payload. `acknowledge` says what a person does and is counted as
/// [`Rejection::Unsupported`]. The name is the payload's `class`, else its summary; the service its
/// `component`, else nothing. The routing key is a secret and is not kept.
///
/// Source: `reference/events-v2/openapiv3.json` of PagerDuty's API schema.
#[derive(Debug, Clone, Default)]
pub struct PagerDuty {
    limits: Limits,
}

impl PagerDuty {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        PagerDuty { limits }
    }
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow)]
    event_action: Cow<'a, str>,
    #[serde(borrow, default)]
    dedup_key: Cow<'a, str>,
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
    #[serde(borrow, default)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    client_url: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Payload<'a> {
    #[serde(borrow)]
    summary: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    severity: Cow<'a, str>,
    timestamp: Value,
    #[serde(borrow)]
    component: Cow<'a, str>,
    #[serde(borrow)]
    group: Cow<'a, str>,
    #[serde(borrow)]
    class: Cow<'a, str>,
    custom_details: Value,
}

impl Decoder for PagerDuty {
    fn format(&self) -> &'static str {
        "pagerduty_events_v2"
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let events = json::one_or_many(self.format(), body, &self.limits)?;
        sink.begin(self.format(), now);
        let mut tally = Tally::default();
        json::each(self.format(), &events, &self.limits, &mut tally, |event| {
            sink.alert(read(event, now, &self.limits)?)
        })?;
        Ok(tally)
    }
}

fn read(event: WireEvent<'_>, now: Timestamp, limits: &Limits) -> Result<Alert, Rejection> {
    let resolved = match event.event_action.as_ref() {
        "trigger" => false,
        "resolve" => true,
        "acknowledge" => return Err(Rejection::Unsupported),
        _ => return Err(Rejection::Malformed),
    };
    // Only a trigger may leave its key to the receiver.
    if event.dedup_key.is_empty() && resolved || event.payload.is_none() && !resolved {
        return Err(Rejection::MissingField);
    }
    let payload = event.payload.unwrap_or_default();
    let starts_at = match scalar(&payload.timestamp) {
        Some(text) if !text.is_empty() => moment(&text).ok_or(Rejection::BadTime)?,
        _ => now,
    };
    let given = [
        (DEDUP_KEY, &event.dedup_key),
        ("class", &payload.class),
        ("component", &payload.component),
        ("group", &payload.group),
        ("instance", &payload.source),
    ];
    let labels =
        checked(given.into_iter().map(|(name, text)| (name, text.as_ref())).collect(), limits)?;
    let name = [&payload.class, &payload.summary, &event.dedup_key].into_iter();
    let name = name.into_iter().find(|name| !name.is_empty()).ok_or(Rejection::MissingField)?;
    let mut alert = Alert::new(cut(name, limits), labels, starts_at);
    alert.severity = Severity::from_word(&payload.severity);
    alert.service = Some(payload.component.as_ref()).filter(|c| !c.is_empty()).map(str::to_owned);
    alert.ends_at = resolved.then_some(now);
    alert.received_at = now;
    alert.source = "pagerduty".to_owned();
    alert.annotations = annotations(&payload, &event.client, &event.client_url, limits);
    identify(&mut alert, String::new(), &[]);
    Ok(alert)
}

fn annotations(payload: &Payload<'_>, client: &str, url: &str, limits: &Limits) -> Labels {
    let mut annotations = Labels::new();
    for (name, text) in [("summary", payload.summary.as_ref()), ("client", client), ("link", url)] {
        if !text.is_empty() {
            annotations.insert(name, cut(text, limits));
        }
    }
    if let Value::Object(details) = &payload.custom_details {
        let details = details.iter().take(limits.labels);
        for (name, text) in details.filter_map(|(name, value)| Some((name, scalar(value)?))) {
            annotations.insert(cut(&format!("detail.{name}"), limits), cut(&text, limits));
        }
    }
    annotations
}
