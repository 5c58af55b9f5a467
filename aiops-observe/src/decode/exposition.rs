//! The text that Prometheus scrapes: exposition format 0.0.4, and OpenMetrics 1.0.

use crate::{
    Declared, Decoder, Error, Form, Limits, NAME, Rejection, Result, Sink, Tally, WireLabels,
    WireSeries, time,
};
use aiops_core::{Sample, Timestamp};
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// Reads Prometheus' text exposition format 0.0.4 or OpenMetrics 1.0, including names in quotes
/// (`{"http.requests", job="a"} 1`).
///
/// The two differ in their times (milliseconds, seconds), in exemplars, which are left out, and in
/// the last line `# EOF` that OpenMetrics asks for: without it the body was cut short, which is an
/// error after what was read has been delivered. `# TYPE` and `# UNIT` reach the sink with the
/// series. A line that cannot be read is rejected and the next one is read.
///
/// The labels of a series are taken apart only when its text is new.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::Exposition};
/// let body = b"# TYPE queue_depth gauge\nqueue_depth{service=\"mail\"} 7\n";
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let now = Timestamp::from_secs(60);
/// Exposition::text().decode(body, now, &mut normaliser.sink(&mut inbox))?;
/// assert_eq!(inbox.batch().times(), [now], "a sample without a time was taken now");
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Exposition {
    limits: Limits,
    open_metrics: bool,
}

impl Exposition {
    /// Reads the text format 0.0.4: `text/plain; version=0.0.4`.
    pub fn text() -> Self {
        Exposition { limits: Limits::default(), open_metrics: false }
    }

    /// Reads OpenMetrics 1.0: `application/openmetrics-text`.
    pub fn open_metrics() -> Self {
        Exposition { limits: Limits::default(), open_metrics: true }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Exposition { limits, ..self }
    }
}

impl Decoder for Exposition {
    fn format(&self) -> &'static str {
        if self.open_metrics { "open_metrics" } else { "prometheus_text" }
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        self.limits.check_body(self.format(), body.len())?;
        sink.begin(self.format(), now);
        let mut tally = Tally::default();
        let mut family = Family::default();
        let (mut rest, mut items, mut ended) = (body, 0, false);
        while !rest.is_empty() && !ended {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            match line.first() {
                None => {}
                Some(b'#') => ended = self.open_metrics && line == b"# EOF" || family.read(line),
                Some(_) => {
                    items += 1;
                    if items > self.limits.items {
                        let (limit, before) = (self.limits.items, Box::new(tally));
                        let (format, what, got) = (self.format(), "items", items);
                        return Err(Error::TooLarge { format, what, limit, got, before });
                    }
                    self.sample(line, now, &family, sink, &mut tally);
                }
            }
        }
        if self.open_metrics && !ended {
            return Err(Error::Malformed {
                format: self.format(),
                offset: body.len(),
                reason: "the body was cut short: it does not end in # EOF".into(),
                before: Box::new(tally),
            });
        }
        Ok(tally)
    }
}

impl Exposition {
    fn sample(
        &self,
        line: &[u8],
        now: Timestamp,
        family: &Family<'_>,
        sink: &mut dyn Sink,
        tally: &mut Tally,
    ) {
        let sample = (|| {
            let end = end_of_series(line).ok_or(Rejection::Malformed)?;
            let (series, rest) = line.split_at(end);
            let rest = std::str::from_utf8(rest).map_err(|_| Rejection::NotUtf8)?;
            // What follows a `#` is an exemplar; values and times contain none.
            let rest = match memchr(b'#', rest.as_bytes()) {
                Some(exemplar) if self.open_metrics => &rest[..exemplar],
                _ => rest,
            };
            let mut words = rest.split_ascii_whitespace();
            let value = words.next().ok_or(Rejection::MissingField)?;
            let value = value.parse().map_err(|_| Rejection::BadValue)?;
            let time = match words.next() {
                None => now,
                Some(at) if self.open_metrics => time::seconds(at).ok_or(Rejection::BadTime)?,
                Some(at) => {
                    at.parse().map(Timestamp::from_millis).map_err(|_| Rejection::BadTime)?
                }
            };
            match words.next() {
                None => Ok((series, Sample::new(time, value))),
                Some(_) => Err(Rejection::Malformed),
            }
        })();
        match sample {
            Ok((series, sample)) => {
                let labels = TextLabels { series, limits: &self.limits };
                let declared = family.declared(series);
                let series = WireSeries { identity: series, labels: &labels, declared };
                sink.points(&series, &[sample], tally);
            }
            Err(reason) => tally.reject(reason, 1),
        }
    }
}

/// The family that the latest comments describe.
#[derive(Default)]
struct Family<'a> {
    name: &'a [u8],
    form: Form,
    unit: &'a str,
}

