//! Feeds a worker from messages, and keeps state and offset together.

use super::message::{Poison, Rows};
use super::{partition_of, shards_of};
use aiops_core::{
    Batch, Error, Processed, Shard, ShardWorker, Snapshot, SnapshotError, SnapshotReader,
    SnapshotWriter, Store, StoreError,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

const KIND: &str = "scale-out shard";

/// What a runner met; the partition is as it was before unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScaleError {
    /// The store refused. A conflict at a checkpoint means that the lease is lost: forget the
    /// partition, its next owner has it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A shard's stored state cannot be read.
    #[error("the state of shard {}: {source}", shard.number())]
    State {
        /// The shard.
        shard: Shard,
        /// Why not.
        source: SnapshotError,
    },
    /// The worker failed on a whole batch. Its partition must be forgotten and taken again.
    #[error("the worker failed: {0}")]
    Worker(#[from] Error),
    /// The runner does not hold this partition.
    #[error("partition {0} is not held")]
    NotHeld(u16),
    /// A message is missing before this one: it was deleted before anybody read it. Topics without
    /// transactions and compaction have no other gaps.
    #[error("partition {partition} goes on at {expected}, got the message at {got}")]
    Gap {
        /// The partition.
        partition: u16,
        /// The offset that comes next.
        expected: u64,
        /// The offset of the message.
        got: u64,
    },
    /// The store belongs to a run with another number of partitions; see [`grow`].
    #[error("the state is of {found} partitions, this runner counts {expected}")]
    OtherPartitions {
        /// What the runner counts.
        expected: u16,
        /// What the store says.
        found: u16,
    },
    /// A partition of the old topic has messages that nobody has processed.
    #[error("partition {partition} is processed up to {offset} and ends at {end}")]
    NotDrained {
        /// The partition.
        partition: u16,
        /// The next offset in the store.
        offset: u64,
        /// The end of the partition.
        end: u64,
    },
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offered {
    /// It was processed.
    Processed(Processed),
    /// It lies before the offset of the partition: it has been processed.
    Seen,
    /// It is no message; put it on the dead-letter topic. The partition goes on behind it.
    Poison(Poison),
}

/// Drives one [`ShardWorker`] over the partitions that this process holds.
///
/// ```
/// # use aiops_core::{MemoryStore, Batch, Processed, Sample, SeriesHash, Shard, ShardBatch, ShardWorker, SnapshotError, Timestamp};
/// # use aiops_observe::scale_out::{Batcher, Offered, Runner};
/// # use std::{collections::BTreeMap, sync::Arc};
/// # #[derive(Default)] struct Latest(BTreeMap<SeriesHash, Timestamp>);
/// # impl ShardWorker for Latest {
/// #     type Item = SeriesHash;
/// #     fn process(&mut self, _: Shard, batch: ShardBatch<'_>, sink: &mut dyn FnMut(SeriesHash)) -> aiops_core::Result<Processed> {
/// #         batch.series().iter().for_each(|s| sink(*s));
/// #         Ok(Processed { accepted: batch.len(), ..Processed::default() })
/// #     }
/// #     fn snapshot(&self, _: Shard) -> Vec<u8> { vec![] }
/// #     fn restore(&mut self, _: Shard, _: &[u8]) -> Result<(), SnapshotError> { Ok(()) }
/// #     fn forget(&mut self, _: Shard) {}
/// # }
/// let store = Arc::new(MemoryStore::default());
/// let mut runner = Runner::open("metrics", 10, store, Latest::default())?;
/// let mut batcher = Batcher::new(10, 1_000)?;
/// let sample = Sample { time: Timestamp::from_secs(1), value: 0.5 };
/// batcher.push(SeriesHash::from_u64(23), sample, |_, _| {});
///
/// let from = runner.take(3)?; // shard 23 is in partition 3; restored, and now read from here
/// batcher.flush(|partition, bytes| {
///     let offered = runner.offer(partition, from, &bytes, &mut |_alert| {}).unwrap();
///     assert!(matches!(offered, Offered::Processed(done) if done.accepted == 1));
/// });
/// runner.checkpoint(3, Batch::new())?; // with a lease: `leases.fence(3)`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runner<W> {
    topic: String,
    partitions: u16,
    store: Arc<dyn Store>,
    worker: W,
    held: BTreeMap<u16, Held>,
    rows: Rows,
}

impl<W> fmt::Debug for Runner<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, held) = (&self.topic, &self.held);
        f.debug_struct("Runner").field("topic", topic).field("held", held).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// Shards that changed since the last checkpoint.
    changed: BTreeSet<Shard>,
}

