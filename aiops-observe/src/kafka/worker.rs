//! Reads the partitions that this process holds, and keeps leases, state and results in step.

use super::client::{KafkaClientConfig, KafkaError};
use super::producer::{Confirmed, Outgoing, To};
use crate::scale_out::{Leases, LeasesConfig, Offered, Runner, ScaleError};
use aiops_core::{Processed, ShardWorker, Store, Timestamp, report, telemetry};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a [`KafkaWorker`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaWorkerConfig {
    /// How to reach the brokers.
    pub client: KafkaClientConfig,
    /// The topic of batches, its partitions, and this worker's name among those who share them.
    pub leases: LeasesConfig,
    /// How often leases are renewed, and partitions claimed and handed over. Default 1 s; well below
    /// the leases' time to live.
    pub turn_every: Duration,
    /// How often state and offsets are stored. Default 10 s: what was read since is read again after a
    /// crash.
    pub checkpoint_every: Duration,
    /// Where results go. Default `alerts`.
    pub results: String,
    /// Where messages go that are none, with the reason in the header `reason`. Default `dead-letters`.
    pub dead_letters: String,
    /// How long the brokers may take to confirm results. Default 2 s, below the time to live.
    pub patience: Duration,
    /// Messages taken in one [`step`](KafkaWorker::step) at most. Default 1,000.
    pub messages: usize,
}

impl Default for KafkaWorkerConfig {
    fn default() -> Self {
        KafkaWorkerConfig {
            client: KafkaClientConfig::default(),
            leases: LeasesConfig::default(),
            turn_every: Duration::from_secs(1),
            checkpoint_every: Duration::from_secs(10),
            results: "alerts".into(),
            dead_letters: "dead-letters".into(),
            patience: Duration::from_secs(2),
            messages: 1_000,
        }
    }
}

/// What one [`step`](KafkaWorker::step) did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Step {
    /// Rows of the messages, by what became of them.
    pub rows: Processed,
    /// Messages processed.
    pub messages: u64,
    /// Messages that were processed before.
    pub seen: u64,
    /// Messages that went to the dead letters.
    pub poison: u64,
    /// Messages that the brokers deleted before anybody read them.
    pub skipped: u64,
    /// Partitions taken over.
    pub gained: u64,
    /// Partitions handed over, or lost to somebody who thought this worker dead.
    pub left: u64,
    /// Partitions whose state and offset were stored.
    pub checkpoints: u64,
}

/// Drives a [`ShardWorker`] over the partitions of a topic.
///
/// Call [`step`](Self::step) in a loop; it takes turns, stores checkpoints and reads messages, each when
/// it is due by the time that the caller says. Stop with [`leave`](Self::leave), so that others take
/// over at their next turn; without it they wait until the leases run out.
///
/// Results are confirmed by the brokers before the offset of the message that they come from is stored,
/// so that a crash repeats results and never loses one. Whoever reads them drops by id what it has.
pub struct KafkaWorker<W: ShardWorker> {
    config: KafkaWorkerConfig,
    consumer: BaseConsumer,
    producer: Confirmed,
    runner: Runner<W>,
    leases: Leases,
    publish: Box<dyn FnMut(W::Item) -> Outgoing + Send>,
    /// The offset that comes next, of every partition that is held.
    next: BTreeMap<u16, u64>,
    turned: Option<Timestamp>,
    stored: Option<Timestamp>,
}

