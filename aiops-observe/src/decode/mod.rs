//! Decoders, one file a format.
//!
//! | what comes in | decoder |
//! | --- | --- |
//! | Prometheus remote write 1.0, 2.0 | [`RemoteWriteV1`], [`RemoteWriteV2`] |
//! | a scrape: text 0.0.4, OpenMetrics | [`Exposition`] |
//! | history from Prometheus' query API | [`QueryRange`] |
//! | OpenTelemetry metrics | [`Otlp`], [`OtlpJson`] |
//! | samples in files and scripts | [`JsonLines`], [`CsvSamples`] |
//! | alerts of Alertmanager and Grafana, of Prometheus | [`AlertmanagerWebhook`], [`AlertmanagerApi`] |
//! | alerts of whatever pages through PagerDuty | [`PagerDuty`] |
//! | alerts and events of any JSON webhook | [`Mapped`] by a [`Mapping`] |
//! | changes | [`Changes`], [`CloudEvents`] |

mod alertmanager;
mod changes;
mod cloud_events;
mod csv;
mod distribution;
mod exposition;
mod gzip;
mod json;
pub(crate) mod json_form;
mod json_lines;
mod mapped;
mod otlp;
mod otlp_json;
mod otlp_value;
mod pagerduty;
mod query_range;
mod remote_write_v1;
mod remote_write_v2;
mod snappy;
mod words_of_change;

pub use alertmanager::{AlertmanagerApi, AlertmanagerWebhook};
pub use changes::Changes;
pub use cloud_events::CloudEvents;
pub use csv::{CsvColumn, CsvSamples};
pub use exposition::Exposition;
pub use json_lines::JsonLines;
pub use mapped::{Mapped, MappedInto, Mapping};
pub use otlp::Otlp;
pub use otlp_json::OtlpJson;
pub use pagerduty::PagerDuty;
pub use query_range::QueryRange;
pub use remote_write_v1::RemoteWriteV1;
pub use remote_write_v2::RemoteWriteV2;

pub(crate) use gzip::Gzip;
