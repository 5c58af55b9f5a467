//! Workers are killed, paused, added and removed at random moments of a replay: what comes out, and
//! the state at the end, are those of one worker that nobody disturbed.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod scale;

use aiops_core::{Batch, Clock, ManualClock, MemoryStore, SeriesHash, ShardWorker, Timestamp};
use aiops_observe::scale_out::{
    Leases, LeasesConfig, Offered, Runner, ScaleError, grow, shards_of,
};
use proptest::prelude::*;
use scale::{Log, Mean, PARTITIONS, Report, undisturbed};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One worker process: its leases, its runner, and where it reads.
struct Process {
    leases: Leases,
    runner: Runner<Mean>,
    offsets: BTreeMap<u16, u64>,
    /// It does nothing until then: a pause, as of a machine that swaps.
    paused_until: Timestamp,
}

impl Process {
    fn start(name: usize, store: &Arc<MemoryStore>) -> Self {
        let config = LeasesConfig {
            worker: format!("worker-{name}"),
            partitions: PARTITIONS,
            ..LeasesConfig::default()
        };
        Process {
            leases: Leases::new(config, store.clone()),
            runner: Runner::open("metrics", PARTITIONS, store.clone(), Mean::default()).unwrap(),
            offsets: BTreeMap::new(),
            paused_until: Timestamp::MIN,
        }
    }

    fn turn(&mut self) {
        let turn = self.leases.turn().unwrap();
        for partition in turn.lost {
            self.drop_partition(partition);
        }
        for partition in turn.gained {
            let offset = self.runner.take(partition).unwrap();
            self.offsets.insert(partition, offset);
        }
        for partition in turn.surplus {
            self.hand_over(partition);
        }
    }

    fn read(
        &mut self,
        log: &Log,
        messages: usize,
        out: &mut BTreeMap<(SeriesHash, Timestamp), u64>,
    ) {
        for (&partition, offset) in &mut self.offsets {
            for _ in 0..messages {
                let Some(message) = log.0[usize::from(partition)].get(*offset as usize) else {
                    break;
                };
                let mut sink = |(id, number): Report| {
                    let known = out.insert(id, number);
                    assert!(known.is_none_or(|known| known == number), "an id says one thing");
                };
                let offered = self.runner.offer(partition, *offset, message, &mut sink).unwrap();
                assert!(matches!(offered, Offered::Processed(_)), "{offered:?}");
                *offset += 1;
            }
        }
    }

