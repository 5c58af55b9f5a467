//! Workers over Kafka's protocol, against the mock cluster of librdkafka: one crashes, one joins, one
//! leaves, and what comes out is what one undisturbed worker makes of the same messages.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod scale;

use aiops_core::{Clock, ManualClock, MemoryStore, SeriesHash, Timestamp};
use aiops_observe::kafka::{
    BatchProducer, KafkaClientConfig, KafkaError, KafkaWorker, KafkaWorkerConfig, Outgoing, Step,
};
use aiops_observe::scale_out::LeasesConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use scale::{Log, Mean, PARTITIONS, Report, samples, undisturbed};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_millis(20);

struct World {
    // Before the cluster, so that clients go first.
    client: KafkaClientConfig,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl World {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("metrics", i32::from(PARTITIONS), 1).unwrap();
        cluster.create_topic("alerts", 2, 1).unwrap();
        cluster.create_topic("dead-letters", 1, 1).unwrap();
        let client =
            KafkaClientConfig { brokers: cluster.bootstrap_servers(), ..Default::default() };
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let store = Arc::new(MemoryStore::with_clock(clock.clone()));
        World { client, store, clock, cluster }
    }

    fn worker(&self, name: &str) -> KafkaWorker<Mean> {
        let config = KafkaWorkerConfig {
            client: self.client.clone(),
            leases: LeasesConfig {
                partitions: PARTITIONS,
                worker: name.into(),
                ..LeasesConfig::default()
            },
            checkpoint_every: Duration::from_secs(3),
            ..KafkaWorkerConfig::default()
        };
        let publish = |((series, time), number): Report| Outgoing {
            key: series.as_u64().to_be_bytes().to_vec(),
            payload: [
                series.as_u64().to_be_bytes(),
                time.as_nanos().to_be_bytes(),
                number.to_be_bytes(),
            ]
            .concat(),
        };
        KafkaWorker::open(config, self.store.clone(), Mean::default(), publish).unwrap()
    }

    /// A second passes.
    fn second(&self, workers: &mut [&mut KafkaWorker<Mean>]) -> Vec<Step> {
        self.clock.advance(Duration::from_secs(1));
        workers.iter_mut().map(|worker| worker.step(self.clock.now(), WAIT).unwrap()).collect()
    }

    /// Seconds pass until every message has been read.
    fn drain(&self, workers: &mut [&mut KafkaWorker<Mean>]) {
        for _ in 0..500 {
            self.second(workers);
            let held: usize = workers.iter().map(|worker| worker.held().len()).sum();
            let lag: u64 = workers.iter().flat_map(|w| w.lag().unwrap().into_values()).sum();
            if held == usize::from(PARTITIONS) && lag == 0 {
                return;
            }
        }
        panic!("it does not come to an end");
    }

    /// Everything on a topic: payload, and the header `reason`.
    fn topic(&self, topic: &str, partitions: i32) -> Vec<(Vec<u8>, Option<String>)> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", "reader")
            .create()
            .unwrap();
        let (mut list, mut left) = (TopicPartitionList::new(), 0);
        for partition in 0..partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
            left += consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).unwrap().1;
        }
        consumer.assign(&list).unwrap();
        let mut found = Vec::new();
        while found.len() < left as usize {
            let message = consumer.poll(Duration::from_secs(5)).expect("there is more").unwrap();
            let reason = message.headers().and_then(|headers| {
                let reason = headers.iter().find(|header| header.key == "reason")?;
                Some(String::from_utf8(reason.value?.to_vec()).unwrap())
            });
            found.push((message.payload().unwrap().to_vec(), reason));
        }
        found
    }
}

/// What an undisturbed worker reports, as [`reports`] has it.
fn expected(steps: Range<u64>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let message = |((series, time), number): (_, u64)| {
        let (series, time): (SeriesHash, Timestamp) = (series, time);
        let id = [series.as_u64().to_be_bytes(), time.as_nanos().to_be_bytes()].concat();
        (id, number.to_be_bytes().to_vec())
    };
    undisturbed(&Log::of(PARTITIONS, steps)).0.into_iter().map(message).collect()
}

