//! What came in, kept before it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Alert, Batch, Event, Store, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

const HOUR: i64 = 3_600_000_000_000;
const PAGE: usize = 500;

/// One thing that came in, with the time on our clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// When it arrived here.
    pub at: Timestamp,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

/// What can come in beside samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An alert, from a sender or from our own detectors.
    Alert(Box<Alert>),
    /// A change.
    Event(Box<Event>),
    /// The service began to watch: that nothing came in from then on says something too.
    Began {},
}

/// Alerts and changes in a store, one log an hour. Correlation is a function of its input, so
/// reading them again in their order makes the same incidents with the same ids; nothing else has
/// to be kept of it.
pub struct Journal {
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// The journal in this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Journal { store }
    }

    /// Keeps inputs, all or none. Durable when this returns.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn keep(&self, inputs: &[Input]) -> Result<()> {
        if inputs.is_empty() {
            return Ok(());
        }
        let batch = inputs.iter().fold(Batch::new(), |batch, input| {
            let record = serde_json::to_vec(input).expect("nouns are JSON");
            batch.append(log_of(input.at), record)
        });
        let kept = self.store.commit(batch);
        kept.map_err(|source| Error::Store { operation: "keeping what came in", source })?;
        Ok(())
    }

    /// What came in during the time before `now`, in the order of arrival.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`].
    pub fn since(&self, now: Timestamp, back: Duration) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        let hours = (now - back).as_nanos().div_euclid(HOUR)..=now.as_nanos().div_euclid(HOUR);
        for hour in hours {
            let log = log_of(Timestamp::from_nanos(hour * HOUR));
            let mut from = 0;
            loop {
                let page = self.store.read_log(log.as_bytes(), from, PAGE);
                let page = page
                    .map_err(|source| Error::Store { operation: "reading what came in", source })?;
                from += page.len() as u64;
                for record in &page {
                    inputs.push(serde_json::from_slice(&record.record).map_err(|error| {
                        let reason = format!("record {} of {log}: {error}", record.position);
                        Error::Damaged { reason }
                    })?);
                }
                if page.len() < PAGE {
                    break;
                }
            }
        }
        Ok(inputs)
    }
}

fn log_of(at: Timestamp) -> String {
    format!("inputs/{:012}", at.as_nanos().div_euclid(HOUR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, MemoryStore};

    #[test]
    fn the_last_hours_come_back_in_their_order() {
        let journal = Journal::new(Arc::new(MemoryStore::default()));
        let input = |n: i64| {
            let at = Timestamp::from_secs(n * 1_000);
            let alert = Alert::new("A", Labels::from([("n", n.to_string().as_str())]), at);
            Input { at, what: What::Alert(Box::new(alert)) }
        };
        let inputs: Vec<_> = (0..30).map(input).collect();
        inputs.chunks(7).for_each(|some| journal.keep(some).unwrap());
        let now = Timestamp::from_secs(30_000);
        assert_eq!(journal.since(now, Duration::from_secs(30_000)).unwrap(), inputs);
        let some = journal.since(now, Duration::from_secs(7_200)).unwrap();
        assert_eq!(some, inputs[22..], "from the beginning of the hour");
    }
}
