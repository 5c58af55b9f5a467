//! JSON webhooks without a fixed schema, read by a declarative map.

use super::json::{self, checked, cut};
use super::words_of_change::kind_of_change;
use crate::alert_identity::{DEDUP_KEY, identify};
use crate::{Decoder, Error, Limits, Rejection, Result, Sink, Tally, time};
use aiops_core::{Alert, Event, Labels, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Where the fields of an alert or event stand in somebody's JSON.
///
/// A text that begins with `/` is a JSON pointer into the item, any other is the value itself, and an
/// empty one is nothing. Datadog's webhooks, whose body is a template of the user, as an example:
///
/// ```
/// use aiops_core::{Severity, Timestamp};
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig};
/// use aiops_observe::decode::{Mapped, Mapping};
///
/// let mapping = Mapping {
///     name: "/title".into(),
///     severity: "/alert_type".into(),
///     service: "/tags/service".into(),
///     starts_at: "/date".into(),
///     resolved: "/transition".into(),
///     resolved_words: vec!["Recovered".into()],
///     dedup_key: "/id".into(),
///     source: "datadog".into(),
///     ..Mapping::default()
/// };
/// let body = br#"{"id": "77", "title": "High latency", "alert_type": "error", "date": 1700000000000,
///     "transition": "Triggered", "tags": {"service": "cart"}}"#;
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let mut sink = normaliser.sink(&mut inbox);
/// Mapped::new(mapping)?.decode(body, Timestamp::from_secs(1_700_000_001), &mut sink)?;
/// drop(sink);
/// let alert = &inbox.alerts[0];
/// assert_eq!((alert.service.as_deref(), alert.severity), (Some("cart"), Severity::Critical));
/// assert_eq!(alert.starts_at, Timestamp::from_secs(1_700_000_000));
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mapping {
    /// What items are. Default alerts.
    pub into: MappedInto,
    /// Pointer to the array of items; empty when the body is the item, or the array.
    pub items: String,
    /// The name of an alert, or the title of an event; required.
    pub name: String,
    /// A word that [`Severity::from_word`] reads.
    pub severity: String,
    /// The service.
    pub service: String,
    /// When it began: RFC 3339, or a number since the epoch in seconds, milliseconds, microseconds or
    /// nanoseconds, told apart by its size. Without one, the time of arrival.
    pub starts_at: String,
    /// When it ended, likewise.
    pub ends_at: String,
    /// What says whether an alert is resolved: when its value is one of `resolved_words`.
    pub resolved: String,
    /// The values of `resolved` that mean so.
    pub resolved_words: Vec<String>,
    /// What tells alerts apart, where labels do not.
    pub dedup_key: String,
    /// The kind of an event, in a word such as `deploy`.
    pub kind: String,
    /// Who sent it.
    pub source: String,
    /// Labels by name.
    pub labels: BTreeMap<String, String>,
    /// Annotations by name; events have none.
    pub annotations: BTreeMap<String, String>,
}

/// What the items of a [`Mapping`] become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MappedInto {
    /// Alerts.
    #[default]
    Alert,
    /// Events.
    Event,
}

/// Reads JSON webhooks by a [`Mapping`].
#[derive(Debug, Clone)]
pub struct Mapped {
    mapping: Mapping,
    limits: Limits,
}

impl Mapped {
    /// A decoder for this mapping.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when there is no name to read.
    pub fn new(mapping: Mapping) -> Result<Self> {
        if mapping.name.is_empty() {
            return Err(Error::config("name", "a mapping must say where the name stands"));
        }
        if !mapping.items.is_empty() && !mapping.items.starts_with('/') {
            let reason = format!("must be a JSON pointer, got {:?}", mapping.items);
            return Err(Error::config("items", reason));
        }
        Ok(Mapped { mapping, limits: Limits::default() })
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Mapped { limits, ..self }
    }
}

const FORMAT: &str = "mapped_json";

impl Decoder for Mapped {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let mut tally = Tally::default();
        let (mapping, limits) = (&self.mapping, &self.limits);
        if mapping.items.is_empty() {
            let items = json::one_or_many(FORMAT, body, limits)?;
            sink.begin(FORMAT, now);
            json::each(FORMAT, &items, limits, &mut tally, |item: Value| {
                mapping.deliver(&item, now, limits, sink)
            })?;
            return Ok(tally);
        }
        let document: Value = json::document(FORMAT, body, limits)?;
        sink.begin(FORMAT, now);
        let Some(Value::Array(items)) = document.pointer(&mapping.items) else {
            let reason = format!("no array at {}", mapping.items);
            return Err(Error::Malformed {
                format: FORMAT,
                offset: 0,
                reason,
                before: Box::new(tally),
            });
        };
        for item in items {
            tally.count(mapping.deliver(item, now, limits, sink), 1);
            limits.check_items(FORMAT, &tally)?;
        }
        Ok(tally)
    }
}