    /// False if somebody else has the partition.
    fn checkpoint(&mut self, partition: u16) -> bool {
        match self.runner.checkpoint(partition, self.leases.fence(partition)) {
            Ok(()) => true,
            Err(ScaleError::Store(error)) if error.is_conflict() => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn checkpoint_all(&mut self) {
        for partition in self.offsets.keys().copied().collect::<Vec<_>>() {
            if !self.checkpoint(partition) {
                self.drop_partition(partition);
            }
        }
    }

    fn hand_over(&mut self, partition: u16) {
        let ours = self.checkpoint(partition);
        self.drop_partition(partition);
        if ours {
            self.leases.give(partition).unwrap();
        }
    }

    fn drop_partition(&mut self, partition: u16) {
        self.runner.forget(partition);
        self.offsets.remove(&partition);
    }
}

#[derive(Debug, Clone)]
enum Happens {
    /// A second passes: every worker that is not paused takes its turn and reads so many messages.
    Second(usize),
    Checkpoint(usize),
    Start,
    Kill(usize),
    Leave(usize),
    /// It sleeps for so many seconds, longer than its leases last, and goes on as if nothing were.
    Pause(usize, u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (1..6usize).prop_map(Happens::Second),
        3 => (0..8usize).prop_map(Happens::Checkpoint),
        2 => Just(Happens::Start),
        1 => (0..8usize).prop_map(Happens::Kill),
        1 => (0..8usize).prop_map(Happens::Leave),
        1 => (0..8usize, 2..9u64).prop_map(|(worker, secs)| Happens::Pause(worker, secs)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_happens_to_workers_shows(story in prop::collection::vec(happens(), 1..60)) {
        let log = Log::of(PARTITIONS, 0..30);
        let clock = Arc::new(ManualClock::new(Timestamp::from_secs(1_000)));
        let store = Arc::new(MemoryStore::with_clock(clock.clone()));
        let mut out = BTreeMap::new();
        let mut workers = vec![Process::start(0, &store)];
        let mut started = 1;
        let second = |workers: &mut Vec<Process>, messages, out: &mut BTreeMap<_, _>| {
            clock.advance(Duration::from_secs(1));
            for worker in workers.iter_mut().filter(|worker| worker.paused_until <= clock.now()) {
                // First what it was doing when it fell asleep, then it learns that the world went on.
                worker.read(&log, messages, out);
                worker.turn();
            }
        };
        for event in story {
            let count = workers.len();
            match event {
                Happens::Second(messages) => second(&mut workers, messages, &mut out),
                Happens::Start => {
                    workers.push(Process::start(started, &store));
                    started += 1;
                }
                _ if count == 0 => {}
                Happens::Checkpoint(worker) => workers[worker % count].checkpoint_all(),
                Happens::Kill(worker) => drop(workers.remove(worker % count)),
                Happens::Leave(worker) => {
                    let mut worker = workers.remove(worker % count);
                    let held: Vec<_> = worker.offsets.keys().copied().collect();
                    held.into_iter().for_each(|partition| worker.hand_over(partition));
                    worker.leases.leave().unwrap();
                }
                Happens::Pause(worker, secs) => {
                    workers[worker % count].paused_until = clock.now() + Duration::from_secs(secs);
                }
            }
        }
        workers.push(Process::start(started, &store));
        for _ in 0..20 {
            second(&mut workers, 1_000, &mut out);
        }
        workers.iter_mut().for_each(Process::checkpoint_all);

        let held: usize = workers.iter().map(|worker| worker.offsets.len()).sum();
        prop_assert_eq!(held, usize::from(PARTITIONS), "each partition has one owner");
        let (expected, state) = undisturbed(&log);
        prop_assert_eq!(out, expected);
        let mut reader = Runner::open("metrics", PARTITIONS, store, Mean::default()).unwrap();
        for partition in 0..PARTITIONS {
            prop_assert_eq!(reader.take(partition).unwrap(), log.ends()[usize::from(partition)]);
            for shard in shards_of(partition, PARTITIONS) {
                prop_assert_eq!(reader.worker().snapshot(shard), state.snapshot(shard));
            }
        }
    }
}

#[test]
fn growing_moves_state_and_not_series() {
    let store = Arc::new(MemoryStore::default());
    let mut out = BTreeMap::new();
    let mut run = |partitions: u16, steps| {
        let log = Log::of(partitions, steps);
        let mut runner =
            Runner::open("metrics", partitions, store.clone(), Mean::default()).unwrap();
        for (partition, messages) in (0..).zip(&log.0) {
            assert_eq!(runner.take(partition).unwrap(), 0);
            for (offset, message) in (0..).zip(messages) {
                runner
                    .offer(partition, offset, message, &mut |(id, n)| {
                        out.insert(id, n);
                    })
                    .unwrap();
            }
            if partition == 0 {
                let early = grow(&*store, "metrics", &log.ends(), 12);
                assert!(
                    matches!(early, Err(ScaleError::NotDrained { partition: 0, .. })),
                    "{early:?}"
                );
            }
            runner.checkpoint(partition, Batch::new()).unwrap();
        }
        log.ends()
    };
    let ends = run(PARTITIONS, 0..15);
    let early = Runner::open("metrics", 12, store.clone(), Mean::default());
    assert!(matches!(early, Err(ScaleError::OtherPartitions { expected: 12, found: PARTITIONS })));
    grow(&*store, "metrics", &ends, 12).unwrap();
    run(12, 15..30);
    assert_eq!(out, undisturbed(&Log::of(PARTITIONS, 0..30)).0);
}

#[test]
fn a_message_that_is_none_is_passed_over_and_named() {
    let store = Arc::new(MemoryStore::default());
    let mut runner = Runner::open("metrics", 2, store, Mean::default()).unwrap();
    let log = Log::of(2, 0..1);
    runner.take(0).unwrap();
    let mut sink = |_: Report| {};
    assert!(matches!(runner.offer(0, 0, b"hello", &mut sink), Ok(Offered::Poison(_))));
    assert!(
        matches!(runner.offer(0, 1, &log.0[1][0], &mut sink), Ok(Offered::Poison(_))),
        "misplaced"
    );
    assert!(matches!(runner.offer(0, 2, &log.0[0][0], &mut sink), Ok(Offered::Processed(_))));
    assert!(matches!(runner.offer(0, 2, &log.0[0][0], &mut sink), Ok(Offered::Seen)));
    assert!(matches!(runner.offer(0, 4, &log.0[0][0], &mut sink), Err(ScaleError::Gap { .. })));
    assert!(matches!(runner.offer(1, 0, &log.0[1][0], &mut sink), Err(ScaleError::NotHeld(1))));
    assert_eq!((runner.skip(0, 5).unwrap(), runner.skip(0, 4).unwrap()), (2, 0));
    assert!(matches!(runner.offer(0, 5, &log.0[0][1], &mut sink), Ok(Offered::Processed(_))));
}
