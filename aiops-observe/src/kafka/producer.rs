//! Messages to the brokers, none of which is forgotten.

use super::client::{KafkaClientConfig, KafkaError};
use crate::scale_out::Batcher;
use aiops_core::{Sample, SeriesHash};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError as Refused, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A message of results: equal keys go to one partition, and stay in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What decides the partition: the tenant, for alerts.
    pub key: Vec<u8>,
    /// The message.
    pub payload: Vec<u8>,
}

/// Counts what the brokers did not take.
struct Deliveries(Arc<AtomicU64>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A producer that knows how many of its messages failed.
pub(super) struct Confirmed {
    producer: BaseProducer<Deliveries>,
    failed: Arc<AtomicU64>,
    patience: Duration,
}

impl fmt::Debug for Confirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmed").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// Where a message goes.
#[derive(Clone, Copy)]
pub(super) enum To<'a> {
    Partition(u16),
    Key(&'a [u8]),
}

impl Confirmed {
    /// `patience` is how long a message may take until it counts as failed.
    pub(super) fn new(client: &KafkaClientConfig, patience: Duration) -> Result<Self, KafkaError> {
        let mut config = client.client();
        config
            .set("acks", "all")
            // Retries neither double nor reorder.
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", patience.as_millis().max(1).to_string());
        let failed = Arc::<AtomicU64>::default();
        let producer = config.create_with_context(Deliveries(failed.clone()));
        let producer = producer.map_err(KafkaError::client("making a producer"))?;
        Ok(Confirmed { producer, failed, patience })
    }

    /// Puts a message into the client's queue; waits while that is full.
    pub(super) fn send(
        &self,
        topic: &str,
        to: To<'_>,
        payload: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<(), KafkaError> {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(payload);
        record = match to {
            To::Partition(partition) => record.partition(i32::from(partition)),
            To::Key(key) => record.key(key),
        };
        if !headers.is_empty() {
            let all = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header { key, value: Some(*value) })
            });
            record = record.headers(all);
        }
        // Rounds of waiting, each at most so long.
        const ROUND: Duration = Duration::from_millis(10);
        let mut rounds = self.patience.as_millis() / ROUND.as_millis();
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((Refused::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if rounds > 0 =>
                {
                    (record, rounds) = (back, rounds - 1);
                    self.producer.poll(ROUND);
                }
                Err((error, _)) => return Err(KafkaError::client("sending")(error)),
            }
        }
    }

    /// Lets the client report deliveries; call it now and then.
    pub(super) fn poll(&self) {
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the brokers have everything.
    pub(super) fn flush(&self) -> Result<(), KafkaError> {
        // The client gives a message up after the same time: what waits after this is a fault of it.
        let flushed = self.producer.flush(self.patience + Duration::from_secs(1));
        let failed = self.failed.swap(0, Ordering::Relaxed);
        let waiting = self.producer.in_flight_count().max(0) as usize;
        match flushed {
            Ok(()) if failed == 0 => Ok(()),
            _ => Err(KafkaError::Undelivered { failed, waiting }),
        }
    }
}

/// Samples into a topic: in batches of one partition each, never one sample a message.
///
/// Memory: the rows that wait, and the client's queue (`queue.buffering.max.kbytes`, 1 GiB unless
/// set); a full queue makes [`push`](Self::push) wait.
#[derive(Debug)]
pub struct BatchProducer {
    topic: String,
    batcher: Batcher,
    producer: Confirmed,
}

impl BatchProducer {
    /// A producer for a topic of so many partitions, with messages of at most `rows` samples. A message
    /// that no broker confirms within 10 s is an error of the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`KafkaError::Config`] when a number is out of range, [`KafkaError::Client`] for a setting that
    /// the client does not take.
    pub fn new(
        client: &KafkaClientConfig,
        topic: &str,
        partitions: u16,
        rows: usize,
    ) -> Result<Self, KafkaError> {
        let batcher = Batcher::new(partitions, rows)?;
        let producer = Confirmed::new(client, Duration::from_secs(10))?;
        Ok(BatchProducer { topic: topic.to_owned(), batcher, producer })
    }

    /// Adds a sample; a full batch goes into the client's queue.
    ///
    /// # Errors
    /// [`KafkaError::Client`] when the client does not take a message.
    pub fn push(&mut self, series: SeriesHash, sample: Sample) -> Result<(), KafkaError> {
        let mut sent = Ok(());
        let (topic, producer) = (&self.topic, &self.producer);
        self.batcher.push(series, sample, |partition, message| {
            sent = producer.send(topic, To::Partition(partition), &message, &[]);
            producer.poll();
        });
        sent
    }

    /// Sends what waits, without waiting for the brokers. Call it at least as often as samples may be
    /// late.
    ///
    /// # Errors
    /// [`KafkaError::Client`] when the client does not take a message.
    pub fn send_waiting(&mut self) -> Result<(), KafkaError> {
        let mut sent = Ok(());
        let (topic, producer) = (&self.topic, &self.producer);
        self.batcher.flush(|partition, message| {
            let this = producer.send(topic, To::Partition(partition), &message, &[]);
            if sent.is_ok() {
                sent = this;
            }
        });
        producer.poll();
        sent
    }

    /// Sends what waits, and waits until the brokers have all of it.
    ///
    /// # Errors
    /// [`KafkaError::Undelivered`] when they did not confirm everything since the last call: send those
    /// samples again (whoever has them drops the second ones as late).
    pub fn flush(&mut self) -> Result<(), KafkaError> {
        self.send_waiting()?;
        self.producer.flush()
    }
}
