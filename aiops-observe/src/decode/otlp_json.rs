//! OpenTelemetry's protocol as JSON: the same messages, written another way.
//!
//! A body is turned into protobuf by tables of its fields, token by token, and read as such: one
//! meaning for both forms.

use super::gzip::Gzip;
use super::json_form::{KEY_VALUE, Kind, RESOURCE, SCOPE, Schema, transcode};
use super::otlp::Otlp;
use crate::{Decoder, Error, Limits, Result, Sink, Tally};
use aiops_core::Timestamp;

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
        transcode(FORMAT, &REQUEST, body, &mut self.protobuf)?;
        self.inner.decode(&self.protobuf, now, sink).map_err(|error| match error {
            // The offset would be that of the protobuf form.
            Error::Malformed { reason, before, .. } => {
                Error::Malformed { format: FORMAT, offset: 0, reason, before }
            }
            other => other,
        })
    }
}

static REQUEST: Schema = Schema(&[("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Schema = Schema(&[
    ("resource", 1, Kind::Message(&RESOURCE)),
    ("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
]);
static SCOPE_METRICS: Schema =
    Schema(&[("scope", 1, Kind::Message(&SCOPE)), ("metrics", 2, Kind::Message(&METRIC))]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn protobuf(json: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        transcode(FORMAT, &REQUEST, json.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn numbers_are_text_or_numbers_and_null_is_absent() {
        let body = |time: &str, value: &str| {
            protobuf(&format!(
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
        assert!(protobuf("[]").is_err() && protobuf("7").is_err());
    }
}
