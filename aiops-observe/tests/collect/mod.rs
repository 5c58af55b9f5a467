//! A sink that keeps everything in the plainest form, for comparisons.
#![allow(dead_code, reason = "no test uses all of it")]

use aiops_core::{Alert, Event, Sample, Timestamp};
use aiops_observe::{Declared, Form, Rejection, Sink, Tally, WireSeries};

/// Labels sorted by name, and points as bits, so that NaNs compare.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) nanos: i64,
    pub(crate) bits: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) points: Vec<Point>,
    pub(crate) forms: Vec<Form>,
    pub(crate) declared: Vec<(String, Form, String)>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) events: Vec<Event>,
}

impl Collected {
    /// `name{label="value"} value @ seconds`, one a line, in the order they came.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.points.iter().map(Point::line).collect()
    }
}

impl Point {
    pub(crate) fn line(&self) -> String {
        let name = self.labels.iter().find(|(name, _)| name == "__name__");
        let labels = self.labels.iter().filter(|(name, _)| name != "__name__");
        let labels: Vec<_> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let name = name.map_or("", |(_, value)| value);
        let (value, secs) = (f64::from_bits(self.bits), (self.nanos / 1_000) as f64 / 1e6);
        format!("{name}{{{}}} {value} @ {secs}", labels.join(","))
    }
}

impl Sink for Collected {
    fn begin(&mut self, _: &'static str, _: Timestamp) {}

    fn points(&mut self, series: &WireSeries<'_>, points: &[Sample], tally: &mut Tally) {
        let mut labels = Vec::new();
        let read = series.labels.visit(&mut |name, value| {
            labels.push((name.to_owned(), value.to_owned()));
        });
        if let Err(reason) = read {
            return tally.reject(reason, points.len());
        }
        labels.sort();
        for point in points {
            let (nanos, bits) = (point.time.as_nanos(), point.value.to_bits());
            self.points.push(Point { labels: labels.clone(), nanos, bits });
            self.forms.push(series.declared.form);
        }
        tally.accept(points.len());
    }

    fn declare(&mut self, family: &str, declared: Declared<'_>) {
        self.declared.push((family.to_owned(), declared.form, declared.unit.to_owned()));
    }

    fn alert(&mut self, alert: Alert) -> Result<(), Rejection> {
        self.alerts.push(alert);
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Rejection> {
        self.events.push(event);
        Ok(())
    }
}
