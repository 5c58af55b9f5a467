//! Documents of ours in a store: JSON, because people look at them with other tools.

use aiops_core::{Entry, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// How many keys are read at once.
const PAGE: usize = 500;

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("nouns with text keys are JSON")
}

pub(crate) fn decode<T: DeserializeOwned>(
    what: &'static str,
    name: &str,
    bytes: &[u8],
) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Damaged {
        what,
        name: name.to_owned(),
        reason: error.to_string(),
    })
}

/// Every entry under `prefix`, in the order of keys.
pub(crate) fn all_under(store: &dyn Store, prefix: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map(|entry| entry.key.clone());
        let page = store
            .scan(prefix.as_bytes(), after.as_deref(), PAGE)
            .map_err(Error::store("reading documents"))?;
        let full = page.len() == PAGE;
        entries.extend(page);
        if !full {
            return Ok(entries);
        }
    }
}

/// Every record of a log, oldest first.
pub(crate) fn whole_log(store: &dyn Store, log: &str) -> Result<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    loop {
        let page = store
            .read_log(log.as_bytes(), records.len() as u64, PAGE)
            .map_err(Error::store("reading a log"))?;
        let full = page.len() == PAGE;
        records.extend(page.into_iter().map(|record| record.record));
        if !full {
            return Ok(records);
        }
    }
}
