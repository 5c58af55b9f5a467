//! [`scale_out`](crate::scale_out) over Kafka's protocol: batches of samples into a topic, workers that
//! share its partitions out, what they produce into another.
//!
//! ```text
//! samples ─ BatchProducer ─▶ topic of batches ─▶ KafkaWorker(any ShardWorker) ─▶ topic of results
//!                                 leases, offsets and state: Store ◀┘   └▶ topic of dead letters
//! ```
//!
//! Thin: what is read when, and why nothing is lost or doubled, is [`scale_out`](crate::scale_out)'s.
//! The broker carries messages and nothing else: no consumer group, no committed offset, no
//! transaction. Partitions are assigned by leases in the shared [`Store`](aiops_core::Store), since a
//! rebalance of the group protocol alone took four seconds where it was measured; so several workers
//! need one store that all of them reach, such as PostgreSQL.
//!
//! Tested against the mock cluster of librdkafka 2.12, in process; not against a broker of anybody's.
//! The client is `rdkafka`, whose C library is built from source: make and a C compiler are needed.

mod client;
mod producer;
mod worker;

pub use client::{KafkaClientConfig, KafkaError};
pub use producer::{BatchProducer, Outgoing};
pub use worker::{KafkaWorker, KafkaWorkerConfig, Step};
