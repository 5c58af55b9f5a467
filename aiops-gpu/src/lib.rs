//! Machine learning on every metric: an LSTM that predicts each series' next value, an isolation forest over
//! its last values, and statistics, judged together.
//!
//! # The shape of it
//! A [`BatchEngine`] holds the state of very many series and judges batches of samples with a [`Model`]. A
//! [`CpuEngine`] does so on one core, with explicit vector instructions, and a `DeviceEngine` (features
//! `cuda`, `wgpu`) on a GPU; an [`EngineChain`] is several engines as one and loses no batch when one fails; an [`EngineBank`] is an engine as a
//! [`DetectorBank`](aiops_detect::DetectorBank), for the router and the policy of `aiops-detect`.
//! [`ReferenceDetector`] is the same judgement in plain `f64`, which every engine is compared with.
//!
//! ```
//! use std::time::Duration;
//! use aiops_core::{SampleBatch, SeriesId, Timestamp};
//! use aiops_gpu::{Ask, BatchEngine, choose, pretrained, run};
//!
//! let model = pretrained::model(Default::default())?;
//! let mut engine = choose(&model)?.chain;
//! engine.register(1)?;
//! let mut flagged = Vec::new();
//! for second in 0..60_i64 {
//!     let value = if second == 50 { 25.0 } else { 10.0 + (second as f64 * 0.7).sin() };
//!     let (id, time, value) = ([SeriesId(0)], [Timestamp::from_secs(second)], [value]);
//!     let batch = SampleBatch::new(&id, &time, &value).expect("three columns of one length");
//!     let outcome = run(&mut engine, &batch, Ask::UPDATE, Duration::from_secs(1))?;
//!     flagged.extend(outcome.flags.iter().map(|flag| (second, flag.actual)));
//! }
//! assert_eq!(flagged[0], (50, 25.0));
//! # Ok::<(), aiops_gpu::Error>(())
//! ```
//!
//! # When not to use it
//! For deviations from a mean, the banks of `aiops-detect` are hundreds of times faster. Whether the
//! network adds to the default detectors on your series, measure first: `docs/benchmarks/gpu.md`.
//!
//! # Features
//! `train`: training LSTMs. `testing`: a conformance function for engines, and one that fails on demand.
//! Neither pulls anything in. `cuda` and `wgpu`: engines on devices, on cubecl; they build without a toolkit,
//! and are tested on a software device: no GPU was at hand, and no speed of one is known. No file is written by
//! any of it.
#![allow(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "conditions that must hold are written down and negated, so that NaN fails too"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bank;
mod batcher;
mod breaker;
mod chain;
mod choose;
mod cpu;
mod engine;
mod error;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[allow(unsafe_code, reason = "launches name their bounds; each block says why it is sound")]
mod gpu;
mod history;
mod model;
pub mod pretrained;
mod random;
mod record;
mod rounds;
mod rule;
#[allow(unsafe_code, reason = "explicit vector instructions; each block says why it is sound")]
mod simd;
#[cfg(any(test, feature = "testing"))]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
#[cfg(feature = "train")]
#[cfg_attr(docsrs, doc(cfg(feature = "train")))]
pub mod train;
pub mod weights;

pub use bank::{EngineBank, EngineBankConfig};
pub use batcher::{Batcher, BatcherConfig, OwnedBatch, Queued};
pub use breaker::BreakerConfig;
pub use chain::{ChainConfig, EngineChain};
pub use choose::{Choice, choose};
pub use cpu::{Autoencoder, CpuConfig, CpuEngine, Forecaster, ForestScorer};
pub use engine::{
    Ask, BatchEngine, Capabilities, Columns, EngineKind, Flag, MAX_WAITING, Outcome, Stats, Ticket,
    Votes, run,
};
pub use error::{Error, Result};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "cuda", feature = "wgpu"))))]
pub use gpu::{DeviceConfig, DeviceEngine, DeviceInfo};
pub use model::{LstmReference, LstmWeights, Model, RUN, ReferenceDetector, RunForest};
pub use rule::{Judgement, RuleConfig};
pub use simd::Simd;

/// The name of detectors of this crate, in reports and anomalies.
pub const NAME: &str = "ensemble";

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
