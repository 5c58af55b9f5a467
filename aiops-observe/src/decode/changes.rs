//! Deploys and other changes, in a JSON of our own that a pipeline step can send with one `curl`.

use super::json::{checked, cut};
use super::mapped::{moment, scalar};
use super::words_of_change::kind_of_change;
use crate::{Decoder, Limits, Rejection, Result, Sink, Tally};
use aiops_core::{Event, Labels, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Reads changes: JSON objects one after the other, with or without line breaks.
///
/// | field | meaning |
/// | --- | --- |
/// | `kind` | `deploy`, `config`, `scaling`, `restart`, `job`, `maintenance`, `silence`, or a word like them |
/// | `title` | one line for people; without it, kind, service and version |
/// | `service` | the service that changed |
/// | `starts_at` | RFC 3339, or a number since the epoch; without it, now |
/// | `ends_at` | likewise; without it, the change stays |
/// | `version` | becomes a label |
/// | `labels` | an object of text |
///
/// A damaged object ends the reading, since nobody can say where the next one begins; what remains is
/// counted as one malformed item.
///
/// ```
/// use aiops_core::{EventKind, Timestamp};
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::Changes};
/// let body = br#"{"kind": "deploy", "service": "api", "version": "1.4.2"}"#;
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let mut sink = normaliser.sink(&mut inbox);
/// Changes::default().decode(body, Timestamp::from_secs(60), &mut sink)?;
/// drop(sink);
/// assert_eq!((inbox.events[0].kind, inbox.events[0].title.as_str()), (EventKind::Deploy, "deploy api 1.4.2"));
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Changes {
    limits: Limits,
}

impl Changes {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        Changes { limits }
    }
}

#[derive(Deserialize)]
struct WireChange<'a> {
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    title: Cow<'a, str>,
    #[serde(borrow, default)]
    service: Cow<'a, str>,
    #[serde(default)]
    starts_at: Value,
    #[serde(default)]
    ends_at: Value,
    #[serde(borrow, default)]
    version: Cow<'a, str>,
    #[serde(default)]
    labels: Labels,
}

impl Decoder for Changes {
    fn format(&self) -> &'static str {
        "changes"
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        self.limits.check_body(self.format(), body.len())?;
        sink.begin(self.format(), now);
        let mut tally = Tally::default();
        for change in serde_json::Deserializer::from_slice(body).into_iter::<WireChange<'_>>() {
            let read = change.map_err(|_| Rejection::Malformed);
            let said = read.and_then(|change| sink.event(self.read(change, now)?));
            tally.count(said, 1);
            self.limits.check_items(self.format(), &tally)?;
        }
        Ok(tally)
    }
}

impl Changes {
    fn read(&self, change: WireChange<'_>, now: Timestamp) -> Result<Event, Rejection> {
        let time = |value: &Value| match scalar(value) {
            Some(text) => moment(&text).map(Some).ok_or(Rejection::BadTime),
            None if value.is_null() => Ok(None),
            None => Err(Rejection::BadTime),
        };
        let service = Some(change.service.as_ref()).filter(|service| !service.is_empty());
        let kind = kind_of_change(&change.kind);
        let title = match change.title.as_ref() {
            "" => {
                let words = [change.kind.as_ref(), &change.service, &change.version];
                let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
                words.join(" ")
            }
            title => title.to_owned(),
        };
        let starts_at = time(&change.starts_at)?.unwrap_or(now);
        let mut labels = change.labels;
        if !change.version.is_empty() {
            labels.insert("version", change.version);
        }
        let mut event = Event::new(kind, service, cut(&title, &self.limits), starts_at);
        event.ends_at = time(&change.ends_at)?;
        event.labels = checked(labels, &self.limits)?;
        Ok(event)
    }
}
