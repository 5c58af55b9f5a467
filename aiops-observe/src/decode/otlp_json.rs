//! OpenTelemetry's protocol as JSON: the same messages, written another way.
//!
//! A body is turned into protobuf by tables of its fields, token by token, and read as such: one
//! meaning for both forms.

use super::gzip::Gzip;
use super::otlp::Otlp;
use crate::encode::proto;
use crate::{Decoder, Error, Limits, Result, Sink, Tally};
use aiops_core::Timestamp;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use std::borrow::Cow;
use std::fmt;

/// Reads OpenTelemetry metrics as JSON (`application/json`), compressed with gzip or not.
///
/// What [`Otlp`] says of points holds here too. As the specification has it: names in lower camel
/// case, 64-bit numbers as text or as numbers, `null` for what is absent, unknown fields ignored.
/// Enumerations are numbers; their names are rejected, as the specification demands.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::OtlpJson};
/// let body = br#"{"resourceMetrics": [{
///     "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "mail"}}]},
///     "scopeMetrics": [{"metrics": [{"name": "queue.depth", "gauge": {"dataPoints": [
///         {"timeUnixNano": "60000000000", "asInt": "7"}]}}]}]}]}"#;
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let now = Timestamp::from_secs(61);
/// OtlpJson::default().decode(body, now, &mut normaliser.sink(&mut inbox))?;
/// let (id, sample) = inbox.batch().iter().next().unwrap();
/// assert_eq!(normaliser.key(id).unwrap().service(), Some("mail"));
/// assert_eq!(sample.value, 7.0);
/// # Ok::<(), aiops_observe::Error>(())
/// ```
///
/// Source: the OTLP specification 1.5, "JSON Protobuf Encoding".
#[derive(Debug, Default)]
pub struct OtlpJson {
    limits: Limits,
    gzip: Gzip,
    protobuf: Vec<u8>,
    inner: Otlp,
}

const FORMAT: &str = "otlp_json";

impl OtlpJson {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        OtlpJson { limits, inner: Otlp::new(limits), ..OtlpJson::default() }
    }
}

impl Decoder for OtlpJson {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let body = self.gzip.decompress(FORMAT, body, &self.limits)?;
        self.protobuf.clear();
        let mut json = serde_json::Deserializer::from_slice(body);
        let root = Value { kind: Kind::Message(&REQUEST), field: 0, out: &mut self.protobuf };
        let read = root.deserialize(&mut json).and_then(|()| json.end());
        read.map_err(|error| super::json::malformed(FORMAT, body, &error))?;
        self.inner.decode(&self.protobuf, now, sink).map_err(|error| match error {
            // The offset would be that of the protobuf form.
            Error::Malformed { reason, before, .. } => {
                Error::Malformed { format: FORMAT, offset: 0, reason, before }
            }
            other => other,
        })
    }
}

/// How a field is written in protobuf.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// Base64.
    Bytes,
    Bool,
    Varint,
    /// `sint32`.
    Zigzag,
    Fixed64,
    Double,
    Message(&'static Schema),
}

