//! Where one machine ends: logical shards over the partitions of a log, and workers that come and go.
//!
//! Three parts, none of which knows a transport; Kafka, another log or a test carries the messages:
//!
//! - [`Batcher`] groups samples into [messages](message) of one partition each.
//! - [`Runner`] feeds a [`ShardWorker`](aiops_core::ShardWorker) from messages in the order of
//!   their offsets, and keeps its state and offset together in a [`Store`](aiops_core::Store).
//! - [`Leases`] shares the partitions out among the workers that are alive, by the same store.
//!
//! ```text
//! samples ─ Batcher ─▶ partition 0 ─┐                  ┌─ state of its shards ─┐
//!                      partition 1 ─┼─▶ Runner(worker) ─┤                       ├─▶ Store
//!                          ...     ─┘     ▲            └─ next offset ─────────┘     │
//!                                      Leases ◀──────────────────────────────────────┘
//! ```
//!
//! # Why nothing is lost or doubled
//! - State and next offset are one [`Batch`](aiops_core::Batch): a worker that takes a partition
//!   over restores, seeks and goes on where the state ends.
//! - What was processed after the last checkpoint is processed again by the next owner, from the
//!   same state and so with the same results and ids: a receiver drops what it has by id.
//! - A checkpoint holds only while the lease does ([`Leases::fence`]): an owner that was declared
//!   dead and is not cannot overwrite its successor.
//!
//! # Growing
//! Partition = shard mod P. With another P a shard may be in another partition, so the messages go to
//! a new topic: drain the old one, call [`grow`], start workers with the new P. Shards keep their
//! state, which no partition is part of.

mod leases;
pub mod message;
mod runner;

pub use leases::{Leases, LeasesConfig, Turn};
pub use message::Batcher;
pub use runner::{Offered, Runner, ScaleError, grow};

use aiops_core::Shard;

/// The partition of a shard among `partitions`, which is above 0.
pub fn partition_of(shard: Shard, partitions: u16) -> u16 {
    shard.number() % partitions.max(1)
}

/// The shards of a partition.
pub fn shards_of(partition: u16, partitions: u16) -> impl Iterator<Item = Shard> {
    Shard::all().filter(move |shard| partition_of(*shard, partitions) == partition)
}
