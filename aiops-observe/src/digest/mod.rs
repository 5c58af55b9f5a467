//! Logs and traces as what the analysis needs of them: series, and who calls whom.
//!
//! | what comes in | what comes out | digest |
//! | --- | --- | --- |
//! | OpenTelemetry logs | lines per template, service and severity, as counters | [`LogDigest`] |
//! | OpenTelemetry traces | calls, failures and latency per service and per edge of the service graph | [`TraceDigest`] |
//!
//! A digest is not a [`Decoder`](crate::Decoder): it sums over bodies. Feed it bodies with `read`, and
//! call `emit` at a fixed interval (10 s is usual) to hand the series to a [`Sink`], usually that of a
//! [`Normaliser`](crate::Normaliser). Memory is bounded by the limits of each, whatever senders send;
//! what exceeds them is counted, and what fell silent makes room.
//!
//! A series that appears between two `emit`s begins with a zero at the first of them, so that the rate
//! of what is new (an error that nobody has seen before) is not lost.

mod drain;
mod graph;
mod latency;
mod logs;
mod request;
mod span;
mod traces;

pub use drain::{DrainConfig, Template, TemplateId};
pub use logs::{LogDigest, LogDigestConfig};
pub use traces::{ServiceEdge, TraceDigest, TraceDigestConfig};

use crate::identity::Identity;
use crate::{Declared, Form, NAME, Rejection, Sink, Tally};
use aiops_core::{Sample, Timestamp};

/// Hands series to a sink, one moment after the other.
struct Output<'a> {
    now: Timestamp,
    /// When the digest was last asked, if it was.
    before: Option<Timestamp>,
    identity: &'a mut Identity,
    sink: &'a mut dyn Sink,
    tally: Tally,
}

impl Output<'_> {
    fn labels(&mut self, name: &str, labels: &[(&str, &str)]) {
        self.identity.clear();
        self.identity.push(NAME, name);
        labels.iter().for_each(|(name, value)| self.identity.push(name, value));
    }

    /// A counter; one that is `new` was zero before.
    fn counter(&mut self, name: &str, unit: &str, labels: &[(&str, &str)], count: u64, new: bool) {
        self.labels(name, labels);
        let now = Sample::new(self.now, count as f64);
        let before = self.before.filter(|before| new && *before < self.now);
        let points = match before {
            Some(before) => &[Sample::new(before, 0.0), now][..],
            None => &[now],
        };
        let series = self.identity.series(Declared { form: Form::Counter, unit });
        self.sink.points(&series, points, &mut self.tally);
    }

    fn gauge(&mut self, name: &str, unit: &str, labels: &[(&str, &str)], value: f64) {
        self.labels(name, labels);
        let series = self.identity.series(Declared { form: Form::Gauge, unit });
        self.sink.points(&series, &[Sample::new(self.now, value)], &mut self.tally);
    }
}

/// A name within a limit of bytes.
fn name(bytes: &[u8], limit: usize) -> Result<&str, Rejection> {
    match std::str::from_utf8(bytes) {
        Err(_) => Err(Rejection::NotUtf8),
        Ok(name) if name.len() > limit => Err(Rejection::LabelTooLong),
        Ok(name) => Ok(name),
    }
}