fn reports(messages: Vec<(Vec<u8>, Option<String>)>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut reports = BTreeMap::new();
    for (message, _) in messages {
        let (id, number) = message.split_at(16);
        let known = reports.insert(id.to_vec(), number.to_vec());
        assert!(known.is_none_or(|known| known == number), "an id says one thing");
    }
    reports
}

#[test]
fn nothing_is_lost_or_doubled() {
    let world = World::new();
    let mut producer = BatchProducer::new(&world.client, "metrics", PARTITIONS, 7).unwrap();
    let mut send = |steps| {
        samples(steps).for_each(|(series, sample)| producer.push(series, sample).unwrap());
        producer.flush().unwrap();
    };
    send(0..10);
    let mut first = world.worker("first");
    for _ in 0..3 {
        world.second(&mut [&mut first]);
    }
    assert_eq!(first.held().len(), usize::from(PARTITIONS), "alone it has all of them");

    // Another one joins while messages come: planned, half of the partitions move.
    let mut second = world.worker("second");
    send(10..15);
    for _ in 0..4 {
        world.second(&mut [&mut first, &mut second]);
    }
    assert_eq!((first.held().len(), second.held().len()), (3, 3));

    // The first crashes in the middle of something, without a word.
    send(15..20);
    first.step(world.clock.now(), WAIT).unwrap();
    drop(first);
    world.drain(&mut [&mut second]);

    // A third takes over from the second, which leaves.
    let mut third = world.worker("third");
    send(20..30);
    world.second(&mut [&mut second, &mut third]);
    second.leave().unwrap();
    drop(second);
    world.drain(&mut [&mut third]);
    let (_, state) = undisturbed(&Log::of(PARTITIONS, 0..30));
    assert_eq!(third.worker().0.len(), state.0.len());
    assert_eq!(third.worker().0, state.0, "state goes where the partition goes");
    third.leave().unwrap();

    assert_eq!(reports(world.topic("alerts", 2)), expected(0..30));
    assert!(world.topic("dead-letters", 1).is_empty());
}

#[test]
fn what_is_no_message_goes_to_the_dead_letters_with_the_reason() {
    let world = World::new();
    let raw: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &world.client.brokers).create().unwrap();
    let send = |payload: &[u8]| {
        raw.send(BaseRecord::<[u8], [u8]>::to("metrics").partition(0).payload(payload)).unwrap();
        raw.flush(Duration::from_secs(5)).unwrap();
    };
    send(b"hello");
    send(&Log::of(PARTITIONS, 0..1).0[1][0]);
    send(&Log::of(PARTITIONS, 0..1).0[0][0]);
    let mut worker = world.worker("only");
    let mut total = Step::default();
    for _ in 0..50 {
        for step in world.second(&mut [&mut worker]) {
            total.poison += step.poison;
            total.messages += step.messages;
        }
        if worker.held().get(&0) == Some(&3) {
            break;
        }
    }
    assert_eq!((total.poison, total.messages), (2, 1));
    worker.leave().unwrap();
    let letters = world.topic("dead-letters", 1);
    assert_eq!(letters[0], (b"hello".to_vec(), Some("not a message of samples".into())));
    assert_eq!(letters[1].1.as_deref(), Some("holds rows of another partition"));
}

#[test]
fn results_that_no_broker_took_are_made_again() {
    let world = World::new();
    let mut producer = BatchProducer::new(&world.client, "metrics", PARTITIONS, 7).unwrap();
    samples(0..10).for_each(|(series, sample)| producer.push(series, sample).unwrap());
    producer.flush().unwrap();
    let mut worker = world.worker("only");
    // Whatever is produced is refused for good, until we say otherwise.
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE; 500];
    world.cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    let mut failed = 0;
    for _ in 0..50 {
        world.clock.advance(Duration::from_secs(1));
        match worker.step(world.clock.now(), WAIT) {
            Err(KafkaError::Undelivered { failed: lost, .. }) => failed += lost,
            other => drop(other.unwrap()),
        }
        if failed > 0 {
            break;
        }
    }
    assert!(failed > 0);
    assert!(worker.held().values().all(|next| *next == 0), "nothing was stored: {worker:?}");
    world.cluster.clear_request_errors(RDKafkaApiKey::Produce);
    world.drain(&mut [&mut worker]);
    worker.leave().unwrap();
    assert_eq!(reports(world.topic("alerts", 2)), expected(0..10));
}
