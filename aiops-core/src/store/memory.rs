//! The store that forgets: the reference for semantics, and enough for tests and single processes.

use super::{Batch, Change, Entry, Record, Store, StoreError, Version, Versioned};
use crate::{Clock, SystemClock, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A [`Store`] in memory. State is lost with the process.
pub struct MemoryStore {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    version: Version,
    keys: BTreeMap<Vec<u8>, Versioned>,
    logs: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
}

impl Default for MemoryStore {
    /// An empty store on the machine's clock.
    fn default() -> Self {
        MemoryStore::with_clock(Arc::new(SystemClock))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore")
            .field("keys", &state.keys.len())
            .field("logs", &state.logs.len())
            .finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store whose [`Store::now`] is this clock's.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        MemoryStore { state: Mutex::default(), clock }
    }

    /// A commit replaces nothing until all of it is checked, so a poisoned lock guards whole state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
        let mut state = self.state();
        for (key, expected) in batch.expects {
            let found = state.keys.get(&key).map_or(0, |versioned| versioned.version);
            if found != expected {
                return Err(StoreError::Conflict { key, expected, found });
            }
        }
        state.version += 1;
        let version = state.version;
        for change in batch.changes {
            match change {
                Change::Put { key, value } => {
                    state.keys.insert(key, Versioned { version, value });
                }
                Change::Delete { key } => {
                    state.keys.remove(&key);
                }
                Change::Append { log, record } => state.logs.entry(log).or_default().push(record),
            }
        }
        Ok(version)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
        Ok(self.state().keys.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.state();
        let entries = state.keys.range::<[u8], _>((from, Bound::Unbounded));
        let within = entries.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        let entry = |(key, found): (&Vec<u8>, &Versioned)| Entry {
            key: key.clone(),
            version: found.version,
            value: found.value.clone(),
        };
        Ok(within.map(entry).collect())
    }

    fn read_log(&self, log: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let state = self.state();
        let Some(records) = state.logs.get(log) else { return Ok(Vec::new()) };
        let numbered = (0_u64..).zip(records).skip(usize::try_from(from).unwrap_or(usize::MAX));
        let record =
            |(position, record): (u64, &Vec<u8>)| Record { position, record: record.clone() };
        Ok(numbered.take(limit).map(record).collect())
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::testing::check_store(MemoryStore::default);
    }
}
