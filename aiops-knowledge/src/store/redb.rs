//! The embedded store: one file, no server.

use super::group::GroupCommit;
use super::record::{decode, encode};
use aiops_core::{
    Batch, Change, Clock, Entry, Record, Store, StoreError, SystemClock, Timestamp, Version,
    Versioned,
};
use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};
use std::fmt;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

/// Key to checked value.
const KEYS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("keys");
/// Name of a log to its number (u64 LE) and its next position (u64 LE), checked.
const LOGS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("logs");
/// Number and position of a record, both big-endian so that they sort, to the checked record.
const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
/// `format`, `version` (the last given out), `logs` (how many there are).
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

const FORMAT: u64 = 1;

/// A [`Store`] in one file, by [redb](https://docs.rs/redb): pure Rust, no server, one process.
///
/// A commit is durable when it returns: flushed to disk in two phases, because some of what a
/// journal holds is shaped by outsiders and one-phase commits trust a checksum that they could
/// forge. Concurrent commits share a flush. The second process that opens the file is refused.
///
/// Every value carries a checksum over its place, version and content; [`open`](Self::open) reads
/// all of them and refuses a damaged file, at the cost of one pass over it (about 1 s per GB).
/// The file depends on nothing but u64 and bytes in an encoding of ours, which has a format number.
pub struct RedbStore {
    db: Database,
    group: GroupCommit,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").finish_non_exhaustive()
    }
}

impl RedbStore {
    /// Opens the file, or makes it, and checks every record in it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a record does not match its checksum, a log has a gap, or the
    /// format is newer than this build; [`StoreError::Failed`] when the file cannot be opened, for
    /// example because another process has it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with_clock(path, Arc::new(SystemClock))
    }

    /// As [`open`](Self::open), with a clock of the caller's for [`Store::now`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_clock(
        path: impl AsRef<Path>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.exists() {
            make_file(path)?;
        }
        let store = RedbStore { db: open_file(path)?, group: GroupCommit::default(), clock };
        store.make_tables()?;
        store.check()?;
        Ok(store)
    }

    /// Makes the tables of a new file; an old one is left as it is.
    fn make_tables(&self) -> Result<(), StoreError> {
        let txn = self.db.begin_write().map_err(|e| failed("open", e))?;
        {
            txn.open_table(KEYS).map_err(|e| failed("open", e))?;
            txn.open_table(LOGS).map_err(|e| failed("open", e))?;
            txn.open_table(RECORDS).map_err(|e| failed("open", e))?;
            let mut meta = txn.open_table(META).map_err(|e| failed("open", e))?;
            let format = number(&meta, "format")?;
            if format > FORMAT {
                let reason = format!("format {format}, this build reads up to {FORMAT}");
                return Err(StoreError::Damaged { reason });
            }
            meta.insert("format", FORMAT).map_err(|e| storage("open", e))?;
        }
        txn.commit().map_err(|e| failed("open", e))
    }

    /// Reads everything: each checksum, and that each log is numbered without gaps.
    fn check(&self) -> Result<(), StoreError> {
        let txn = self.db.begin_read().map_err(|e| failed("open", e))?;
        let meta = txn.open_table(META).map_err(|e| failed("open", e))?;
        let last = meta.get("version").map_err(|e| storage("open", e))?.map_or(0, |v| v.value());
        let keys = txn.open_table(KEYS).map_err(|e| failed("open", e))?;
        for item in keys.iter().map_err(|e| storage("open", e))? {
            let (key, bytes) = item.map_err(|e| storage("open", e))?;
            let found = decode(key.value(), bytes.value())?.version;
            if found > last {
                let key = String::from_utf8_lossy(key.value()).into_owned();
                let reason = format!("{key:?} has version {found}, the last given out is {last}");
                return Err(StoreError::Damaged { reason });
            }
        }
        let records = txn.open_table(RECORDS).map_err(|e| failed("open", e))?;
        let mut counted = 0;
        for item in records.iter().map_err(|e| storage("open", e))? {
            let (place, bytes) = item.map_err(|e| storage("open", e))?;
            decode(place.value(), bytes.value())?;
            counted += 1;
        }
        let logs = txn.open_table(LOGS).map_err(|e| failed("open", e))?;
        let mut announced = 0;
        for item in logs.iter().map_err(|e| storage("open", e))? {
            let (name, bytes) = item.map_err(|e| storage("open", e))?;
            let head = LogHead::decode(name.value(), bytes.value())?;
            let first_and_last = [0, head.next.saturating_sub(1)];
            for position in first_and_last.into_iter().filter(|_| head.next > 0) {
                let place = head.place(position);
                if records.get(place.as_slice()).map_err(|e| storage("open", e))?.is_none() {
                    let name = String::from_utf8_lossy(name.value()).into_owned();
                    let reason = format!("log {name:?} lacks its record {position}");
                    return Err(StoreError::Damaged { reason });
                }
            }
            announced += head.next;
        }
        if announced != counted {
            let reason = format!("the logs announce {announced} records, {counted} are there");
            return Err(StoreError::Damaged { reason });
        }
        Ok(())
    }

    /// Applies batches in one transaction. An error before the commit means that none is applied.
    fn apply(&self, batches: Vec<Batch>) -> Vec<Result<Version, StoreError>> {
        let count = batches.len();
        let all = |error: StoreError, applied| {
            let text = source_text(&error);
            let again = |_| match &error {
                StoreError::Damaged { reason } => StoreError::Damaged { reason: reason.clone() },
                _ => {
                    StoreError::Failed { operation: "commit", applied, source: text.clone().into() }
                }
            };
            (0..count).map(|i| Err(again(i))).collect()
        };
        let mut txn = match self.db.begin_write() {
            Ok(txn) => txn,
            Err(error) => return all(failed("commit", error), Some(false)),
        };
        txn.set_two_phase_commit(true);
        let outcomes = match write(&txn, batches) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Dropping the transaction would roll it back too; a failure of the roll-back
                // itself changes nothing for the caller, because nothing was committed.
                let _ = txn.abort();
                return all(error, Some(false));
            }
        };
        if outcomes.iter().all(Result::is_err) {
            let _ = txn.abort(); // nothing to write: no flush
            return outcomes;
        }
        match txn.commit() {
            Ok(()) => outcomes,
            Err(error) => all(failed("commit", error), None),
        }
    }
}

