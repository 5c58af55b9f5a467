//! Alertmanager's webhook (version 4) and its API v2, and Grafana's webhook, which extends the former.

use super::json::{self, checked, cut};
use crate::alert_identity::identify;
use crate::{Decoder, Limits, Rejection, Result, Sink, Tally, time};
use aiops_core::{Alert, Labels, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Reads the bodies of Alertmanager's webhook receiver, version 4, and of Grafana's, version 1.
///
/// The name of an alert is its label `alertname`, which is taken out of the labels. `startsAt` and,
/// once resolved, `endsAt` are the sender's; year 1 means "not yet". The sender's fingerprint, its
/// link and Grafana's values become annotations: `source_fingerprint`, `generator_url`, `value.A`.
/// Alerts that the sender left out (`truncatedAlerts`) are counted as [`Rejection::CutBySender`].
/// Unknown fields are ignored, since newer senders add some.
///
/// Source: `template.Data` and `notify/webhook` of Alertmanager 0.25; Grafana's `ExtendedData`.
#[derive(Debug, Clone, Default)]
pub struct AlertmanagerWebhook {
    limits: Limits,
}

/// Reads alerts as Alertmanager's API v2 has them: what Prometheus posts to `/api/v2/alerts`, and
/// what that address answers.
///
/// An alert whose `endsAt` has passed by the time of arrival is resolved; one whose `endsAt` lies
/// ahead still fires, and that time is only when the sender would give up on it. Of an answer, who
/// silences or inhibits an alert becomes the annotations `silenced_by` and `inhibited_by`.
///
/// Source: `api/v2/openapi.yaml` of Alertmanager 0.25.
#[derive(Debug, Clone, Default)]
pub struct AlertmanagerApi {
    limits: Limits,
}

impl AlertmanagerWebhook {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        AlertmanagerWebhook { limits }
    }
}

impl AlertmanagerApi {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        AlertmanagerApi { limits }
    }
}

#[derive(Deserialize)]
struct Webhook<'a> {
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(borrow, default)]
    receiver: Cow<'a, str>,
    #[serde(borrow)]
    alerts: Vec<&'a RawValue>,
    #[serde(rename = "truncatedAlerts", default)]
    truncated: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAlert<'a> {
    #[serde(borrow, default)]
    status: Option<Status<'a>>,
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(borrow, default)]
    starts_at: Cow<'a, str>,
    #[serde(borrow, default)]
    ends_at: Cow<'a, str>,
    #[serde(rename = "generatorURL", borrow, default)]
    generator_url: Cow<'a, str>,
    #[serde(borrow, default)]
    fingerprint: Cow<'a, str>,
    /// Grafana's.
    #[serde(default)]
    values: Option<BTreeMap<String, Option<f64>>>,
}

/// A word in the webhook, an object in the API.
#[derive(Deserialize)]
#[serde(untagged)]
enum Status<'a> {
    Word(#[serde(borrow)] Cow<'a, str>),
    Object(Muted),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Muted {
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

impl Decoder for AlertmanagerWebhook {
    fn format(&self) -> &'static str {
        "alertmanager_webhook"
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let webhook: Webhook<'_> = json::document(self.format(), body, &self.limits)?;
        sink.begin(self.format(), now);
        let source = if webhook.version == "1" { "grafana" } else { "alertmanager" };
        let mut tally = Tally::default();
        json::each(self.format(), &webhook.alerts, &self.limits, &mut tally, |alert| {
            let mut alert = read(alert, now, source, &self.limits)?;
            if !webhook.receiver.is_empty() {
                alert.annotations.insert("receiver", cut(&webhook.receiver, &self.limits));
            }
            sink.alert(alert)
        })?;
        tally.reject(Rejection::CutBySender, webhook.truncated as usize);
        Ok(tally)
    }
}

impl Decoder for AlertmanagerApi {
    fn format(&self) -> &'static str {
        "alertmanager_api"
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let alerts: Vec<&RawValue> = json::document(self.format(), body, &self.limits)?;
        sink.begin(self.format(), now);
        let mut tally = Tally::default();
        json::each(self.format(), &alerts, &self.limits, &mut tally, |alert| {
            sink.alert(read(alert, now, "alertmanager", &self.limits)?)
        })?;
        Ok(tally)
    }
}

fn read(
    wire: WireAlert<'_>,
    now: Timestamp,
    source: &str,
    limits: &Limits,
) -> Result<Alert, Rejection> {
    let annotations = annotations(&wire, limits);
    let mut labels = checked(wire.labels, limits)?;
    let name = labels.remove("alertname").ok_or(Rejection::MissingField)?;
    let moment = |text: &str| match time::rfc3339(text) {
        _ if text.is_empty() => Ok(None),
        Some(Timestamp::MIN) => Ok(None), // year 1
        Some(time) => Ok(Some(time)),
        None => Err(Rejection::BadTime),
    };
    let starts_at = moment(&wire.starts_at)?.unwrap_or(now);
    let ends_at = moment(&wire.ends_at)?;
    let mut alert = Alert::new(name, labels, starts_at);
    alert.ends_at = match &wire.status {
        Some(Status::Word(word)) if word == "resolved" => Some(ends_at.unwrap_or(now)),
        Some(Status::Word(_)) => None,
        _ => ends_at.filter(|&end| end <= now),
    };
    alert.received_at = now;
    alert.source = source.to_owned();
    alert.annotations = annotations;
    identify(&mut alert, String::new(), &[]);
    Ok(alert)
}

fn annotations(wire: &WireAlert<'_>, limits: &Limits) -> Labels {
    let given = wire.annotations.iter().take(limits.labels);
    let mut annotations: Labels =
        given.map(|(name, value)| (cut(name, limits), cut(value, limits))).collect();
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            annotations.insert(name, cut(value, limits));
        }
    };
    add("source_fingerprint", &wire.fingerprint);
    add("generator_url", &wire.generator_url);
    if let Some(Status::Object(muted)) = &wire.status {
        add("silenced_by", &muted.silenced_by.join(","));
        add("inhibited_by", &muted.inhibited_by.join(","));
    }
    for (name, value) in wire.values.iter().flatten().take(limits.labels) {
        if let Some(value) = value {
            add(&cut(&format!("value.{name}"), limits), &value.to_string());
        }
    }
    annotations
}
