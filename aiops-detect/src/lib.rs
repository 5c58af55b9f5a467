//! Streaming anomaly detection for operational metrics, calibrated to one knob: the tolerated share
//! of false positives.
//!
//! # The shape of it
//! A [`Detector`] watches one series and answers each sample with a [`Verdict`]; a [`DetectorBank`]
//! does the same for very many series in columns; a [`BatchDetector`] is trained on a frame and
//! judges frames. A [`Policy`] turns verdicts into anomalies that people want to hear of, and a
//! [`Watcher`] wires a bank to a policy. Warming up and gaps are states of a verdict, not errors.
//!
//! Everything is a function of its input: time comes with the samples, nothing reads a clock.
//!
//! ```
//! use aiops_core::{Sample, Timestamp};
//! use aiops_detect::{Detector, tier1::RobustConfig};
//!
//! let mut detector = RobustConfig { false_positive_rate: 1e-3, ..Default::default() }.build()?;
//! let latency = |second: i64| if second == 90 { 2.0 } else { 0.2 + 0.01 * (second % 7) as f64 };
//! let mut flagged = Vec::new();
//! for second in 0..120 {
//!     let sample = Sample::new(Timestamp::from_secs(second), latency(second));
//!     let verdict = detector.update(sample);
//!     if verdict.flagged {
//!         println!("{}", detector.explain(sample, &verdict));
//!         flagged.push(second);
//!     }
//! }
//! assert_eq!(flagged, [90]);
//! # Ok::<(), aiops_detect::Error>(())
//! ```
//!
//! # Features
//! `testing`: conformance functions that judge any implementation of the traits. `linfa`: which of
//! several siblings is unlike the others (`tier3::PeersConfig`), by DBSCAN of `linfa-clustering`. `augurs`: Prophet
//! with an optimiser in plain Rust, and MSTL with exponential smoothing (`tier2::ProphetConfig`, `tier2::MstlEtsConfig`).
#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "conditions that must hold are written down and negated, so that NaN fails too"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backtest;
mod bank;
mod batch;
mod calendar;
mod calibrate;
mod detector;
mod ensemble;
mod error;
pub mod eval;
mod forecast;
mod hold;
mod method;
mod per_series;
mod policy;
mod random;
mod ranked;
pub mod router;
mod saved;
mod shard;
mod simd;
mod tail;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tier1;
pub mod tier2;
pub mod tier3;
mod verdict;
mod watcher;
mod window;
mod yardstick;

pub use backtest::{Backtest, backtest, samples_of};
pub use bank::{DetectorBank, Flagged, Tally, same_length};
pub use batch::{BatchDetector, Fit, frame_fits};
pub use calendar::{Calendar, ClockChange, Date, LocalTime, Weekly};
pub use calibrate::{Calibrated, Calibrator, CalibratorConfig};
pub use detector::{Detector, DetectorExt, explain_band};
pub use ensemble::{Ensemble, EnsembleConfig, Vote};
pub use error::{Error, Result};
pub use forecast::{Forecaster, Residual, ResidualConfig, Residuals};
pub use method::{Columns, Method, Single};
pub use per_series::PerSeries;
pub use policy::{Change, Episode, Policy, PolicyConfig};
pub use ranked::{OneSeries, Ranked};
pub use shard::{restore_shard, snapshot_shard};
pub use tail::Tail;
pub use verdict::{State, Tier, Verdict};
pub use watcher::{KindOf, Noticed, Watcher};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