impl Mapping {
    /// Reads one item and hands it to the sink.
    pub(super) fn deliver(
        &self,
        item: &Value,
        now: Timestamp,
        limits: &Limits,
        sink: &mut dyn Sink,
    ) -> Result<(), Rejection> {
        let name = self.text(item, &self.name).filter(|name| !name.is_empty());
        let name = cut(&name.ok_or(Rejection::MissingField)?, limits);
        let starts_at = self.time(item, &self.starts_at)?.unwrap_or(now);
        let ends_at = self.time(item, &self.ends_at)?;
        let mut labels = checked(self.all(item, &self.labels), limits)?;
        let service = self.text(item, &self.service).filter(|service| !service.is_empty());
        if self.into == MappedInto::Event {
            let kind = self.text(item, &self.kind).unwrap_or_default();
            let mut event = Event::new(kind_of_change(&kind), service.as_deref(), name, starts_at);
            (event.ends_at, event.labels) = (ends_at, labels);
            return sink.event(event);
        }
        if let Some(key) = self.text(item, &self.dedup_key) {
            labels.insert(DEDUP_KEY, cut(&key, limits));
        }
        let mut alert = Alert::new(name, checked(labels, limits)?, starts_at);
        let said = self.text(item, &self.resolved).unwrap_or_default();
        let resolved = self.resolved_words.iter().any(|word| *word == *said);
        alert.ends_at = match ends_at {
            Some(end) => Some(end).filter(|_| resolved || self.resolved.is_empty() && end <= now),
            None => resolved.then_some(now),
        };
        if let Some(word) = self.text(item, &self.severity) {
            alert.severity = Severity::from_word(&word);
        }
        if let Some(service) = service {
            alert.service = Some(cut(&service, limits));
        }
        alert.received_at = now;
        alert.source = self.text(item, &self.source).unwrap_or_default().into_owned();
        let annotations = self.all(item, &self.annotations);
        alert.annotations =
            annotations.iter().map(|(name, text)| (name, cut(text, limits))).collect();
        identify(&mut alert, String::new(), &[]);
        sink.alert(alert)
    }

    fn text<'v>(&'v self, item: &'v Value, place: &'v str) -> Option<Cow<'v, str>> {
        match place {
            "" => None,
            pointer if pointer.starts_with('/') => scalar(item.pointer(pointer)?),
            constant => Some(Cow::Borrowed(constant)),
        }
    }

    fn time(&self, item: &Value, place: &str) -> Result<Option<Timestamp>, Rejection> {
        match self.text(item, place) {
            Some(text) if !text.is_empty() => moment(&text).map(Some).ok_or(Rejection::BadTime),
            _ => Ok(None),
        }
    }

    fn all(&self, item: &Value, places: &BTreeMap<String, String>) -> Labels {
        places.iter().filter_map(|(name, place)| Some((name, self.text(item, place)?))).collect()
    }
}

/// A value as text; arrays and objects have none.
pub(super) fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        _ => None,
    }
}

/// RFC 3339, or a number whose size tells its unit: below 10^11 seconds (the year 5138), below 10^14
/// milliseconds, below 10^17 microseconds, else nanoseconds.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let Ok(number) = text.parse::<i64>() else { return time::any(text) };
    Some(match number.unsigned_abs() {
        0..100_000_000_000 => Timestamp::from_secs(number),
        100_000_000_000..100_000_000_000_000 => Timestamp::from_millis(number),
        100_000_000_000_000..100_000_000_000_000_000 => {
            Timestamp::from_nanos(number.saturating_mul(1_000))
        }
        _ => Timestamp::from_nanos(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_time_tells_its_unit() {
        let second = Some(Timestamp::from_secs(1_700_000_000));
        for text in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000"] {
            assert_eq!(moment(text), second);
        }
        assert_eq!(moment("2023-11-14T22:13:20Z"), second);
        assert_eq!(moment("soon"), None);
    }
}
