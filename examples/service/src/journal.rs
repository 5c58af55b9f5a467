//! What came in, kept before it is acknowledged.

use std::collections::BTreeMap;
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
/// to be kept of it. Services that share a store share the journal: what one of them kept, all read.
pub struct Journal {
    store: Arc<dyn Store>,
    /// How many records of each hour were read.
    read: BTreeMap<i64, u64>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl Journal {
    /// The journal in this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Journal { store, read: BTreeMap::new() }
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

    /// What came in during the time before `now` and was not read yet, in the order in which it was kept within
    /// its hour.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`].
    pub fn since(&mut self, now: Timestamp, back: Duration) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        for hour in hour_of(now - back)..=hour_of(now) {
            self.read_hour(hour, &mut inputs)?;
        }
        Ok(inputs)
    }

    /// What was kept since the last reading, by this service or by others on the same store. Their clocks may differ
    /// by up to an hour.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Damaged`]; what could not be read is read the next time.
    pub fn news(&mut self, now: Timestamp) -> Result<Vec<Input>> {
        let hour = Duration::from_secs(3_600);
        self.read.retain(|read, _| *read >= hour_of(now - hour));
        let mut inputs = Vec::new();
        for hour in hour_of(now - hour)..=hour_of(now + hour) {
            self.read_hour(hour, &mut inputs)?;
        }
        Ok(inputs)
    }

    fn read_hour(&mut self, hour: i64, inputs: &mut Vec<Input>) -> Result<()> {
        let log = log_of(Timestamp::from_nanos(hour * HOUR));
        let mut from = self.read.get(&hour).copied().unwrap_or(0);
        loop {
            let page = self.store.read_log(log.as_bytes(), from, PAGE);
            let page =
                page.map_err(|source| Error::Store { operation: "reading what came in", source })?;
            for record in &page {
                inputs.push(serde_json::from_slice(&record.record).map_err(|error| {
                    let reason = format!("record {} of {log}: {error}", record.position);
                    Error::Damaged { reason }
                })?);
            }
            from += page.len() as u64;
            self.read.insert(hour, from);
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_nanos().div_euclid(HOUR)
}

fn log_of(at: Timestamp) -> String {
    format!("inputs/{:012}", hour_of(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aiops_core::{Labels, MemoryStore};

    fn input(n: i64) -> Input {
        let at = Timestamp::from_secs(n * 1_000);
        let alert = Alert::new("A", Labels::from([("n", n.to_string().as_str())]), at);
        Input { at, what: What::Alert(Box::new(alert)) }
    }

    #[test]
    fn the_last_hours_come_back_in_their_order() {
        let store = Arc::new(MemoryStore::default());
        let journal = Journal::new(store.clone());
        let inputs: Vec<_> = (0..30).map(input).collect();
        inputs.chunks(7).for_each(|some| journal.keep(some).unwrap());
        let now = Timestamp::from_secs(30_000);
        let read =
            |back| Journal::new(store.clone()).since(now, Duration::from_secs(back)).unwrap();
        assert_eq!(read(30_000), inputs);
        assert_eq!(read(7_200), inputs[22..], "from the beginning of the hour");
    }

    #[test]
    fn what_another_service_kept_is_news_once() {
        let store = Arc::new(MemoryStore::default());
        let (mut ours, theirs) = (Journal::new(store.clone()), Journal::new(store));
        let now = Timestamp::from_secs(8_000);
        ours.keep(&[input(7)]).unwrap();
        assert_eq!(ours.since(now, Duration::from_secs(3_600)).unwrap(), [input(7)]);
        assert_eq!(ours.news(now).unwrap(), []);
        theirs.keep(&[input(8), input(6)]).unwrap();
        ours.keep(&[input(9)]).unwrap();
        let news = ours.news(now).unwrap();
        assert_eq!(news, [input(6), input(8), input(9)], "hour by hour, as it was kept");
        assert_eq!(ours.news(now + Duration::from_secs(3_600)).unwrap(), []);
    }
}