/// Makes a new file beside its place and links it there when it is whole: a process that is killed
/// while it makes one must not leave a file that nobody can open.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = Path::new(&beside);
    let io = |e| failed("open", e);
    if beside.exists() {
        std::fs::remove_file(beside).map_err(io)?; // of a process that had our number before us
    }
    drop(open_file(beside)?);
    match std::fs::hard_link(beside, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(error)),
        _ => {} // linked, or somebody else was quicker: theirs is whole too
    }
    std::fs::remove_file(beside).map_err(io)
}

fn open_file(path: &Path) -> Result<Database, StoreError> {
    Database::create(path).map_err(|error| match error {
        DatabaseError::Storage(error) => storage("open", error),
        error => failed("open", error),
    })
}

/// Checks and applies each batch in turn; a conflict concerns its own batch only.
fn write(
    txn: &WriteTransaction,
    batches: Vec<Batch>,
) -> Result<Vec<Result<Version, StoreError>>, StoreError> {
    let table = |e| failed("commit", e);
    let mut keys = txn.open_table(KEYS).map_err(table)?;
    let mut logs = txn.open_table(LOGS).map_err(table)?;
    let mut records = txn.open_table(RECORDS).map_err(table)?;
    let mut meta = txn.open_table(META).map_err(table)?;
    let mut version = number(&meta, "version")?;
    let mut log_count = number(&meta, "logs")?;
    let io = |e| storage("commit", e);
    let mut outcomes = Vec::with_capacity(batches.len());
    for batch in batches {
        if let Some(conflict) = conflict(&keys, &batch)? {
            outcomes.push(Err(conflict));
            continue;
        }
        version += 1;
        for change in batch.changes {
            match change {
                Change::Put { key, value } => {
                    let bytes = encode(&key, version, &value);
                    keys.insert(key.as_slice(), bytes.as_slice()).map_err(io)?;
                }
                Change::Delete { key } => {
                    keys.remove(key.as_slice()).map_err(io)?;
                }
                Change::Append { log, record } => {
                    let known = logs.get(log.as_slice()).map_err(io)?;
                    let known =
                        known.map(|bytes| LogHead::decode(&log, bytes.value())).transpose()?;
                    let mut head = known.unwrap_or_else(|| {
                        log_count += 1;
                        LogHead { number: log_count, next: 0 }
                    });
                    let place = head.place(head.next);
                    let bytes = encode(&place, version, &record);
                    records.insert(place.as_slice(), bytes.as_slice()).map_err(io)?;
                    head.next += 1;
                    logs.insert(log.as_slice(), head.encode(&log).as_slice()).map_err(io)?;
                }
                change => {
                    let source = format!("{change:?} is not supported by this store").into();
                    let operation = "commit";
                    return Err(StoreError::Failed { operation, applied: Some(false), source });
                }
            }
        }
        outcomes.push(Ok(version));
    }
    meta.insert("version", version).map_err(io)?;
    meta.insert("logs", log_count).map_err(io)?;
    Ok(outcomes)
}

