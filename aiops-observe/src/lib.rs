//! Decoders from monitoring wire formats to the aiops vocabulary, and the normaliser behind them.
//!
//! ```text
//! bytes ──▶ Decoder ──▶ Sink ═ Normaliser ──▶ Inbox ──▶ detect, correlate
//!           one a format       one schema     columns of samples, alerts, events
//! ```
//!
//! - A [`Decoder`] reads bodies of one wire format within [`Limits`] and counts in a [`Tally`] what
//!   it accepted and, by typed [`Rejection`]s, what not. They live in [`decode`].
//! - The [`Normaliser`] resolves tenant and service, adds what [`MappingTable`]s know, infers what a
//!   metric measures ([`SeriesInfo`]), turns counters into rates and interns series to dense ids.
//! - The [`Inbox`] holds the result in columns that a bank of detectors takes as they are.
//!
//! - An [`Intake`] knows which request of which sender is for which decoder, and what to answer; the
//!   feature `http` puts a server around it.
//!
//! - Logs and traces enter as series, too: a [`digest`] sums them up.
//!
//! - [`encode`] makes the bodies that go out again: scores and bands as series, incidents as alerts.
//!
//! - [`scale_out`] spreads series over the partitions of a log and workers that come and go; the feature
//!   `kafka` carries it over Kafka's protocol.
//!
//! No socket, no runtime and no clock by default: a body and the time of its arrival are arguments.
//!
//! ```
//! use aiops_core::{MetricKind, Timestamp};
//! use aiops_observe::{Decoder, Inbox, NormaliserConfig, decode::CsvSamples};
//!
//! let mut normaliser = NormaliserConfig::default().build()?;
//! let mut inbox = Inbox::default();
//! let body = b"time,name,value,job\n60,http_request_duration_seconds_p99,0.25,shop/api\n";
//! let now = Timestamp::from_secs(61);
//! CsvSamples::default().decode(body, now, &mut normaliser.sink(&mut inbox))?;
//!
//! for (id, sample) in inbox.batch().iter() {
//!     let (key, info) = (normaliser.key(id).unwrap(), normaliser.info(id).unwrap());
//!     assert_eq!((key.service(), info.kind, sample.value), (Some("api"), MetricKind::Latency, 0.25));
//! }
//! # Ok::<(), aiops_observe::Error>(())
//! ```
#![cfg_attr(docsrs, feature(doc_cfg))]

mod alert_identity;
pub mod decode;
pub mod digest;
pub mod encode;
mod error;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod identity;
mod inbox;
mod intake;
#[cfg(feature = "kafka")]
#[cfg_attr(docsrs, doc(cfg(feature = "kafka")))]
pub mod kafka;
mod limits;
mod normalise;
mod otlp_answer;
mod proto;
pub mod scale_out;
mod tally;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
mod time;
mod wire;

pub use error::{Error, Result};
pub use inbox::Inbox;
pub use intake::{Intake, IntakeAnswer, IntakeRequest};
pub use limits::Limits;
pub use normalise::{
    KindRule, MappingTable, Normaliser, NormaliserConfig, NormaliserCounts, NormalisingSink,
    Pattern, Sender, SeriesInfo, ServiceRule, Take,
};
pub use tally::{Rejection, Tally};
pub use wire::{Declared, Decoder, Form, NAME, Sink, WireLabels, WireSeries};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
