//! The answer of Prometheus' query API: history for backtests and warm starts.

use super::json;
use crate::identity::Identity;
use crate::{Declared, Decoder, Error, Limits, NAME, Rejection, Result, Sink, Tally, time};
use aiops_core::{Labels, Sample, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Reads the answers of `/api/v1/query_range` and `/api/v1/query`: matrices and vectors.
///
/// An expression that drops the metric name gives series without one; name them with
/// [`named`](Self::named), else they are rejected. Native histograms are counted as
/// [`Rejection::Unsupported`]. An answer that reports an error is an error, in its words.
///
/// ```
/// use aiops_core::Timestamp;
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::QueryRange};
/// let answer = br#"{"status": "success", "data": {"resultType": "matrix", "result": [
///     {"metric": {"job": "api"}, "values": [[60, "0.5"], [75.5, "NaN"]]}]}}"#;
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// let mut sink = normaliser.sink(&mut inbox);
/// QueryRange::default().named("error_ratio").decode(answer, Timestamp::from_secs(90), &mut sink)?;
/// drop(sink);
/// assert_eq!(inbox.batch().len(), 2);
/// assert!(inbox.batch().values()[1].is_nan());
/// # Ok::<(), aiops_observe::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct QueryRange {
    limits: Limits,
    name: String,
    identity: Identity,
    points: Vec<Sample>,
}

impl QueryRange {
    /// A decoder with these limits.
    pub fn new(limits: Limits) -> Self {
        QueryRange { limits, ..QueryRange::default() }
    }

    /// The name of series that have none.
    pub fn named(self, name: impl Into<String>) -> Self {
        QueryRange { name: name.into(), ..self }
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    result: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Series<'a> {
    #[serde(default)]
    metric: Labels,
    #[serde(borrow, default)]
    value: Option<Point<'a>>,
    #[serde(borrow, default)]
    values: Vec<Point<'a>>,
    #[serde(borrow, default)]
    histogram: Option<&'a RawValue>,
    #[serde(borrow, default)]
    histograms: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Point<'a>(f64, #[serde(borrow)] Cow<'a, str>);

const FORMAT: &str = "query_range";

impl Decoder for QueryRange {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&mut self, body: &[u8], now: Timestamp, sink: &mut dyn Sink) -> Result<Tally> {
        let answer: Answer<'_> = json::document(FORMAT, body, &self.limits)?;
        let data = answer.data.filter(|_| answer.error.is_empty()).ok_or_else(|| {
            let reason = format!("the answer is an error: {}", answer.error);
            Error::Malformed { format: FORMAT, offset: 0, reason, before: Box::default() }
        })?;
        sink.begin(FORMAT, now);
        let mut tally = Tally::default();
        for series in data.result {
            match serde_json::from_str(series.get()) {
                Ok(series) => self.series(series, sink, &mut tally),
                Err(_) => tally.reject(Rejection::Malformed, 1),
            }
            self.limits.check_items(FORMAT, &tally)?;
        }
        Ok(tally)
    }
}

impl QueryRange {
    fn series(&mut self, series: Series<'_>, sink: &mut dyn Sink, tally: &mut Tally) {
        self.identity.clear();
        if series.metric.get(NAME).is_none() {
            self.identity.push(NAME, &self.name);
        }
        series.metric.iter().for_each(|(name, value)| self.identity.push(name, value));
        self.points.clear();
        for Point(secs, value) in series.values.iter().chain(&series.value) {
            match (time::float_seconds(*secs), value.parse()) {
                (Some(time), Ok(value)) => self.points.push(Sample::new(time, value)),
                (None, _) => tally.reject(Rejection::BadTime, 1),
                (_, Err(_)) => tally.reject(Rejection::BadValue, 1),
            }
        }
        let histograms = series.histograms.len() + usize::from(series.histogram.is_some());
        tally.reject(Rejection::Unsupported, histograms);
        match self.identity.check(&self.limits) {
            _ if self.points.is_empty() => {}
            Ok(()) => sink.points(&self.identity.series(Declared::default()), &self.points, tally),
            Err(reason) => tally.reject(reason, self.points.len()),
        }
    }
}
