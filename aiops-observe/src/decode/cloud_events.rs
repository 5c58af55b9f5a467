//! CloudEvents 1.0 over HTTP: structured, batched and binary.

use super::json::{self, cut};
use super::mapped::{Mapping, moment, scalar};
use super::words_of_change::kind_of_change;
use crate::{Decoder, Limits, Pattern, Rejection, Result, Sink, Tally};
use aiops_core::{Event, Labels, Timestamp};
use serde_json::{Map, Value};

/// Reads CloudEvents 1.0 in JSON, one or a batch; [`decode_binary`](Self::decode_binary) reads those
/// whose attributes are headers.
///
/// An event becomes what the first of the [`rules`](Self::rule) says whose pattern fits its `type`;
/// pointers go into the whole envelope, so `/data/service` is a field of the data. Without a rule it
/// becomes a change: the kind told by the words of its type (`dev.cdevents.service.deployed`), the
/// service from `data.service`, the title from type and subject, `source`, `id`, `subject` and the
/// plain fields of the data as labels.
///
/// Source: CloudEvents 1.0.2, JSON format and HTTP binding; the event needs `specversion` 1.x, `id`,
/// `source` and `type`.
#[derive(Debug, Clone, Default)]
pub struct CloudEvents {
    limits: Limits,
    rules: Vec<(Pattern, Mapping)>,
}

const FORMAT: &str = "cloud_events";

impl CloudEvents {
    /// A decoder with these limits and no rules.
    pub fn new(limits: Limits) -> Self {
        CloudEvents { limits, rules: Vec::new() }
    }

    /// Adds a rule for events whose type has this form.
    pub fn rule(mut self, of_type: Pattern, mapping: Mapping) -> Self {
        self.rules.push((of_type, mapping));
        self
    }

    /// Reads an event in binary mode: `headers` are those of the request, whatever their case, and the
    /// body is the data. Data that is not JSON is kept as text where it is text.
    ///
    /// # Errors
    /// As [`decode`](Decoder::decode).
    pub fn decode_binary<'h>(
        &mut self,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
        body: &[u8],
        now: Timestamp,
        sink: &mut dyn Sink,
    ) -> Result<Tally> {
        self.limits.check_body(FORMAT, body.len())?;
        sink.begin(FORMAT, now);
        let mut envelope = Map::new();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            if let Some(attribute) = name.strip_prefix("ce-") {
                envelope.insert(attribute.to_owned(), Value::String(percent_decoded(value)));
            }
        }
        let data = serde_json::from_slice(body).unwrap_or_else(|_| {
            std::str::from_utf8(body).map_or(Value::Null, |text| Value::String(text.to_owned()))
        });
        envelope.insert("data".to_owned(), data);
        let mut tally = Tally::default();
        tally.count(self.deliver(&Value::Object(envelope), now, sink), 1);
        Ok(tally)
    }

    fn deliver(
        &self,
        envelope: &Value,
        now: Timestamp,
        sink: &mut dyn Sink,
    ) -> Result<(), Rejection> {
        if !envelope.is_object() {
            return Err(Rejection::Malformed);
        }
        let text = |name: &str| envelope.get(name).and_then(Value::as_str).unwrap_or_default();
        let [version, id, source, of_type] = ["specversion", "id", "source", "type"].map(text);
        if [version, id, source, of_type].iter().any(|text| text.is_empty()) {
            return Err(Rejection::MissingField);
        }
        if !version.starts_with("1.") {
            return Err(Rejection::Unsupported);
        }
        if let Some((_, mapping)) = self.rules.iter().find(|(form, _)| form.matches(of_type)) {
            return mapping.deliver(envelope, now, &self.limits, sink);
        }
        let starts_at = match text("time") {
            "" => now,
            time => moment(time).ok_or(Rejection::BadTime)?,
        };
        let subject = text("subject");
        let title = format!("{of_type} {subject}");
        let service = envelope.pointer("/data/service").and_then(Value::as_str);
        let service = service.filter(|service| service.len() <= self.limits.label_bytes);
        let title = cut(title.trim_end(), &self.limits);
        let mut event = Event::new(kind_of_change(of_type), service, title, starts_at);
        event.labels = self.labels(envelope.get("data"));
        for (name, text) in [("ce_id", id), ("ce_source", source), ("ce_subject", subject)] {
            if !text.is_empty() {
                event.labels.insert(name, cut(text, &self.limits));
            }
        }
        sink.event(event)
    }

    /// The plain fields of the data, as many as allowed.
    fn labels(&self, data: Option<&Value>) -> Labels {
        let Some(Value::Object(data)) = data else { return Labels::new() };
        let fields = data.iter().filter(|(name, _)| *name != "service");
        let fields = fields.filter_map(|(name, value)| Some((name, scalar(value)?)));
        let fields = fields.filter(|(_, text)| !text.is_empty()).take(self.limits.labels);
        fields.map(|(name, text)| (cut(name, &self.limits), cut(&text, &self.limits))).collect()
    }
}

impl Decoder for CloudEvents {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let events = json::one_or_many(FORMAT, body, &self.limits)?;
        sink.begin(FORMAT, now);
        let mut tally = Tally::default();
        json::each(FORMAT, &events, &self.limits, &mut tally, |envelope: Value| {
            self.deliver(&envelope, now, sink)
        })?;
        Ok(tally)
    }
}

/// Header values carry what is not plain ASCII as `%` and two hexadecimal digits.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let coded = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let coded = coded.and_then(|digits| std::str::from_utf8(digits).ok());
        match coded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
