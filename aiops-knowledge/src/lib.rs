//! What outlives a process: durable [`Store`](aiops_core::Store)s for journals, audits, incidents
//! and feedback.
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
//! # When not to use it
//! For metric samples: a journal is for decisions, of which there are few. Samples belong into a
//! time series database.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod store;

#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use store::postgres::{PostgresConfig, PostgresStore};
#[cfg(feature = "redb")]
#[cfg_attr(docsrs, doc(cfg(feature = "redb")))]
pub use store::redb::RedbStore;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
