//! What outlives a process: durable [`Store`](aiops_core::Store)s, and what is known in them.
//!
//! - [`FeedbackBook`]: what people said, undoable, and the rates that follow from it.
//! - [`IncidentMemory`]: past incidents that resemble this one, and what ended them.
//! - [`ModelRegistry`]: immutable versions, aliases moved by compare-and-swap, a promotion gate.
//! - [`topology`]: one graph of what OpenTelemetry, Jaeger, Kubernetes and people say.
//!
//! All of them work on any store. Those of this crate:
//!
//! | store | feature | for | losing the host |
//! | --- | --- | --- | --- |
//! | [`RedbStore`] | `redb` (default) | one process, one file, nothing to install | loses the file |
//! | `PostgresStore` | `postgres` | several processes; leases by database time | loses nothing |
//!
//! Both commit in groups: batches that arrive while a commit is being made durable share the next
//! one, so that a hundred runs at once cost little more than one. Both keep a checksum beside every
//! value and pass `aiops_core::testing::check_store`.
//!
//! ```
//! # #[cfg(feature = "redb")] {
//! use aiops_core::{Batch, Store};
//! use aiops_knowledge::RedbStore;
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("aiops.redb");
//! let store = RedbStore::open(&path)?;
//! store.commit(Batch::new().put("run/1", "approved").append("audit", "run 1 approved"))?;
//! drop(store);
//!
//! let reopened = RedbStore::open(&path)?;
//! assert_eq!(reopened.get(b"run/1")?.map(|v| v.value), Some(b"approved".to_vec()));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `history`, `history` keeps metric samples: hot in memory, warm and cold as
//! Parquet files on disk and on an object store.
//!
//! # When not to use it
//! The stores are for decisions, of which there are few: samples belong into the history. Neither
//! replaces the time series database behind your dashboards.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod document;
mod error;
mod feedback;
#[cfg(feature = "history")]
#[cfg_attr(docsrs, doc(cfg(feature = "history")))]
pub mod history;
mod memory;
mod registry;
mod store;
pub mod topology;

pub use error::{Error, Result};
pub use feedback::{FeedbackBook, Rate, RateConfig};
pub use memory::{IncidentMemory, MemoryConfig, Remembered, Similar, Trait, Tried};
pub use registry::{
    Alias, BlobHash, Judgement, Lineage, Loaded, ModelRegistry, ModelVersion, Moved, PromotionGate,
};

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use store::postgres::{PostgresConfig, PostgresStore};
#[cfg(feature = "redb")]
#[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
pub use store::redb::RedbStore;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
