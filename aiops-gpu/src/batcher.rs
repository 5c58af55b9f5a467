//! [`Batcher`]: samples as they come, as batches of a good size that wait no longer than they may.

use std::time::Duration;

use aiops_core::{Sample, SampleBatch, SeriesId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Settings of a [`Batcher`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatcherConfig {
    /// A batch is ready when it has so many rows. Default 65,536; below 512 an engine is not at its best.
    pub max_batch: usize,
    /// A batch is ready when its first row has waited so long. Default 5 ms.
    pub max_delay: Duration,
    /// Rows that may wait; more are dropped and counted. Default four full batches.
    pub queue: usize,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        BatcherConfig { max_batch: 65_536, max_delay: Duration::from_millis(5), queue: 4 * 65_536 }
    }
}

/// Whether a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Queued {
    /// It waits for its batch.
    Taken,
    /// The queue was full: it is counted and gone.
    Dropped,
}

/// A batch with its columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OwnedBatch {
    /// The series.
    pub ids: Vec<SeriesId>,
    /// When.
    pub times: Vec<Timestamp>,
    /// What; NaN for a gap.
    pub values: Vec<f64>,
}

impl OwnedBatch {
    /// A copy of a batch.
    pub fn of(batch: &SampleBatch<'_>) -> Self {
        OwnedBatch {
            ids: batch.ids().to_vec(),
            times: batch.times().to_vec(),
            values: batch.values().to_vec(),
        }
    }

    /// As an engine takes it.
    pub fn view(&self) -> SampleBatch<'_> {
        SampleBatch::new(&self.ids, &self.times, &self.values).expect("columns grow together")
    }
}

/// Gathers samples into batches by size and by deadline, with a bounded queue.
///
/// A series may come several times, late or without a value: rows keep their order, and the engine counts
/// what they are. Time is an argument; call [`take`](Self::take) when samples came and when
/// [`due`](Self::due) says.
///
/// ```
/// use std::time::Duration;
/// use aiops_core::{Sample, SeriesId, Timestamp};
/// use aiops_gpu::{BatcherConfig, Queued};
/// let config = BatcherConfig { max_batch: 3, queue: 4, max_delay: Duration::from_millis(5) };
/// let mut batcher = config.build()?;
/// let at = Timestamp::from_millis;
/// let sample = Sample::new(at(0), 1.0);
/// for id in 0..2 {
///     assert_eq!(batcher.push(SeriesId(id), sample, at(10)), Queued::Taken);
/// }
/// assert_eq!(batcher.due(), Some(at(15)));
/// assert!(batcher.take(at(14)).is_none(), "neither full nor due");
/// assert_eq!(batcher.take(at(15)).unwrap().ids.len(), 2);
/// # Ok::<(), aiops_gpu::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batcher {
    config: BatcherConfig,
    waiting: std::collections::VecDeque<(SeriesId, Sample, Timestamp)>,
    dropped: u64,
}

impl BatcherConfig {
    /// An empty batcher.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when `max_batch` is 0 or the queue shorter than a batch.
    pub fn build(self) -> Result<Batcher> {
        if self.max_batch == 0 {
            return Err(Error::config("max_batch", "must be at least 1"));
        }
        if self.queue < self.max_batch {
            let reason = format!("must hold a batch of {}, got {}", self.max_batch, self.queue);
            return Err(Error::config("queue", reason));
        }
        Ok(Batcher { config: self, waiting: Default::default(), dropped: 0 })
    }
}

impl Batcher {
    /// Takes a sample that arrives `now`.
    pub fn push(&mut self, id: SeriesId, sample: Sample, now: Timestamp) -> Queued {
        if self.waiting.len() >= self.config.queue {
            self.dropped += 1;
            return Queued::Dropped;
        }
        self.waiting.push_back((id, sample, now));
        Queued::Taken
    }

    /// When the batch that waits is ready at the latest; `None` when nothing waits.
    pub fn due(&self) -> Option<Timestamp> {
        self.waiting.front().map(|(.., arrived)| *arrived + self.config.max_delay)
    }

    /// The next batch, if it is full or due.
    pub fn take(&mut self, now: Timestamp) -> Option<OwnedBatch> {
        let full = self.waiting.len() >= self.config.max_batch;
        let due = self.due().is_some_and(|due| due <= now);
        (full || due).then(|| self.drain())
    }

    /// The next batch, ready or not: for the end of a stream. Empty when nothing waits.
    pub fn drain(&mut self) -> OwnedBatch {
        let rows = self.waiting.len().min(self.config.max_batch);
        let mut batch = OwnedBatch::default();
        for (id, sample, _) in self.waiting.drain(..rows) {
            batch.ids.push(id);
            batch.times.push(sample.time);
            batch.values.push(sample.value);
        }
        batch
    }

    /// Rows that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Rows that were dropped since the beginning.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_a_batch_or_counted() {
        let config = BatcherConfig { max_batch: 4, queue: 10, ..BatcherConfig::default() };
        let mut batcher = config.build().unwrap();
        let now = Timestamp::from_secs(1);
        let mut taken = 0;
        for i in 0..25_u32 {
            let sample = Sample::new(now, f64::from(i));
            taken += u64::from(batcher.push(SeriesId(i % 3), sample, now) == Queued::Taken);
        }
        assert_eq!((taken, batcher.dropped()), (10, 15));
        let mut values = Vec::new();
        while batcher.waiting() > 0 {
            values.extend(batcher.take(now + Duration::from_millis(5)).unwrap().values);
        }
        assert_eq!(values, (0..10).map(f64::from).collect::<Vec<_>>(), "in their order");
        assert_eq!(batcher.due(), None);
    }

    #[test]
    fn a_queue_holds_a_batch() {
        let config = BatcherConfig { max_batch: 4, queue: 3, ..BatcherConfig::default() };
        assert!(matches!(config.build(), Err(Error::InvalidConfig { field: "queue", .. })));
    }
}