impl<W: ShardWorker> fmt::Debug for KafkaWorker<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaWorker")
            .field("config", &self.config)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl<W: ShardWorker> KafkaWorker<W> {
    /// A worker that holds no partition yet. `publish` makes a message of a result.
    ///
    /// # Errors
    /// [`KafkaError::Client`] for a setting that the client does not take, [`KafkaError::Scale`] when the
    /// store counts other partitions. No broker is asked yet.
    pub fn open(
        config: KafkaWorkerConfig,
        store: Arc<dyn Store>,
        worker: W,
        publish: impl FnMut(W::Item) -> Outgoing + Send + 'static,
    ) -> Result<Self, KafkaError> {
        let LeasesConfig { topic, partitions, time_to_live, .. } = &config.leases;
        if config.turn_every >= *time_to_live || config.patience >= *time_to_live {
            let reason = "must be longer than a turn, and than the patience with the brokers";
            return Err(crate::Error::config("leases.time_to_live", reason).into());
        }
        let mut client = config.client.client();
        client
            // Demanded by the client; nothing is committed, no group is joined.
            .set("group.id", format!("{topic}-leases"))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // What was deleted is passed over and counted, see `Step::skipped`.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "false");
        let consumer = client.create().map_err(KafkaError::client("making a consumer"))?;
        let producer = Confirmed::new(&config.client, config.patience)?;
        let runner = Runner::open(topic, *partitions, store.clone(), worker)?;
        let leases = Leases::new(config.leases.clone(), store);
        Ok(KafkaWorker {
            config,
            consumer,
            producer,
            runner,
            leases,
            publish: Box::new(publish),
            next: BTreeMap::new(),
            turned: None,
            stored: None,
        })
    }

    /// The partitions that are held, and the offset that comes next in each.
    pub fn held(&self) -> &BTreeMap<u16, u64> {
        &self.next
    }

    /// The worker.
    pub fn worker(&self) -> &W {
        self.runner.worker()
    }

    /// Does what is due at `now`, then reads for at most `wait`, or until there are enough messages.
    ///
    /// # Errors
    /// [`KafkaError`]. The partitions that are held go back to their last checkpoint and are read again
    /// from there: call it again, after a pause.
    pub fn step(&mut self, now: Timestamp, wait: Duration) -> Result<Step, KafkaError> {
        let mut step = Step::default();
        let done = self.try_step(now, wait, &mut step);
        step.report();
        if let Err(error) = done {
            report!(warn, "aiops_observe", "a worker goes back to its checkpoints"; reason = error);
            self.rewind()?;
            return Err(error);
        }
        Ok(step)
    }

    fn try_step(
        &mut self,
        now: Timestamp,
        wait: Duration,
        step: &mut Step,
    ) -> Result<(), KafkaError> {
        if self.turned.is_none_or(|at| now.since(at) >= self.config.turn_every) {
            self.turned = Some(now);
            self.turn(step)?;
        }
        let stored = *self.stored.get_or_insert(now);
        if now.since(stored) >= self.config.checkpoint_every {
            self.stored = Some(now);
            let held: Vec<_> = self.next.keys().copied().collect();
            self.checkpoint(&held, step)?;
        }
        self.read(wait, step)?;
        self.producer.poll();
        Ok(())
    }

    /// Stores what was processed, and hands every partition over.
    ///
    /// # Errors
    /// [`KafkaError`]; then the leases run out by themselves, and what was not stored is read again.
    pub fn leave(&mut self) -> Result<Step, KafkaError> {
        let mut step = Step::default();
        let held: Vec<_> = self.next.keys().copied().collect();
        self.hand_over(&held, &mut step)?;
        self.assign()?;
        self.leases.leave()?;
        step.report();
        Ok(step)
    }

    /// Messages that wait in every partition that is held, by asking the brokers.
    ///
    /// # Errors
    /// [`KafkaError::Client`] when one of them does not answer within a second.
    pub fn lag(&self) -> Result<BTreeMap<u16, u64>, KafkaError> {
        let topic = &self.config.leases.topic;
        let mut lag = BTreeMap::new();
        for (&partition, &next) in &self.next {
            let ends =
                self.consumer.fetch_watermarks(topic, i32::from(partition), Duration::from_secs(1));
            let (_, end) = ends.map_err(KafkaError::client("asking for the end of a partition"))?;
            lag.insert(partition, (end.max(0) as u64).saturating_sub(next));
        }
        telemetry::level("aiops_observe_kafka_lag_messages", lag.values().sum::<u64>() as f64);
        Ok(lag)
    }

    fn turn(&mut self, step: &mut Step) -> Result<(), KafkaError> {
        let turn = self.leases.turn()?;
        let moved = !(turn.gained.is_empty() && turn.lost.is_empty() && turn.surplus.is_empty());
        for partition in turn.lost {
            self.drop_partition(partition, step);
        }
        // What others wait for goes first.
        self.hand_over(&turn.surplus, step)?;
        for partition in turn.gained {
            self.next.insert(partition, self.runner.take(partition)?);
            step.gained += 1;
        }
        if moved { self.assign() } else { Ok(()) }
    }

    fn hand_over(&mut self, partitions: &[u16], step: &mut Step) -> Result<(), KafkaError> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.checkpoint(partitions, step)?;
        for &partition in partitions {
            // One whose lease was lost has been dropped by the checkpoint.
            if self.next.contains_key(&partition) {
                self.drop_partition(partition, step);
                self.leases.give(partition)?;
            }
        }
        Ok(())
    }

    /// Results first, then the offsets that say that they need not be made again.
    fn checkpoint(&mut self, partitions: &[u16], step: &mut Step) -> Result<(), KafkaError> {
        self.producer.flush()?;
        let mut lost = false;
        for &partition in partitions {
            match self.runner.checkpoint(partition, self.leases.fence(partition)) {
                Ok(()) => step.checkpoints += 1,
                Err(ScaleError::Store(error)) if error.is_conflict() => {
                    self.drop_partition(partition, step);
                    lost = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if lost { self.assign() } else { Ok(()) }
    }

    fn drop_partition(&mut self, partition: u16, step: &mut Step) {
        self.runner.forget(partition);
        if self.next.remove(&partition).is_some() {
            step.left += 1;
        }
    }

    /// Tells the client what to read, and from where.
    fn assign(&self) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (&partition, &next) in &self.next {
            let offset = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
            list.add_partition_offset(&self.config.leases.topic, i32::from(partition), offset)
                .map_err(KafkaError::client("seeking"))?;
        }
        self.consumer.assign(&list).map_err(KafkaError::client("assigning partitions"))
    }

    /// Every partition as its last checkpoint has it.
    fn rewind(&mut self) -> Result<(), KafkaError> {
        for partition in self.next.keys().copied().collect::<Vec<_>>() {
            self.runner.forget(partition);
            self.next.remove(&partition);
            // A store that fails here, too, leaves the partition to the next turn.
            match self.runner.take(partition) {
                Ok(next) => drop(self.next.insert(partition, next)),
                Err(_) => self.leases.give(partition)?,
            }
        }
        self.assign()
    }

    fn read(&mut self, wait: Duration, step: &mut Step) -> Result<(), KafkaError> {
        let mut wait = wait;
        for _ in 0..self.config.messages {
            let Some(polled) = self.consumer.poll(wait) else { break };
            wait = Duration::ZERO;
            let message = match polled {
                Ok(message) => message,
                // Brokers come and go, and the client goes on by itself.
                Err(error) => {
                    report!(warn, "aiops_observe", "a broker did not answer"; reason = error);
                    continue;
                }
            };
            let Ok(partition) = u16::try_from(message.partition()) else { continue };
            let Ok(offset) = u64::try_from(message.offset()) else { continue };
            if !self.next.contains_key(&partition) {
                continue; // of an assignment that is over
            }
            let bytes = message.payload().unwrap_or_default();
            let (producer, publish, results) =
                (&self.producer, &mut self.publish, &self.config.results);
            let mut sent = Ok(());
            let mut sink = |item| {
                let Outgoing { key, payload } = publish(item);
                if sent.is_ok() {
                    sent = producer.send(results, To::Key(&key), &payload, &[]);
                }
            };
            let mut offered = self.runner.offer(partition, offset, bytes, &mut sink);
            if let Err(ScaleError::Gap { .. }) = offered {
                step.skipped += self.runner.skip(partition, offset)?;
                offered = self.runner.offer(partition, offset, bytes, &mut sink);
            }
            sent?;
            match offered? {
                Offered::Processed(rows) => {
                    step.rows += rows;
                    step.messages += 1;
                }
                Offered::Seen => {
                    step.seen += 1;
                    continue;
                }
                Offered::Poison(reason) => {
                    let place = format!("{}/{partition}/{offset}", self.config.leases.topic);
                    let (reason, key) = (reason.to_string(), place.as_bytes());
                    let headers = [("reason", reason.as_str()), ("from", &place)];
                    producer.send(&self.config.dead_letters, To::Key(key), bytes, &headers)?;
                    step.poison += 1;
                }
            }
            self.next.insert(partition, offset + 1);
        }
        Ok(())
    }
}

impl Step {
    fn report(&self) {
        const MESSAGES: &str = "aiops_observe_kafka_messages_total";
        const PARTITIONS: &str = "aiops_observe_kafka_partitions_total";
        telemetry::count(MESSAGES, "state", "processed", self.messages);
        telemetry::count(MESSAGES, "state", "seen", self.seen);
        telemetry::count(MESSAGES, "state", "poison", self.poison);
        telemetry::count(MESSAGES, "state", "skipped", self.skipped);
        telemetry::count(PARTITIONS, "change", "gained", self.gained);
        telemetry::count(PARTITIONS, "change", "left", self.left);
        telemetry::count(PARTITIONS, "change", "stored", self.checkpoints);
    }
}
