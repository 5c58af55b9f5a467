//! One storage trait for journals, audits, outboxes, leases, registries and feedback.

mod memory;

pub use memory::MemoryStore;

use crate::{BoxError, Timestamp};

/// What a key was when somebody last looked: 0 when it does not exist, otherwise a number that
/// rises with every write of the key and is never reused, not even after a delete.
pub type Version = u64;

/// One change within a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Writes a value under a key, whether or not there was one.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes a key; nothing happens when there is none.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Appends a record to a log. Logs come into being with their first record.
    Append {
        /// The log.
        log: Vec<u8>,
        /// The record.
        record: Vec<u8>,
    },
}

/// Changes that happen together or not at all, and only if what was read still holds.
///
/// ```
/// use aiops_core::{Batch, MemoryStore, Store};
/// let store = MemoryStore::default();
/// let lease = Batch::new().expect("lease/db-1", 0).put("lease/db-1", "engine-a").append("audit", "took db-1");
/// store.commit(lease.clone())?;
/// assert!(store.commit(lease).is_err_and(|e| e.is_conflict()), "somebody has it");
/// # Ok::<(), aiops_core::StoreError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Keys with the version that each must have for the batch to apply.
    pub expects: Vec<(Vec<u8>, Version)>,
    /// What to do, in this order.
    pub changes: Vec<Change>,
}

impl Batch {
    /// A batch that does nothing yet.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Requires `key` to be at `version`; 0 requires that it does not exist.
    #[must_use]
    pub fn expect(mut self, key: impl Into<Vec<u8>>, version: Version) -> Self {
        self.expects.push((key.into(), version));
        self
    }

    /// Writes a value.
    #[must_use]
    pub fn put(mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.changes.push(Change::Put { key: key.into(), value: value.into() });
        self
    }

    /// Removes a key.
    #[must_use]
    pub fn delete(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.changes.push(Change::Delete { key: key.into() });
        self
    }

    /// Appends to a log.
    #[must_use]
    pub fn append(mut self, log: impl Into<Vec<u8>>, record: impl Into<Vec<u8>>) -> Self {
        self.changes.push(Change::Append { log: log.into(), record: record.into() });
        self
    }
}

/// A value with the version it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The version, never 0.
    pub version: Version,
    /// The value.
    pub value: Vec<u8>,
}

/// A key with its value and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The version, never 0.
    pub version: Version,
    /// The value.
    pub value: Vec<u8>,
}

/// A record of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its position: 0 for the first record, one more for each that follows, without gaps.
    pub position: u64,
    /// The record.
    pub record: Vec<u8>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A key was not at the expected version; nothing was written. Read again and decide again.
    #[error("{} is at version {found}, expected {expected}", String::from_utf8_lossy(key))]
    Conflict {
        /// The first key that differs.
        key: Vec<u8>,
        /// What the batch expected.
        expected: Version,
        /// What it is.
        found: Version,
    },
    /// The store failed; whether the batch was applied is **unknown** unless `applied` says so.
    /// Read back before trying again.
    #[error("store failed in {operation}")]
    Failed {
        /// What was asked of it.
        operation: &'static str,
        /// `Some(false)` when nothing was written for sure.
        applied: Option<bool>,
        /// Why.
        source: BoxError,
    },
    /// The data is damaged; a person must look before anything is written.
    #[error("store is damaged: {reason}")]
    Damaged {
        /// What does not hold.
        reason: String,
    },
}

impl StoreError {
    /// Whether somebody else was quicker: the one error after which one simply tries again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, StoreError::Conflict { .. })
    }
}

/// Durable keys and logs with compare-and-swap: synchronous, object-safe, shared by reference.
///
/// # For callers
/// A batch is the unit of everything: journal record, audit record, outbox rows and counters of
/// one transition go into **one** batch. Async drivers call a store from a blocking pool.
///
/// Do not read, decide and write in two steps without `expect`:
/// ```
/// # use aiops_core::{Batch, MemoryStore, Store, StoreError};
/// # let store = MemoryStore::default();
/// // Wrong: two engines read the same count and both write count + 1.
/// let count = store.get(b"runs")?.map_or(0, |v| v.value[0]);
/// store.commit(Batch::new().put("runs", [count + 1]))?;
///
/// // Right: the loser gets a conflict, reads again and decides again.
/// let seen = store.get(b"runs")?;
/// let (count, version) = seen.map_or((0, 0), |v| (v.value[0], v.version));
/// store.commit(Batch::new().expect("runs", version).put("runs", [count + 1]))?;
/// # Ok::<(), StoreError>(())
/// ```
///
/// # For implementers
/// - `commit` is atomic and durable when it returns `Ok`, serialisable with every other call, and
///   checks all `expects` against the state before the batch. Within a batch, changes apply in
///   order. An empty batch succeeds.
/// - Versions rise with every write of a key over the whole life of the store, deletes included:
///   a key that is deleted and written again never shows a version that it had before.
/// - `scan` and `read_log` return what one point in time held, in order.
/// - Keys, logs and values are bytes of any content, empty too. Keys and logs are separate spaces.
///
/// `testing::check_store` judges an implementation.
pub trait Store: Send + Sync {
    /// Applies the batch if every expectation holds; returns the version given to what it wrote.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an expectation fails; nothing is written then.
    fn commit(&self, batch: Batch) -> Result<Version, StoreError>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError::Failed`] or [`StoreError::Damaged`], as for every read.
    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError>;

    /// Keys that begin with `prefix`, in byte order; at most `limit`, those after `after` when it
    /// is given. The last key of a full page is the `after` of the next.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Records of a log from a position on, in order; at most `limit`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// The store's own clock, **for leases only**: two engines must agree on when one expires.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn now(&self) -> Result<Timestamp, StoreError>;
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        (**self).commit(batch)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        (**self).get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        (**self).scan(prefix, after, limit)
    }

    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        (**self).read_log(log, from, limit)
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        (**self).now()
    }
}