fn conflict(
    keys: &Table<'_, &'static [u8], &'static [u8]>,
    batch: &Batch,
) -> Result<Option<StoreError>, StoreError> {
    for (key, expected) in &batch.expects {
        let bytes = keys.get(key.as_slice()).map_err(|e| storage("commit", e))?;
        let found = bytes.map(|bytes| decode(key, bytes.value())).transpose()?;
        let found = found.map_or(0, |versioned| versioned.version);
        if found != *expected {
            let (key, expected) = (key.clone(), *expected);
            return Ok(Some(StoreError::Conflict { key, expected, found }));
        }
    }
    Ok(None)
}

struct LogHead {
    number: u64,
    next: u64,
}

impl LogHead {
    fn encode(&self, name: &[u8]) -> Vec<u8> {
        encode(name, self.number, &self.next.to_le_bytes())
    }

    fn decode(name: &[u8], bytes: &[u8]) -> Result<Self, StoreError> {
        let Versioned { version: number, value } = decode(name, bytes)?;
        let next = value.try_into().map_err(|_| StoreError::Damaged {
            reason: format!("log {:?} has a head of the wrong size", String::from_utf8_lossy(name)),
        })?;
        Ok(LogHead { number, next: u64::from_le_bytes(next) })
    }

    fn place(&self, position: u64) -> [u8; 16] {
        let mut place = [0; 16];
        place[..8].copy_from_slice(&self.number.to_be_bytes());
        place[8..].copy_from_slice(&position.to_be_bytes());
        place
    }
}

impl Store for RedbStore {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        self.group.commit(batch, |batches| self.apply(batches))
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        let txn = self.db.begin_read().map_err(|e| failed("get", e))?;
        let keys = txn.open_table(KEYS).map_err(|e| failed("get", e))?;
        let bytes = keys.get(key).map_err(|e| storage("get", e))?;
        bytes.map(|bytes| decode(key, bytes.value())).transpose()
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let txn = self.db.begin_read().map_err(|e| failed("scan", e))?;
        let keys = txn.open_table(KEYS).map_err(|e| failed("scan", e))?;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut entries = Vec::new();
        let range =
            keys.range::<&[u8]>((from, Bound::Unbounded)).map_err(|e| storage("scan", e))?;
        for item in range.take(limit) {
            let (key, bytes) = item.map_err(|e| storage("scan", e))?;
            if !key.value().starts_with(prefix) {
                break;
            }
            let Versioned { version, value } = decode(key.value(), bytes.value())?;
            entries.push(Entry { key: key.value().to_vec(), version, value });
        }
        Ok(entries)
    }

    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let txn = self.db.begin_read().map_err(|e| failed("read_log", e))?;
        let logs = txn.open_table(LOGS).map_err(|e| failed("read_log", e))?;
        let Some(bytes) = logs.get(log).map_err(|e| storage("read_log", e))? else {
            return Ok(Vec::new());
        };
        let head = LogHead::decode(log, bytes.value())?;
        let records = txn.open_table(RECORDS).map_err(|e| failed("read_log", e))?;
        let (first, end) = (head.place(from.min(head.next)), head.place(head.next));
        let range = records
            .range::<&[u8]>(first.as_slice()..end.as_slice())
            .map_err(|e| storage("read_log", e))?;
        let numbered = range.take(limit).zip(from..);
        numbered
            .map(|(item, position)| {
                let (place, bytes) = item.map_err(|e| storage("read_log", e))?;
                let record = decode(place.value(), bytes.value())?.value;
                Ok(Record { position, record })
            })
            .collect()
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }
}

fn number(meta: &Table<'_, &'static str, u64>, name: &str) -> Result<u64, StoreError> {
    Ok(meta.get(name).map_err(|e| storage("commit", e))?.map_or(0, |value| value.value()))
}

fn storage(operation: &'static str, error: StorageError) -> StoreError {
    match error {
        StorageError::Corrupted(reason) => StoreError::Damaged { reason },
        error => failed(operation, error),
    }
}

fn failed(
    operation: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Failed { operation, applied: Some(false), source: error.into() }
}

fn source_text(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}
