//! Who holds which partition, by leases in the store that all workers share.

use aiops_core::{Batch, Store, StoreError, Timestamp, Version};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of [`Leases`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasesConfig {
    /// The topic whose partitions are shared out.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u16,
    /// This worker, by a name that no other live one has.
    pub worker: String,
    /// How long a worker counts as alive after its last turn; 3 s. With a turn a second a crashed
    /// worker's partitions have a new owner within 4 s.
    pub time_to_live: Duration,
}

impl Default for LeasesConfig {
    fn default() -> Self {
        LeasesConfig {
            topic: "metrics".into(),
            partitions: 10,
            worker: "worker-0".into(),
            time_to_live: Duration::from_secs(3),
        }
    }
}

/// This worker's part of the partitions.
///
/// The store's clock decides what has expired; the workers' own clocks play no part. Every live
/// worker gets an equal share. One with too many partitions hands some over, one at a time as others
/// have room; partitions that need not move do not.
pub struct Leases {
    config: LeasesConfig,
    store: Arc<dyn Store>,
    held: BTreeMap<u16, Version>,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").field("config", &self.config).field("held", &self.held).finish()
    }
}

/// What a turn decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Turn {
    /// Partitions that are this worker's from now on: take them and read.
    pub gained: Vec<u16>,
    /// Partitions that somebody else has: forget them without a checkpoint.
    pub lost: Vec<u16>,
    /// Partitions that others should have: checkpoint, forget, then [`give`](Leases::give).
    pub surplus: Vec<u16>,
}

impl Leases {
    /// Leases of a worker that holds none yet. Leases under its name from an earlier life run out by
    /// themselves.
    pub fn new(config: LeasesConfig, store: Arc<dyn Store>) -> Self {
        Leases { config, store, held: BTreeMap::new() }
    }

    /// Says that this worker lives, renews what it holds and claims what it should have. Call it a
    /// few times within the time to live.
    ///
    /// # Errors
    /// A [`StoreError`] other than a conflict. Leases go on until they expire.
    pub fn turn(&mut self) -> Result<Turn, StoreError> {
        let now = self.store.now()?;
        let until = now + self.config.time_to_live;
        self.store
            .commit(Batch::new().put(self.worker_key(&self.config.worker), entry("", until)))?;
        let mut turn = Turn::default();
        for (partition, version) in self.held.clone() {
            match self.claim(partition, version, until)? {
                Some(version) => {
                    self.held.insert(partition, version);
                }
                None => {
                    self.held.remove(&partition);
                    turn.lost.push(partition);
                }
            }
        }
        let share = self.share(now)?;
        turn.surplus =
            self.held.keys().rev().copied().take(self.held.len().saturating_sub(share)).collect();
        for partition in 0..self.config.partitions {
            if self.held.len() >= share {
                break;
            }
            if self.held.contains_key(&partition) {
                continue;
            }
            let known = self.store.get(&self.lease_key(partition))?;
            let free = known.as_ref().is_none_or(|known| expires(&known.value) <= now);
            let version = known.map_or(0, |known| known.version);
            if !free {
                continue;
            }
            if let Some(version) = self.claim(partition, version, until)? {
                self.held.insert(partition, version);
                turn.gained.push(partition);
            }
        }
        Ok(turn)
    }

    /// What a checkpoint of a partition must expect: that the lease is still ours.
    pub fn fence(&self, partition: u16) -> Batch {
        // Nobody's lease has version u64::MAX: a partition that is not held has no checkpoint.
        let version = self.held.get(&partition).copied().unwrap_or(Version::MAX);
        Batch::new().expect(self.lease_key(partition), version)
    }

    /// Hands a partition over, after its checkpoint. One that is somebody else's already stays that.
    ///
    /// # Errors
    /// A [`StoreError`] other than a conflict.
    pub fn give(&mut self, partition: u16) -> Result<(), StoreError> {
        let Some(version) = self.held.remove(&partition) else { return Ok(()) };
        let key = self.lease_key(partition);
        match self.store.commit(Batch::new().expect(key.clone(), version).delete(key)) {
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    /// Leaves: gives up what is held and does not count as alive any more. Checkpoint before.
    ///
    /// # Errors
    /// A [`StoreError`].
    pub fn leave(&mut self) -> Result<(), StoreError> {
        let held: Vec<_> = self.held.keys().copied().collect();
        held.into_iter().try_for_each(|partition| self.give(partition))?;
        self.store.commit(Batch::new().delete(self.worker_key(&self.config.worker))).map(|_| ())
    }

    /// Writes the lease if it is still at `version`; the new version, or `None` if somebody was
    /// quicker.
    fn claim(
        &self,
        partition: u16,
        version: Version,
        until: Timestamp,
    ) -> Result<Option<Version>, StoreError> {
        let key = self.lease_key(partition);
        let lease = entry(&self.config.worker, until);
        match self.store.commit(Batch::new().expect(key.clone(), version).put(key, lease)) {
            Ok(version) => Ok(Some(version)),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many partitions this worker should have: equal shares in the order of names, the first
    /// ones get what is left over.
    fn share(&self, now: Timestamp) -> Result<usize, StoreError> {
        let mine = self.worker_key(&self.config.worker);
        let workers = self.store.scan(&self.worker_key(""), None, usize::MAX)?;
        let live: Vec<_> = workers.iter().filter(|worker| expires(&worker.value) > now).collect();
        let rank = live.iter().position(|worker| worker.key == mine).unwrap_or(0);
        let count = live.len().max(1);
        let partitions = usize::from(self.config.partitions);
        Ok(partitions / count + usize::from(rank < partitions % count))
    }

    fn worker_key(&self, worker: &str) -> Vec<u8> {
        format!("scale-out/{}/worker/{worker}", self.config.topic).into_bytes()
    }

    fn lease_key(&self, partition: u16) -> Vec<u8> {
        format!("scale-out/{}/lease/{partition:04}", self.config.topic).into_bytes()
    }
}

/// When it runs out, and a name for whoever looks into the store.
fn entry(name: &str, until: Timestamp) -> Vec<u8> {
    [&until.as_nanos().to_le_bytes(), name.as_bytes()].concat()
}

fn expires(entry: &[u8]) -> Timestamp {
    let nanos = entry.first_chunk::<8>().map_or(i64::MIN, |bytes| i64::from_le_bytes(*bytes));
    Timestamp::from_nanos(nanos)
}