/// Name in JSON, number in protobuf, and kind.
type Field = (&'static str, u8, Kind);

/// The fields of a message: a static, since values hold values.
struct Schema(&'static [Field]);

static REQUEST: Schema = Schema(&[("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Schema = Schema(&[
    ("resource", 1, Kind::Message(&RESOURCE)),
    ("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
]);
static RESOURCE: Schema = Schema(&[("attributes", 1, Kind::Message(&KEY_VALUE))]);
static SCOPE_METRICS: Schema =
    Schema(&[("scope", 1, Kind::Message(&SCOPE)), ("metrics", 2, Kind::Message(&METRIC))]);
static SCOPE: Schema = Schema(&[
    ("name", 1, Kind::Text),
    ("version", 2, Kind::Text),
    ("attributes", 3, Kind::Message(&KEY_VALUE)),
]);
static KEY_VALUE: Schema =
    Schema(&[("key", 1, Kind::Text), ("value", 2, Kind::Message(&ANY_VALUE))]);
static ANY_VALUE: Schema = Schema(&[
    ("stringValue", 1, Kind::Text),
    ("boolValue", 2, Kind::Bool),
    ("intValue", 3, Kind::Varint),
    ("doubleValue", 4, Kind::Double),
    ("arrayValue", 5, Kind::Message(&Schema(&[("values", 1, Kind::Message(&ANY_VALUE))]))),
    ("kvlistValue", 6, Kind::Message(&Schema(&[("values", 1, Kind::Message(&KEY_VALUE))]))),
    ("bytesValue", 7, Kind::Bytes),
]);
static METRIC: Schema = Schema(&[
    ("name", 1, Kind::Text),
    ("unit", 3, Kind::Text),
    ("gauge", 5, Kind::Message(&Schema(&[("dataPoints", 1, Kind::Message(&NUMBER))]))),
    (
        "sum",
        7,
        Kind::Message(&Schema(&[
            ("dataPoints", 1, Kind::Message(&NUMBER)),
            ("aggregationTemporality", 2, Kind::Varint),
            ("isMonotonic", 3, Kind::Bool),
        ])),
    ),
    (
        "histogram",
        9,
        Kind::Message(&Schema(&[
            ("dataPoints", 1, Kind::Message(&HISTOGRAM)),
            ("aggregationTemporality", 2, Kind::Varint),
        ])),
    ),
    (
        "exponentialHistogram",
        10,
        Kind::Message(&Schema(&[
            ("dataPoints", 1, Kind::Message(&EXPONENTIAL)),
            ("aggregationTemporality", 2, Kind::Varint),
        ])),
    ),
    ("summary", 11, Kind::Message(&Schema(&[("dataPoints", 1, Kind::Message(&SUMMARY))]))),
]);
static NUMBER: Schema = Schema(&[
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("asDouble", 4, Kind::Double),
    ("asInt", 6, Kind::Fixed64),
    ("attributes", 7, Kind::Message(&KEY_VALUE)),
    ("flags", 8, Kind::Varint),
]);
static HISTOGRAM: Schema = Schema(&[
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("count", 4, Kind::Fixed64),
    ("sum", 5, Kind::Double),
    ("bucketCounts", 6, Kind::Fixed64),
    ("explicitBounds", 7, Kind::Double),
    ("attributes", 9, Kind::Message(&KEY_VALUE)),
    ("flags", 10, Kind::Varint),
    ("min", 11, Kind::Double),
    ("max", 12, Kind::Double),
]);
static EXPONENTIAL: Schema = Schema(&[
    ("attributes", 1, Kind::Message(&KEY_VALUE)),
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("count", 4, Kind::Fixed64),
    ("sum", 5, Kind::Double),
    ("scale", 6, Kind::Zigzag),
    ("zeroCount", 7, Kind::Fixed64),
    ("positive", 8, Kind::Message(&BUCKETS)),
    ("negative", 9, Kind::Message(&BUCKETS)),
    ("flags", 10, Kind::Varint),
    ("min", 12, Kind::Double),
    ("max", 13, Kind::Double),
    ("zeroThreshold", 14, Kind::Double),
]);
static BUCKETS: Schema = Schema(&[("offset", 1, Kind::Zigzag), ("bucketCounts", 2, Kind::Varint)]);
static SUMMARY: Schema = Schema(&[
    ("startTimeUnixNano", 2, Kind::Fixed64),
    ("timeUnixNano", 3, Kind::Fixed64),
    ("count", 4, Kind::Fixed64),
    ("sum", 5, Kind::Double),
    (
        "quantileValues",
        6,
        Kind::Message(&Schema(&[("quantile", 1, Kind::Double), ("value", 2, Kind::Double)])),
    ),
    ("attributes", 7, Kind::Message(&KEY_VALUE)),
    ("flags", 8, Kind::Varint),
]);

/// One value, or an array of them, on its way into a field; field 0 is the body itself.
struct Value<'o> {
    kind: Kind,
    field: u8,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Value<'_> {
    /// A number of any kind.
    fn number<E: serde::de::Error>(self, whole: Option<u64>, number: f64) -> Result<(), E> {
        let fractional = || E::custom(format!("{number} is no whole number"));
        match self.kind {
            Kind::Double => proto::fixed64(self.out, self.field, number.to_le_bytes()),
            Kind::Fixed64 => {
                let whole = whole.ok_or_else(fractional)?;
                proto::fixed64(self.out, self.field, whole.to_le_bytes());
            }
            Kind::Varint => proto::number(self.out, self.field, whole.ok_or_else(fractional)?),
            Kind::Zigzag => {
                let number = whole.ok_or_else(fractional)? as i64;
                let zigzag = (number << 1 ^ number >> 63) as u64;
                proto::number(self.out, self.field, zigzag);
            }
            _ => return Err(E::custom("a number where there should be none")),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Text => "text",
            Kind::Bytes => "bytes in base64",
            Kind::Bool => "true or false",
            Kind::Varint | Kind::Zigzag | Kind::Fixed64 => "a whole number",
            Kind::Double => "a number",
            Kind::Message(_) => "an object",
        })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(()) // null: absent
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => {
                proto::number(self.out, self.field, u64::from(value));
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.number(Some(value), value as f64)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.number(Some(value as u64), value as f64)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        let exact = value.fract() == 0.0 && value.abs() < 9e15;
        self.number(exact.then_some(value as i64 as u64), value)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let unexpected = || serde::de::Unexpected::Str(text);
        match self.kind {
            Kind::Text => proto::bytes(self.out, self.field, text.as_bytes()),
            Kind::Bytes => {
                let bytes = base64(text).ok_or_else(|| E::invalid_value(unexpected(), &self))?;
                proto::bytes(self.out, self.field, &bytes);
            }
            Kind::Double => {
                let number = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => text.parse().map_err(|_| E::invalid_value(unexpected(), &self))?,
                };
                return self.number(None, number);
            }
            Kind::Varint | Kind::Zigzag | Kind::Fixed64 => {
                let whole = text.parse::<u64>().or_else(|_| text.parse::<i64>().map(|n| n as u64));
                let whole = whole.map_err(|_| E::invalid_value(unexpected(), &self))?;
                return self.number(Some(whole), f64::NAN);
            }
            Kind::Bool | Kind::Message(_) => return Err(E::invalid_type(unexpected(), &self)),
        }
        Ok(())
    }

    /// An array repeats its field; numbers too, which protobuf may write one by one.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if self.field == 0 {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        let (kind, field) = (self.kind, self.field);
        while items.next_element_seed(Value { kind, field, out: self.out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Kind::Message(fields) = self.kind else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        let mut inside = Vec::new();
        let message = if self.field == 0 { &mut *self.out } else { &mut inside };
        while let Some(Name(name)) = map.next_key::<Name<'_>>()? {
            match fields.0.iter().find(|(known, ..)| *known == name) {
                Some(&(_, field, kind)) => {
                    map.next_value_seed(Value { kind, field, out: &mut *message })?;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if self.field != 0 {
            proto::bytes(self.out, self.field, &inside);
        }
        Ok(())
    }
}

/// A name of a field, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The bytes of base64 in either alphabet, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcode(json: &str) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Vec::new();
        let root = Value { kind: Kind::Message(&REQUEST), field: 0, out: &mut out };
        root.deserialize(&mut serde_json::Deserializer::from_str(json))?;
        Ok(out)
    }

    #[test]
    fn numbers_are_text_or_numbers_and_null_is_absent() {
        let body = |time: &str, value: &str| {
            transcode(&format!(
                r#"{{"resourceMetrics": [{{"resource": null, "later": {{"x": [1, {{}}]}}, "scopeMetrics": [{{"metrics": [
                {{"name": "a\u0062", "sum": {{"isMonotonic": true, "aggregationTemporality": 2,
                   "dataPoints": [{{"timeUnixNano": {time}, {value}}}]}}}}]}}]}}]}}"#
            ))
        };
        let expected = body(r#""1700000000000000001""#, r#""asInt": "-7""#).unwrap();
        assert_eq!(body("1700000000000000001", r#""asInt": -7"#).unwrap(), expected);
        assert!(body("null", r#""asDouble": "NaN""#).is_ok());
        for (time, value) in [
            ("1.5", r#""asInt": 1"#),
            (r#""x""#, r#""asInt": 1"#),
            ("1", r#""asInt": true"#),
            ("1", r#""asDouble": {}"#),
        ] {
            assert!(body(time, value).is_err(), "{time} {value}");
        }
        assert!(transcode("[]").is_err() && transcode("7").is_err());
    }

    #[test]
    fn bytes_are_base64() {
        assert_eq!(base64("aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(base64("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(base64("a b"), None);
    }
}
