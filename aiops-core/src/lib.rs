//! The vocabulary of the aiops crates: what two stages need to talk to each other, and nothing else.
//!
//! ```text
//!          observe          analyse                                  act
//! bytes -> observe -> detect -> correlate -> rca -> act -> the world
//!             │          │          │         │      │
//!             └──────────┴── knowledge: stores, models, feedback, history
//!                     everything speaks the nouns of this crate
//! ```
//!
//! - **Who and when**: [`SeriesKey`], [`SeriesHash`], [`SeriesId`], [`Interner`], [`Shard`];
//!   [`Timestamp`] as an argument everywhere, a [`Clock`] for drivers only.
//! - **What was measured**: [`Sample`], [`SampleBatch`], [`Frame`]; [`MetricKind`] with unit and
//!   [`Harm`], [`MetricClass`].
//! - **What was noticed**: [`Anomaly`], [`Alert`], [`Event`], [`Incident`] with its table of
//!   states, [`Ranking`], each with [`Reason`]s and [`Evidence`] as data.
//! - **What people said**: [`Feedback`], [`Prefer`]; what verification found: [`Outcome`].
//! - **How things hang together**: [`Topology`] with cached closures.
//! - **What outlives the process**: [`Store`], [`Snapshot`], [`ShardWorker`].
//!
//! No algorithms, no sockets, no runtime. Time, seeds and limits are arguments, so that the same
//! input gives the same output.
//!
//! # When not to use it
//! To detect, correlate or act, depend on the crate of that stage: it re-exports nothing of this
//! one, but its signatures speak these nouns.
//!
//! # Features
//! `ndarray`, `arrow`: conversions of [`Frame`]. `testing`: conformance functions for [`Store`],
//! [`Snapshots`] and [`ShardWorker`], and synthetic incidents with known truth. `metrics`,
//! `tracing`: the stages report of themselves, see [`telemetry`].
#![cfg_attr(docsrs, feature(doc_cfg))]

mod alert;
mod anomaly;
mod error;
mod event;
mod feedback;
mod frame;
mod hash;
mod incident;
mod metric;
mod nan_as_null;
mod prefer;
mod ranking;
mod reason;
mod sample;
mod series;
mod shard_worker;
mod snapshot;
mod store;
pub mod telemetry;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
pub mod text;
mod time;
mod topology;

pub use alert::{Alert, AlertId, Fingerprint, Severity};
pub use anomaly::{AlertRule, Anomaly, Direction};
pub use error::{BoxError, Error, Result};
pub use event::{Event, EventId, EventKind};
pub use feedback::{Feedback, FeedbackId, Outcome, Said, Subject, standing};
pub use frame::Frame;
pub use hash::HASH_VERSION;
pub use incident::{Incident, IncidentChange, IncidentId, IncidentState, TimelineEntry};
pub use metric::{Harm, MetricClass, MetricKind, Unit};
pub use prefer::Prefer;
pub use ranking::{Candidate, Cause, Ranking};
pub use reason::{Evidence, Fact, Reason};
pub use sample::{Sample, SampleBatch};
pub use series::{Interner, Labels, SHARDS, SeriesHash, SeriesId, SeriesKey, Shard};
pub use shard_worker::{Processed, ShardBatch, ShardWorker};
pub use snapshot::{Snapshot, SnapshotError, SnapshotReader, SnapshotWriter, Snapshots};
pub use store::{Batch, Change, Entry, MemoryStore, Record, Store, StoreError, Version, Versioned};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use topology::{
    Closure, Components, Depends, Edge, EdgeDocument, EdgeKind, Hops, Node, NodeDocument, NodeId,
    NodeKind, Reached, Topology, TopologyDocument,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
