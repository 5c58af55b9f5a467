//! What came in, kept before it is acknowledged.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use aiops_core::{Alert, Batch, Event, Store, Timestamp, telemetry};
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
    /// its hour. A record that cannot be read is left out, said on standard error and counted: one that another
    /// version wrote must not hide those behind it.
    ///
    /// # Errors
    /// [`Error::Store`]; everything is read the next time.
    pub fn since(&mut self, now: Timestamp, back: Duration) -> Result<Vec<Input>> {
        self.read(hour_of(now - back)..=hour_of(now))
    }

    /// What was kept since the last reading, by this service or by others on the same store. Their clocks may differ
    /// by up to an hour.
    ///
    /// # Errors
    /// As [`since`](Self::since).
    pub fn news(&mut self, now: Timestamp) -> Result<Vec<Input>> {
        let hour = Duration::from_secs(3_600);
        self.read.retain(|read, _| *read >= hour_of(now - hour));
        self.read(hour_of(now - hour)..=hour_of(now + hour))
    }

    /// All hours or none: what was read and not handed out would never come again.
    fn read(&mut self, hours: RangeInclusive<i64>) -> Result<Vec<Input>> {
        let (mut read, mut inputs) = (self.read.clone(), Vec::new());
        for hour in hours {
            self.read_hour(hour, read.entry(hour).or_default(), &mut inputs)?;
        }
        self.read = read;
        Ok(inputs)
    }

    fn read_hour(&self, hour: i64, from: &mut u64, inputs: &mut Vec<Input>) -> Result<()> {
        let log = log_of(Timestamp::from_nanos(hour * HOUR));
        loop {
            let page = self.store.read_log(log.as_bytes(), *from, PAGE);
            let page =
                page.map_err(|source| Error::Store { operation: "reading what came in", source })?;
            for record in &page {
                match serde_json::from_slice(&record.record) {
                    Ok(input) => inputs.push(input),
                    Err(error) => {
                        telemetry::count("aiops_service_unreadable_total", "log", "inputs", 1);
                        eprintln!("left out: record {} of {log}: {error}", record.position);
                    }
                }
            }
            *from += page.len() as u64;
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
    use aiops_core::{Entry, Labels, MemoryStore, Record, StoreError, Version, Versioned};
    use std::sync::atomic::{AtomicBool, Ordering};

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

    /// A store whose logs of later hours cannot be read for a while.
    struct Sick(MemoryStore, AtomicBool);

    impl Store for Sick {
        fn get(&self, key: &[u8]) -> Result<Option<Versioned>, StoreError> {
            self.0.get(key)
        }
        fn scan(
            &self,
            prefix: &[u8],
            after: Option<&[u8]>,
            limit: usize,
        ) -> Result<Vec<Entry>, StoreError> {
            self.0.scan(prefix, after, limit)
        }
        fn read_log(&self, log: &[u8], from: u64, most: usize) -> Result<Vec<Record>, StoreError> {
            if self.1.load(Ordering::SeqCst)
                && log == log_of(Timestamp::from_secs(8_000)).as_bytes()
            {
                let reason = "bad sector".to_owned();
                return Err(StoreError::Damaged { reason });
            }
            self.0.read_log(log, from, most)
        }
        fn commit(&self, batch: Batch) -> Result<Version, StoreError> {
            self.0.commit(batch)
        }
        fn now(&self) -> Result<Timestamp, StoreError> {
            self.0.now()
        }
    }

    #[test]
    fn what_could_not_be_read_comes_later_and_what_nobody_can_read_hides_nothing() {
        let store = Arc::new(Sick(MemoryStore::default(), AtomicBool::new(true)));
        let mut journal = Journal::new(store.clone());
        journal.keep(&[input(6), input(8)]).unwrap();
        let now = Timestamp::from_secs(8_000);
        assert!(matches!(journal.news(now), Err(Error::Store { .. })));
        let foreign = Batch::new().append(log_of(now), *b"{\"at\":0,\"of\":\"a later version\"}");
        store.commit(foreign).unwrap();
        journal.keep(&[input(9)]).unwrap();
        store.1.store(false, Ordering::SeqCst);
        assert_eq!(journal.news(now).unwrap(), [input(6), input(8), input(9)]);
        assert_eq!(journal.news(now).unwrap(), []);
    }
}