impl<W: ShardWorker> Runner<W> {
    /// A runner for a topic of so many partitions that holds none of them yet. The worker must hold
    /// no shard. The first runner of a topic sets its number of partitions.
    ///
    /// # Errors
    /// [`ScaleError::OtherPartitions`] and [`ScaleError::Store`].
    pub fn open(
        topic: &str,
        partitions: u16,
        store: Arc<dyn Store>,
        worker: W,
    ) -> Result<Self, ScaleError> {
        let key = count_key(topic);
        let said = Batch::new().expect(key.clone(), 0).put(key.clone(), partitions.to_le_bytes());
        match store.commit(said) {
            Err(error) if error.is_conflict() => {}
            other => drop(other?),
        }
        let found = store.get(&key)?.map_or(0, |known| number(&known.value) as u16);
        if found != partitions {
            return Err(ScaleError::OtherPartitions { expected: partitions, found });
        }
        let (topic, held, rows) = (topic.to_owned(), BTreeMap::new(), Rows::default());
        Ok(Runner { topic, partitions, store, worker, held, rows })
    }

    /// The worker.
    pub fn worker(&self) -> &W {
        &self.worker
    }

    /// The partitions that are held.
    pub fn held(&self) -> impl Iterator<Item = u16> {
        self.held.keys().copied()
    }

    /// Restores the shards of a partition and says from which offset on to read it.
    ///
    /// # Errors
    /// [`ScaleError::State`] and [`ScaleError::Store`]; the partition is not held then.
    pub fn take(&mut self, partition: u16) -> Result<u64, ScaleError> {
        let offset = self.store.get(&offset_key(&self.topic, self.partitions, partition))?;
        let next = offset.map_or(0, |known| number(&known.value));
        for shard in shards_of(partition, self.partitions) {
            self.worker.forget(shard);
            let restored = match self.store.get(&shard_key(&self.topic, shard))? {
                Some(state) => restore(&mut self.worker, shard, &state.value),
                None => Ok(()),
            };
            if let Err(source) = restored {
                self.drop_shards(partition);
                return Err(ScaleError::State { shard, source });
            }
        }
        self.held.insert(partition, Held { next, changed: BTreeSet::new() });
        Ok(next)
    }

    /// Processes the message at an offset; `sink` gets what the worker produces.
    ///
    /// # Errors
    /// [`ScaleError::NotHeld`], [`ScaleError::Gap`] when a message was skipped, and
    /// [`ScaleError::Worker`].
    pub fn offer(
        &mut self,
        partition: u16,
        offset: u64,
        bytes: &[u8],
        sink: &mut dyn FnMut(W::Item),
    ) -> Result<Offered, ScaleError> {
        let held = self.held.get_mut(&partition).ok_or(ScaleError::NotHeld(partition))?;
        if offset < held.next {
            return Ok(Offered::Seen);
        }
        if offset > held.next {
            return Err(ScaleError::Gap { partition, expected: held.next, got: offset });
        }
        let partitions = self.partitions;
        let placed = self.rows.decode(bytes).and_then(|()| {
            let here = |(shard, _)| partition_of(shard, partitions) == partition;
            if self.rows.batches().all(here) { Ok(()) } else { Err(Poison::Misplaced) }
        });
        if let Err(poison) = placed {
            held.next += 1;
            return Ok(Offered::Poison(poison));
        }
        let mut total = Processed::default();
        for (shard, batch) in self.rows.batches() {
            held.changed.insert(shard);
            total += self.worker.process(shard, batch, sink)?;
        }
        held.next += 1;
        Ok(Offered::Processed(total))
    }

