//! Samples as JSON lines: one object a line.

use crate::identity::Identity;
use crate::{Declared, Decoder, Form, Limits, NAME, Rejection, Result, Sink, Tally, time};
use aiops_core::{Sample, Timestamp};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// Reads samples as JSON lines.
///
/// | field | meaning |
/// | --- | --- |
/// | `name` | the metric; required |
/// | `value` | a number, or `null` for a gap; required |
/// | `time` | Unix seconds as a number, or RFC 3339 as text |
/// | `time_ms`, `time_ns` | the same as whole milliseconds or nanoseconds |
/// | `labels` | an object of text; numbers and booleans are taken as they are written |
/// | `type` | `gauge`, `counter`, `delta`, `histogram` or `summary` |
/// | `unit` | `seconds`, `bytes`, or UCUM as `ms` and `By` |
///
/// Without a time the sample has the time of arrival. Other fields are ignored. A line that cannot
/// be read is rejected and the next one is read; empty lines are skipped.
///
/// ```
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, Rejection, decode::JsonLines};
/// use aiops_core::Timestamp;
/// let body = br#"
///     {"time": 10, "name": "queue_depth", "value": 3, "labels": {"service": "mail"}}
///     {"time": 11, "name": "queue_depth", "value": "three"}
/// "#;
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let mut sink = normaliser.sink(&mut inbox);
/// let tally = JsonLines::default().decode(body, Timestamp::from_secs(11), &mut sink)?;
/// assert_eq!((tally.accepted(), tally.rejected_as(Rejection::BadValue)), (1, 1));
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct JsonLines {
    limits: Limits,
    identity: Identity,
}

impl JsonLines {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        JsonLines { limits, identity: Identity::default() }
    }
}

impl Decoder for JsonLines {
    fn format(&self) -> &'static str {
        "json_lines"
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        self.limits.check_body(self.format(), body.len())?;
        sink.begin(self.format(), now);
        let mut tally = Tally::default();
        for line in body.split(|&byte| byte == b'\n') {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            match self.line(line, now) {
                Ok(row) => {
                    let form = Form::from_word(&row.form);
                    let series = self.identity.series(Declared { form, unit: &row.unit });
                    sink.points(&series, &[row.sample], &mut tally);
                }
                Err(reason) => tally.reject(reason, 1),
            }
            self.limits.check_items(self.format(), &tally)?;
        }
        Ok(tally)
    }
}

struct Row<'a> {
    sample: Sample,
    form: Cow<'a, str>,
    unit: Cow<'a, str>,
}

impl JsonLines {
    /// Reads one line; its name and labels go into the identity.
    fn line<'a>(&mut self, line: &'a [u8], now: Timestamp) -> Result<Row<'a>, Rejection> {
        self.identity.clear();
        let text = std::str::from_utf8(line).map_err(|_| Rejection::NotUtf8)?;
        let mut from = serde_json::Deserializer::from_str(text);
        let fields = Fields(&mut self.identity).deserialize(&mut from);
        let fields = fields.and_then(|fields| from.end().map(|()| fields));
        let fields = fields.map_err(|_| Rejection::Malformed)?;
        self.identity.check(&self.limits)?;
        if !fields.named {
            return Err(Rejection::MissingField);
        }
        let time = match fields.time {
            Field::Absent => now,
            Field::Read(time) => time,
            Field::Bad => return Err(Rejection::BadTime),
        };
        let value = match fields.value {
            Field::Absent => return Err(Rejection::MissingField),
            Field::Read(value) => value,
            Field::Bad => return Err(Rejection::BadValue),
        };
        Ok(Row { sample: Sample::new(time, value), form: fields.form, unit: fields.unit })
    }
}

#[derive(Default)]
struct Line<'a> {
    named: bool,
    time: Field<Timestamp>,
    value: Field<f64>,
    form: Cow<'a, str>,
    unit: Cow<'a, str>,
}

/// A field that a line need not have, and that may be wrong without the JSON being so.
#[derive(Default)]
enum Field<T> {
    #[default]
    Absent,
    Read(T),
    Bad,
}

impl<T> From<Option<T>> for Field<T> {
    fn from(read: Option<T>) -> Self {
        read.map_or(Field::Bad, Field::Read)
    }
}

/// Reads an object, its labels straight into the identity.
struct Fields<'i>(&'i mut Identity);

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = Line<'de>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Line<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with name and value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
        let mut line = Line::default();
        while let Some(Text(field)) = map.next_key()? {
            match field.as_ref() {
                "name" => {
                    let name: Scalar<'_> = map.next_value()?;
                    let name = name.into_label::<A::Error>()?;
                    line.named |= !name.is_empty();
                    self.0.push(NAME, &name);
                }
                "value" => {
                    line.value = match map.next_value()? {
                        Scalar::Null => Field::Read(f64::NAN),
                        Scalar::Int(whole) => Field::Read(whole as f64),
                        Scalar::Float(number) => Field::Read(number),
                        _ => Field::Bad,
                    };
                }
                "time" => {
                    line.time = match map.next_value()? {
                        Scalar::Int(secs) => Field::Read(Timestamp::from_secs(secs)),
                        Scalar::Float(secs) => time::float_seconds(secs).into(),
                        Scalar::Text(text) => time::rfc3339(&text).into(),
                        _ => Field::Bad,
                    };
                }
                "time_ms" => line.time = whole(map.next_value()?, Timestamp::from_millis),
                "time_ns" => line.time = whole(map.next_value()?, Timestamp::from_nanos),
                "type" => line.form = map.next_value::<Scalar<'de>>()?.into_label::<A::Error>()?,
                "unit" => line.unit = map.next_value::<Scalar<'de>>()?.into_label::<A::Error>()?,
                "labels" => map.next_value_seed(Labels(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(line)
    }
}

fn whole(number: Scalar<'_>, unit: fn(i64) -> Timestamp) -> Field<Timestamp> {
    match number {
        Scalar::Int(number) => Field::Read(unit(number)),
        _ => Field::Bad,
    }
}

/// The object of labels.
struct Labels<'i>(&'i mut Identity);

impl<'de> DeserializeSeed<'de> for Labels<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Labels<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of labels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Text(name)) = map.next_key()? {
            let value: Scalar<'_> = map.next_value()?;
            self.0.push(&name, &value.into_label::<A::Error>()?);
        }
        Ok(())
    }
}

/// Text that is borrowed where JSON allows it.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A JSON value; of arrays and objects only that they are some.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Nested,
}

impl<'a> Scalar<'a> {
    /// As text; nested values have none.
    fn into_label<E: Error>(self) -> Result<Cow<'a, str>, E> {
        Ok(match self {
            Scalar::Null => Cow::Borrowed(""),
            Scalar::Bool(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
            Scalar::Int(number) => Cow::Owned(number.to_string()),
            Scalar::Float(number) => Cow::Owned(number.to_string()),
            Scalar::Text(text) => text,
            Scalar::Nested => return Err(E::custom("expected text, found an array or object")),
        })
    }
}

/// By hand: serde's untagged enums would copy every value before they look at it.
impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Scalar::Float(number as f64), Scalar::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }
}