impl<'a> Family<'a> {
    /// Reads a comment: `# TYPE name counter`, `# UNIT name seconds`. Always false.
    fn read(&mut self, comment: &'a [u8]) -> bool {
        let text = std::str::from_utf8(comment).unwrap_or_default();
        let mut words = text.get(1..).unwrap_or_default().split_ascii_whitespace();
        let (Some(what), Some(name)) = (words.next(), words.next()) else { return false };
        if !matches!(what, "TYPE" | "UNIT" | "HELP") {
            return false;
        }
        let name = name.trim_matches('"').as_bytes();
        if name != self.name {
            *self = Family { name, ..Family::default() };
        }
        match (what, words.next()) {
            ("TYPE", Some(word)) => self.form = Form::from_word(word),
            ("UNIT", Some(unit)) => self.unit = unit,
            _ => {}
        }
        false
    }

    /// What is declared of a series whose text begins like this.
    #[inline]
    fn declared(&self, series: &[u8]) -> Declared<'a> {
        let text = series.strip_prefix(b"{\"").unwrap_or(series);
        let Some(suffix) = text.strip_prefix(self.name) else { return Declared::default() };
        let form = match suffix.first() {
            _ if self.name.is_empty() => return Declared::default(),
            None | Some(b'{' | b'"' | b' ' | b'\t') => self.form,
            Some(b'_') if suffix.starts_with(b"_created") => Form::Gauge,
            Some(b'_') => self.form,
            Some(_) => return Declared::default(),
        };
        Declared { form, unit: self.unit }
    }
}

/// Where name and labels end: at the brace that closes the labels, or at the end of a bare name.
#[inline]
fn end_of_series(line: &[u8]) -> Option<usize> {
    let name = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t'))?;
    // Blanks may stand between name and brace.
    let blanks = line[name..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    if line.get(name + blanks) != Some(&b'{') {
        return Some(name);
    }
    let mut at = name + blanks + 1;
    loop {
        let found = at + memchr2(b'"', b'}', &line[at..])?;
        if line[found] == b'}' {
            return Some(found + 1);
        }
        at = found + 1 + end_of_quoted(&line[found + 1..])? + 1;
    }
}

/// The place of the quote that ends a quoted text.
#[inline]
fn end_of_quoted(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', &text[at..])?;
        if text[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
        if at > text.len() {
            return None;
        }
    }
}

/// Labels as they stand in the text: `name{label="value",...}`.
struct TextLabels<'a> {
    series: &'a [u8],
    limits: &'a Limits,
}

impl WireLabels for TextLabels<'_> {
    fn visit(&self, each: &mut dyn FnMut(&str, &str)) -> Result<(), Rejection> {
        let text = std::str::from_utf8(self.series).map_err(|_| Rejection::NotUtf8)?;
        let (name, labels) = match text.split_once('{') {
            None => (text.trim(), ""),
            Some((name, labels)) => {
                (name.trim(), labels.strip_suffix('}').ok_or(Rejection::Malformed)?)
            }
        };
        let long = |text: &str| text.len() > self.limits.label_bytes;
        if long(name) {
            return Err(Rejection::LabelTooLong);
        }
        if !name.is_empty() {
            each(NAME, name);
        }
        let mut rest = labels.trim_start();
        let mut count = 0;
        while !rest.is_empty() {
            let (name, after) = label_name(rest)?;
            // A quoted text that no `=` follows is the name of the metric.
            let (name, value, after) = match after.trim_start().strip_prefix('=') {
                Some(after) => {
                    let (value, after) = quoted(after.trim_start())?;
                    (name, value, after)
                }
                None if rest.starts_with('"') => (Cow::Borrowed(NAME), name, after),
                None => return Err(Rejection::Malformed),
            };
            if long(&name) || long(&value) {
                return Err(Rejection::LabelTooLong);
            }
            count += 1;
            if count > self.limits.labels {
                return Err(Rejection::TooManyLabels);
            }
            each(&name, &value);
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if after.is_empty() => after,
                None => return Err(Rejection::Malformed),
            };
        }
        Ok(())
    }
}

/// A label name, bare or in quotes, and what follows it.
fn label_name(text: &str) -> Result<(Cow<'_, str>, &str), Rejection> {
    if text.starts_with('"') {
        return quoted(text);
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.');
    let end = text.find(|c| !word(c)).unwrap_or(text.len());
    if end == 0 {
        return Err(Rejection::Malformed);
    }
    Ok((Cow::Borrowed(&text[..end]), &text[end..]))
}

/// A quoted text without its quotes and escapes, and what follows it.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), Rejection> {
    let text = text.strip_prefix('"').ok_or(Rejection::Malformed)?;
    let end = end_of_quoted(text.as_bytes()).ok_or(Rejection::Malformed)?;
    let (inner, after) = (&text[..end], &text[end + 1..]);
    if !inner.contains('\\') {
        return Ok((Cow::Borrowed(inner), after));
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(c @ ('\\' | '"')) => plain.push(c),
                // Prometheus keeps an escape that it does not know.
                Some(c) => plain.extend(['\\', c]),
                None => plain.push('\\'),
            },
            c => plain.push(c),
        }
    }
    Ok((Cow::Owned(plain), after))
}