    /// Goes on at a later offset, and says how many messages it passed over: they were deleted from the
    /// log before anybody read them. Does nothing at an offset that has been processed.
    ///
    /// # Errors
    /// [`ScaleError::NotHeld`].
    pub fn skip(&mut self, partition: u16, offset: u64) -> Result<u64, ScaleError> {
        let held = self.held.get_mut(&partition).ok_or(ScaleError::NotHeld(partition))?;
        let passed = offset.saturating_sub(held.next);
        held.next += passed;
        Ok(passed)
    }

    /// Stores the state of the shards that changed, together with the next offset, if what `fence`
    /// expects holds.
    ///
    /// # Errors
    /// [`ScaleError::NotHeld`] and [`ScaleError::Store`]. After a conflict
    /// [`forget`](Self::forget) the partition: somebody else holds it.
    pub fn checkpoint(&mut self, partition: u16, fence: Batch) -> Result<(), ScaleError> {
        let held = self.held.get_mut(&partition).ok_or(ScaleError::NotHeld(partition))?;
        let next = held.next.to_le_bytes();
        let mut batch = fence.put(offset_key(&self.topic, self.partitions, partition), next);
        for &shard in &held.changed {
            let mut writer = SnapshotWriter::new();
            writer.bytes(&self.worker.snapshot(shard));
            let state = Snapshot::new(KIND, 1, writer.finish()).to_bytes();
            batch = batch.put(shard_key(&self.topic, shard), state);
        }
        self.store.commit(batch)?;
        held.changed.clear();
        Ok(())
    }

    /// Drops a partition without storing anything: after its lease was lost, or after a
    /// [`checkpoint`](Self::checkpoint) to hand it over.
    pub fn forget(&mut self, partition: u16) {
        if self.held.remove(&partition).is_some() {
            self.drop_shards(partition);
        }
    }

    fn drop_shards(&mut self, partition: u16) {
        shards_of(partition, self.partitions).for_each(|shard| self.worker.forget(shard));
    }
}

/// Goes over to another number of partitions: every partition of the old topic must have been
/// processed to its end, `ends`. New runners then start with `to` and read the new topic from 0.
///
/// # Errors
/// [`ScaleError::NotDrained`], [`ScaleError::OtherPartitions`] when the store is not at
/// `ends.len()` partitions, and [`ScaleError::Store`].
pub fn grow(store: &dyn Store, topic: &str, ends: &[u64], to: u16) -> Result<(), ScaleError> {
    let key = count_key(topic);
    let expected = ends.len() as u16;
    let known = store.get(&key)?;
    let found = known.as_ref().map_or(0, |known| number(&known.value) as u16);
    if found != expected {
        return Err(ScaleError::OtherPartitions { expected, found });
    }
    let mut batch = Batch::new().expect(key.clone(), known.map_or(0, |known| known.version));
    for (partition, &end) in (0..).zip(ends) {
        let key = offset_key(topic, expected, partition);
        let known = store.get(&key)?;
        let offset = known.as_ref().map_or(0, |known| number(&known.value));
        if offset < end {
            return Err(ScaleError::NotDrained { partition, offset, end });
        }
        batch = batch.expect(key, known.map_or(0, |known| known.version));
    }
    for partition in 0..to {
        batch = batch.delete(offset_key(topic, to, partition)); // of an earlier time with as many
    }
    store.commit(batch.put(key, to.to_le_bytes()))?;
    Ok(())
}

fn restore<W: ShardWorker>(
    worker: &mut W,
    shard: Shard,
    bytes: &[u8],
) -> Result<(), SnapshotError> {
    let snapshot = Snapshot::from_bytes(bytes, KIND, 1)?;
    let mut reader = SnapshotReader::new(snapshot.payload());
    let state = reader.bytes()?;
    reader.end()?;
    worker.restore(shard, state)
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn count_key(topic: &str) -> Vec<u8> {
    format!("scale-out/{topic}/partitions").into_bytes()
}

fn offset_key(topic: &str, partitions: u16, partition: u16) -> Vec<u8> {
    format!("scale-out/{topic}/of/{partitions}/offset/{partition:04}").into_bytes()
}

fn shard_key(topic: &str, shard: Shard) -> Vec<u8> {
    format!("scale-out/{topic}/shard/{:04}", shard.number()).into_bytes()
}
