//! OpenTelemetry's protocol for metrics.

use super::{Said, proto};
use std::collections::BTreeMap;

/// Headers that the body travels with.
pub const OTLP_HEADERS: [(&str, &str); 1] = [("content-type", "application/x-protobuf")];

/// A protobuf `ExportMetricsServiceRequest`: a gauge for each kind of number, with the labels of the
/// series, `metric` and `tenant` as attributes of its points.
///
/// ```
/// use aiops_core::{Labels, SeriesKey, Timestamp};
/// use aiops_observe::encode::{Said, otlp};
/// use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::Otlp};
///
/// let series = SeriesKey::new("latency", Labels::from([("service", "api")]));
/// let time = Timestamp::from_secs(60);
/// let said = Said { series: &series, time, score: 7.5, expected: 0.2, lower: f64::NAN, upper: 0.4, flagged: true };
///
/// let mut normaliser = NormaliserConfig::default().build()?;
/// let mut inbox = Inbox::default();
/// Otlp::default().decode(&otlp(&[said]), time, &mut normaliser.sink(&mut inbox))?;
/// let (id, sample) = inbox.batch().iter().next().unwrap();
/// assert_eq!(normaliser.key(id).unwrap().labels.get("metric"), Some("latency"));
/// assert_eq!(sample.time, time);
/// # Ok::<(), aiops_observe::Error>(())
/// ```
///
/// Source: `opentelemetry/proto/metrics/v1/metrics.proto` of opentelemetry-proto 1.5.
pub fn otlp(said: &[Said<'_>]) -> Vec<u8> {
    let mut gauges: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let (mut point, mut part, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for said in said {
        let labels = said.labels();
        for (column, value) in said.columns() {
            point.clear();
            proto::fixed64(&mut point, 3, said.time.as_nanos().to_le_bytes());
            proto::fixed64(&mut point, 4, value.to_le_bytes());
            for (name, value) in &labels {
                part.clear();
                text.clear();
                proto::bytes(&mut text, 1, value.as_bytes());
                proto::bytes(&mut part, 1, name.as_bytes());
                proto::bytes(&mut part, 2, &text);
                proto::bytes(&mut point, 7, &part);
            }
            proto::bytes(gauges.entry(column).or_default(), 1, &point);
        }
    }
    let (mut scope, mut name) = (Vec::new(), Vec::new());
    proto::bytes(&mut name, 1, b"aiops");
    proto::bytes(&mut scope, 1, &name);
    for (column, points) in gauges {
        let mut metric = Vec::new();
        proto::bytes(&mut metric, 1, column.as_bytes());
        proto::bytes(&mut metric, 5, &points);
        proto::bytes(&mut scope, 2, &metric);
    }
    let (mut resource, mut body) = (Vec::new(), Vec::new());
    proto::bytes(&mut resource, 2, &scope);
    proto::bytes(&mut body, 1, &resource);
    body
}
