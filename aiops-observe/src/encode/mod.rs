//! What goes out again: scores, bands and anomalies as series, incidents as alerts. Bodies only; who
//! sends them is the caller's choice.
//!
//! | what | body | where it goes |
//! | --- | --- | --- |
//! | [`Said`] of samples | [`remote_write`] | `/api/v1/write` of Prometheus, Mimir, VictoriaMetrics |
//! | [`Said`] of samples | [`otlp`] | `/v1/metrics` of a collector |
//! | incidents | [`alertmanager`] | `/api/v2/alerts` of Alertmanager |
//!
//! The labels of the metric are kept and its name becomes the label `metric`, so that one query
//! finds the band of any panel:
//! `aiops_upper{metric="http_request_duration_seconds", service="checkout"}`.

mod alertmanager;
mod otlp;
pub(crate) mod proto;
mod remote_write;

pub use alertmanager::{ALERTMANAGER_HEADERS, alertmanager};
pub use otlp::{OTLP_HEADERS, otlp};
pub use remote_write::{REMOTE_WRITE_HEADERS, remote_write};

use aiops_core::{SeriesKey, Timestamp};

/// What a detector said of one sample. A number that it does not have is NaN and is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said<'a> {
    /// The series that was judged.
    pub series: &'a SeriesKey,
    /// The time of the sample.
    pub time: Timestamp,
    /// How unusual it was; higher is worse. Becomes `aiops_score`.
    pub score: f64,
    /// What was expected. Becomes `aiops_expected`.
    pub expected: f64,
    /// The lower end of the band. Becomes `aiops_lower`.
    pub lower: f64,
    /// The upper end of the band. Becomes `aiops_upper`.
    pub upper: f64,
    /// Whether it was flagged. Becomes `aiops_anomaly`, 0 or 1.
    pub flagged: bool,
}

impl Said<'_> {
    /// The series that it becomes, with their values.
    fn columns(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let columns = [
            ("aiops_score", self.score),
            ("aiops_expected", self.expected),
            ("aiops_lower", self.lower),
            ("aiops_upper", self.upper),
            ("aiops_anomaly", f64::from(u8::from(self.flagged))),
        ];
        columns.into_iter().filter(|(_, value)| !value.is_nan())
    }

    /// Labels of what it becomes: those of the series, and `metric` and `tenant`. A label of the
    /// series that has such a name keeps its value under `exported_...`, as Prometheus does it.
    fn labels(&self) -> Vec<(String, &str)> {
        let taken = |name: &str| matches!(name, "metric" | "tenant");
        let own = self.series.labels.iter().map(|(name, value)| {
            (if taken(name) { format!("exported_{name}") } else { name.to_owned() }, value)
        });
        let mut labels: Vec<_> = own.filter(|(_, value)| !value.is_empty()).collect();
        labels.push(("metric".into(), self.series.name.as_str()));
        if !self.series.tenant.is_empty() {
            labels.push(("tenant".into(), self.series.tenant.as_str()));
        }
        labels
    }
}
