//! OpenTelemetry logs as lines per template.

use super::drain::{Drain, DrainConfig, Template, TemplateId};
use super::request::{Bodies, Format, text};
use super::{Output, name};
use crate::decode::json_form::{ANY_VALUE, KEY_VALUE, Kind as JsonKind, RESOURCE, SCOPE, Schema};
use crate::identity::Identity;
use crate::proto::{Broken, Kind, Reader, Tag};
use crate::{Error, Limits, Rejection, Result, Sink, Tally};
use aiops_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of a [`LogDigest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogDigestConfig {
    /// How templates are found.
    pub drain: DrainConfig,
    /// What a body may cost.
    pub limits: Limits,
    /// Services times templates times severities kept at most. Lines beyond are rejected as
    /// [`Rejection::SeriesLimit`]. Default 20,000, about 2 MB without the names of services.
    pub max_series: usize,
    /// Templates and series without a line for so long are forgotten and make room. Default 24 h: what
    /// happens once a day is still known the next day.
    pub forget_after: Duration,
}

impl Default for LogDigestConfig {
    fn default() -> Self {
        LogDigestConfig {
            drain: DrainConfig::default(),
            limits: Limits::default(),
            max_series: 20_000,
            forget_after: Duration::from_secs(24 * 3_600),
        }
    }
}

impl LogDigestConfig {
    /// A digest that has seen nothing.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when the similarity is not within 0 and 1, or a limit is zero.
    pub fn build(self) -> Result<LogDigest> {
        if self.max_series == 0 {
            return Err(Error::config("max_series", "must be above zero"));
        }
        if self.forget_after.is_zero() {
            return Err(Error::config("forget_after", "must be longer than zero"));
        }
        Ok(LogDigest {
            drain: self.drain.clone().build()?,
            config: self,
            bodies: Bodies::default(),
            services: BTreeMap::new(),
            series: 0,
            emitted: None,
            identity: Identity::default(),
        })
    }
}

/// Counts log lines by template, service and severity.
///
/// `log_template_lines_total{service, template, severity}` is a counter; the normaliser makes a rate
/// of it. The template is its id, since its text may change; [`templates`](Self::templates) says what
/// each id reads. Severity is one of `trace`, `debug`, `info`, `warn`, `error`, `fatal`, `unset`.
///
/// The line of a record is its body if that is text, else the name of its event; records with neither
/// are rejected as [`Rejection::Unsupported`]. Fails to tell apart what differs only in words that hold
/// digits, and takes words without digits that vary (names of people) as constant until they did vary.
/// Times of records are not looked at: a line counts when it arrives.
///
/// Cost: a hash of the leading words and a comparison with up to `max_in_leaf` templates a line.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_observe::digest::LogDigestConfig;
/// use aiops_observe::{Inbox, NormaliserConfig};
///
/// let line = |text: &str| format!(r#"{{"severityNumber": 17, "body": {{"stringValue": "{text}"}}}}"#);
/// let body = |lines: [&str; 2]| format!(
///     r#"{{"resourceLogs": [{{
///         "resource": {{"attributes": [{{"key": "service.name", "value": {{"stringValue": "db"}}}}]}},
///         "scopeLogs": [{{"logRecords": [{}]}}]}}]}}"#, lines.map(line).join(", "));
///
/// let mut logs = LogDigestConfig::default().build()?;
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let at = Timestamp::from_secs;
/// logs.emit(at(60), &mut normaliser.sink(&mut inbox));
/// let tally = logs.read_json(body(["lost 3 peers", "lost 4 peers"]).as_bytes(), at(65))?;
/// assert_eq!(tally.accepted(), 2);
/// assert_eq!(logs.templates()[0].text, "lost * peers");
///
/// logs.emit(at(70), &mut normaliser.sink(&mut inbox));
/// assert_eq!(inbox.batch().values(), [0.2], "two lines in ten seconds, none before");
/// # Ok::<(), aiops_observe::Error>(())
/// ```
///
/// Source: `opentelemetry/proto/logs/v1/logs.proto` of opentelemetry-proto 1.5; P. He et al. 2017 for
/// the templates.
#[derive(Debug)]
pub struct LogDigest {
    config: LogDigestConfig,
    bodies: Bodies,
    drain: Drain,
    services: BTreeMap<String, BTreeMap<Key, Lines>>,
    series: usize,
    emitted: Option<Timestamp>,
    identity: Identity,
}

type Key = (TemplateId, &'static str);

#[derive(Debug)]
struct Lines {
    count: u64,
    seen: Timestamp,
    /// Whether the series has been handed over.
    told: bool,
}

const FORMAT: &str = "otlp_logs";
const SEVERITY: Tag = Tag::new(2, Kind::Varint);
const BODY: Tag = Tag::new(5, Kind::Bytes);
const EVENT: Tag = Tag::new(12, Kind::Bytes);

static REQUEST: Schema = Schema(&[("resourceLogs", 1, JsonKind::Message(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Schema = Schema(&[
    ("resource", 1, JsonKind::Message(&RESOURCE)),
    ("scopeLogs", 2, JsonKind::Message(&SCOPE_LOGS)),
]);
static SCOPE_LOGS: Schema = Schema(&[
    ("scope", 1, JsonKind::Message(&SCOPE)),
    ("logRecords", 2, JsonKind::Message(&RECORD)),
]);
static RECORD: Schema = Schema(&[
    ("severityNumber", 2, JsonKind::Varint),
    ("body", 5, JsonKind::Message(&ANY_VALUE)),
    ("attributes", 6, JsonKind::Message(&KEY_VALUE)),
    ("eventName", 12, JsonKind::Text),
]);

impl LogDigest {
    /// Reads an `ExportLogsServiceRequest` that arrived at `now`: protobuf, compressed with gzip or not.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::TooLarge`]; what was counted before stays counted.
    pub fn read(&mut self, body: &[u8], now: Timestamp) -> Result<Tally> {
        self.take(Format { name: FORMAT, json: None }, body, now)
    }

    /// Reads the same as JSON, compressed with gzip or not.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_json(&mut self, body: &[u8], now: Timestamp) -> Result<Tally> {
        self.take(Format { name: "otlp_logs_json", json: Some(&REQUEST) }, body, now)
    }

    fn take(&mut self, format: Format, body: &[u8], now: Timestamp) -> Result<Tally> {
        let limits = self.config.limits;
        let mut bodies = std::mem::take(&mut self.bodies);
        let read = bodies.each_item(format, body, &limits, |service, message, tally| {
            let (line, severity) = record(message)?;
            tally.count(self.line(service, line, severity, now), 1);
            Ok(())
        });
        self.bodies = bodies;
        read
    }

    fn line(
        &mut self,
        service: &[u8],
        line: &[u8],
        severity: &'static str,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let service = name(service, self.config.limits.label_bytes)?;
        let line = std::str::from_utf8(line).map_err(|_| Rejection::NotUtf8)?;
        if line.trim_ascii().is_empty() {
            return Err(Rejection::Unsupported);
        }
        let key = (self.drain.learn(line, now), severity);
        let known = self.services.get_mut(service);
        if let Some(lines) = known.and_then(|known| known.get_mut(&key)) {
            (lines.count, lines.seen) = (lines.count + 1, now);
            return Ok(());
        }
        if self.series >= self.config.max_series {
            return Err(Rejection::SeriesLimit);
        }
        self.series += 1;
        let lines = Lines { count: 1, seen: now, told: false };
        self.services.entry(service.to_owned()).or_default().insert(key, lines);
        Ok(())
    }

    /// Forgets what fell silent, and hands the counters over with the time `now`.
    pub fn emit(&mut self, now: Timestamp, sink: &mut dyn Sink) -> Tally {
        let before = now - self.config.forget_after;
        self.drain.forget(before);
        self.services.retain(|_, templates| {
            templates.retain(|_, lines| lines.seen >= before);
            !templates.is_empty()
        });
        self.series = self.services.values().map(BTreeMap::len).sum();
        sink.begin(FORMAT, now);
        let (identity, tally) = (&mut self.identity, Tally::default());
        let mut out = Output { now, before: self.emitted, identity, sink, tally };
        for (service, templates) in &mut self.services {
            for ((template, severity), lines) in templates {
                let template = template.to_string();
                let labels = [
                    ("service", service.as_str()),
                    ("severity", *severity),
                    ("template", &template),
                ];
                let new = !std::mem::replace(&mut lines.told, true);
                out.counter("log_template_lines_total", "{line}", &labels, lines.count, new);
            }
        }
        self.emitted = Some(now);
        out.tally
    }

    /// Every template, in the order of discovery.
    pub fn templates(&self) -> Vec<Template> {
        self.drain.templates()
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.series
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.series == 0
    }
}

/// Line and severity of a `LogRecord {severity_number = 2; body = 5; event_name = 12}`.
fn record(message: &[u8]) -> Result<(&[u8], &'static str), Broken> {
    const NAMES: [&str; 6] = ["trace", "debug", "info", "warn", "error", "fatal"];
    let (mut line, mut event, mut severity): (&[u8], &[u8], u64) = (&[], &[], 0);
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag()? {
        match tag {
            SEVERITY => severity = reader.varint()?,
            BODY => line = text(reader.bytes()?)?,
            EVENT => event = reader.bytes()?,
            _ => reader.skip(tag)?,
        }
    }
    let rank = severity.checked_sub(1).and_then(|number| usize::try_from(number / 4).ok());
    let name = rank.and_then(|rank| NAMES.get(rank)).copied().unwrap_or("unset");
    Ok((if line.is_empty() { event } else { line }, name))
}
