//! What a runner drives, with no word of the transport.

use crate::{Error, Result, SeriesHash, Shard, SnapshotError, Timestamp};

/// A batch of one shard: borrowed columns of equal length. What a message on the wire holds.
#[derive(Debug, Clone, Copy)]
pub struct ShardBatch<'a> {
    series: &'a [SeriesHash],
    times: &'a [Timestamp],
    values: &'a [f64],
}

impl<'a> ShardBatch<'a> {
    /// A view of three columns.
    ///
    /// # Errors
    /// [`Error::ShapeMismatch`] when they differ in length.
    pub fn new(
        series: &'a [SeriesHash],
        times: &'a [Timestamp],
        values: &'a [f64],
    ) -> Result<Self> {
        for (what, got) in [("times of a batch", times.len()), ("values of a batch", values.len())]
        {
            if got != series.len() {
                return Err(Error::ShapeMismatch { what, expected: series.len(), got });
            }
        }
        Ok(ShardBatch { series, times, values })
    }

    /// The column of series.
    pub fn series(&self) -> &'a [SeriesHash] {
        self.series
    }

    /// The column of times.
    pub fn times(&self) -> &'a [Timestamp] {
        self.times
    }

    /// The column of values.
    pub fn values(&self) -> &'a [f64] {
        self.values
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

/// What became of a batch; the numbers add up to its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processed {
    /// Rows that changed state.
    pub accepted: usize,
    /// Rows not newer than their series' high-water mark: replayed or late. They changed nothing.
    pub late: usize,
    /// Rows of series that do not belong to the shard, or that the worker does not know.
    pub rejected: usize,
}

impl std::ops::AddAssign for Processed {
    fn add_assign(&mut self, other: Processed) {
        self.accepted += other.accepted;
        self.late += other.late;
        self.rejected += other.rejected;
    }
}

/// State that a runner (Kafka or another) feeds, moves and restores, one shard at a time.
///
/// # Contract
/// - **Replay is harmless.** A row not newer than the high-water mark of its series changes nothing
///   and is counted late; therefore a runner may restore a snapshot, seek to the offset it was
///   taken at, and feed everything again.
/// - **Same input, same output.** After `restore(shard, snapshot(shard))`, the same batches put the
///   same items, bit for bit, into the sink, in the same order.
/// - **Shards are strangers.** Nothing that happens to one shard changes another.
/// - Ids of what goes into the sink are reproducible, so that a receiver drops what it has.
///
/// ```
/// # use aiops_core::{Processed, Result, Shard, ShardBatch, ShardWorker, SnapshotError};
/// /// Counts rows. Wrong: the count would grow again on a replay; keep a high-water mark instead.
/// #[derive(Default)]
/// struct Counter { rows: u64 }
///
/// impl ShardWorker for Counter {
///     type Item = u64;
///     fn process(&mut self, _: Shard, batch: ShardBatch<'_>, sink: &mut dyn FnMut(u64)) -> Result<Processed> {
///         self.rows += batch.len() as u64;
///         sink(self.rows);
///         Ok(Processed { accepted: batch.len(), ..Processed::default() })
///     }
///     fn snapshot(&self, _: Shard) -> Vec<u8> { self.rows.to_le_bytes().to_vec() }
///     fn restore(&mut self, _: Shard, bytes: &[u8]) -> Result<(), SnapshotError> {
///         let bytes = bytes.try_into().map_err(|_| SnapshotError::NotASnapshot)?;
///         self.rows = u64::from_le_bytes(bytes);
///         Ok(())
///     }
///     fn forget(&mut self, _: Shard) { self.rows = 0; }
/// }
/// ```
pub trait ShardWorker: Send {
    /// What it produces: anomalies, alerts, decisions.
    type Item;

    /// Processes a batch and hands what it produces to `sink`, in order.
    ///
    /// # Errors
    /// An [`Error`] when the whole batch could not be processed; no row of it changed state then.
    /// Rows that are refused one by one are counted, not errors.
    fn process(
        &mut self,
        shard: Shard,
        batch: ShardBatch<'_>,
        sink: &mut dyn FnMut(Self::Item),
    ) -> Result<Processed>;

    /// The state of one shard.
    fn snapshot(&self, shard: Shard) -> Vec<u8>;

    /// Replaces the state of one shard.
    ///
    /// # Errors
    /// A [`SnapshotError`]; the state is as before then.
    fn restore(&mut self, shard: Shard, bytes: &[u8]) -> Result<(), SnapshotError>;

    /// Drops the state of a shard that moved away.
    fn forget(&mut self, shard: Shard);
}
